const root = element.querySelector(".script");
const find = (selector) => root.querySelector(selector);
const MOST_STEPS = 64, MOST_TERMS = 8, MOST_WEIGHT = 4;
const copy = (thing) => JSON.parse(JSON.stringify(thing));
let past = [copy(props.value)], at = 0, row = 0;

// ---- state: every change is a new value, so undo is a step back ---------------------------------------------------

const now = () => past[at];
const total = (script) => script.steps.reduce((frames, step) => frames + step.repeat, 0);

function commit(script) {
  past = [...past.slice(Math.max(0, at - 99), at + 1), copy(script)];
  at = past.length - 1;
}

function show(changed) {
  render();
  if (!changed) return;
  props.value = copy(now());
  trigger("edit", {});
}

function edit(change) {
  const script = copy(now());
  change(script.steps, script);
  if (total(script) > MOST_STEPS) return say(`A script runs for at most ${MOST_STEPS} frames.`);
  commit(script);
  row = Math.max(0, Math.min(row, script.steps.length - 1));
  show(true);
}

function travel(by) {
  if (at + by < 0 || at + by >= past.length) return;
  at += by;
  row = Math.max(0, Math.min(row, now().steps.length - 1));
  show(true);
}

const say = (text) => { find(".script-total").textContent = text; };
const bound = (weight) => Math.max(-MOST_WEIGHT, Math.min(MOST_WEIGHT, Math.round(weight * 100) / 100));

// ---- what can be done to a step -----------------------------------------------------------------------------------

const scaled = (step, by) => ({ ...step, terms: step.terms.map((term) => ({ ...term, weight: bound(term.weight * by) })) });

function sum(one, two, a, b) {
  const weights = {};
  for (const [step, by] of [[one, a], [two, b]]) for (const term of step.terms) weights[term.action] = (weights[term.action] || 0) + by * term.weight;
  const terms = Object.entries(weights).map(([action, weight]) => ({ action, weight: bound(weight) }));
  return { terms: terms.slice(0, MOST_TERMS), repeat: 1 };
}

const DEEDS = [
  ["invert", "±", "Do the opposite", (steps, i) => { steps[i] = scaled(steps[i], -1); }],
  ["weaker", "½", "Half as much", (steps, i) => { steps[i] = scaled(steps[i], 0.5); }],
  ["stronger", "2×", "Twice as much", (steps, i) => { steps[i] = scaled(steps[i], 2); }],
  ["fewer", "−", "One time less", (steps, i) => { steps[i].repeat = Math.max(1, steps[i].repeat - 1); }],
  ["more", "+", "One time more", (steps, i) => { steps[i].repeat += 1; }],
  ["add", "+ next", "Do this and the next step at once", (steps, i) => { if (steps[i + 1]) steps.splice(i, 2, { ...sum(steps[i], steps[i + 1], 1, 1), repeat: steps[i].repeat }); }],
  ["blend", "→ next", "Go over into the next step in three steps", (steps, i) => { if (steps[i + 1]) steps.splice(i + 1, 0, ...[0.25, 0.5, 0.75].map((share) => sum(steps[i], steps[i + 1], 1 - share, share))); }],
  ["up", "↑", "Earlier", (steps, i) => { if (i) [steps[i - 1], steps[i], row] = [steps[i], steps[i - 1], i - 1]; }],
  ["down", "↓", "Later", (steps, i) => { if (steps[i + 1]) [steps[i + 1], steps[i], row] = [steps[i], steps[i + 1], i + 1]; }],
  ["remove", "✕", "Remove this step", (steps, i) => { steps.splice(i, 1); }],
];

// ---- drawing ------------------------------------------------------------------------------------------------------

const make = (tag, kind, text = "") => Object.assign(document.createElement(tag), { className: kind, textContent: text });
const weightText = (weight) => (weight === 1 ? "" : `${weight.toFixed(2).replace(/\.?0+$/, "").replace("-", "−")} × `);

function drawStep(step, i) {
  const item = make("li", "script-step");
  item.dataset.row = i;
  const text = step.terms.map((term) => weightText(term.weight) + term.action).join("  +  ") || "rest: no action";
  const name = make("button", "script-name", text);
  name.type = "button";
  name.title = text;
  name.setAttribute("aria-pressed", String(i === row));
  name.addEventListener("click", () => { row = i; render(); });
  const times = make("span", "script-times", `× ${step.repeat}`);
  const deeds = make("span", "script-deeds");
  for (const [key, sign, spoken, deed] of DEEDS) {
    const button = make("button", `deed-${key}`, sign);
    button.type = "button";
    button.title = spoken;
    button.setAttribute("aria-label", `${spoken}: step ${i + 1}`);
    button.disabled = (key === "add" || key === "blend" || key === "down") && i === now().steps.length - 1;
    button.addEventListener("click", () => { row = i; edit((steps) => deed(steps, i)); });
    deeds.append(button);
  }
  item.append(name, times, deeds);
  return item;
}

function render() {
  const script = now();
  find(".script-steps").replaceChildren(...script.steps.map(drawStep));
  find(".script-empty").hidden = script.steps.length > 0;
  find(".script-undo").disabled = at === 0;
  find(".script-redo").disabled = at === past.length - 1;
  find(".script-clear").disabled = script.steps.length === 0;
  const frames = total(script);
  say(frames ? `${script.steps.length} ${script.steps.length === 1 ? "step" : "steps"}, ${frames} ${frames === 1 ? "frame" : "frames"}` : "");
  root.dataset.steps = script.steps.length;
}

function drawPrototypes() {
  find(".script-prototypes").replaceChildren(...props.prototypes.map((one, i) => {
    const button = make("button", "prototype");
    button.type = "button";
    button.title = `${one.words} (${one.name})`;
    button.setAttribute("aria-label", `Add prototype ${i + 1}: ${one.words}`);
    const pair = make("span", "pair");
    for (const thumb of [one.thumb, one.thumb + 1]) pair.append(cutTile(make("i", ""), props.sprite, props.across, thumb, 44));
    button.append(make("kbd", "", String(i + 1)), pair, make("span", "words", one.words));
    button.addEventListener("click", () => trigger("select", { prototype: i }));
    return button;
  }));
}

// ---- start --------------------------------------------------------------------------------------------------------

find(".script-undo").addEventListener("click", () => travel(-1));
find(".script-redo").addEventListener("click", () => travel(1));
find(".script-rest").addEventListener("click", () => edit((steps) => { steps.push({ terms: [], repeat: 1 }); row = steps.length - 1; }));
find(".script-clear").addEventListener("click", () => edit((steps) => { steps.length = 0; }));
// Number keys work wherever the focus is while the editor is on screen, but in fields; what deletes needs the focus.
document.addEventListener("keydown", (event) => {
  if (!root.isConnected || !root.offsetParent || event.target.closest("input, select, textarea, [contenteditable]")) return;
  const here = root.contains(event.target) || event.target === document.body;
  const command = event.ctrlKey || event.metaKey;
  if (here && command && event.key.toLowerCase() === "z") travel(event.shiftKey ? 1 : -1);
  else if (here && command && event.key.toLowerCase() === "y") travel(1);
  else if (command || event.altKey) return;
  else if (event.key >= "1" && event.key <= String(Math.min(9, props.prototypes.length))) trigger("select", { prototype: Number(event.key) - 1 });
  else if (here && event.key === "Delete" && now().steps.length) edit((steps) => { steps.splice(row, 1); });
  else return;
  event.preventDefault();
});
watch("value", () => {
  // What the server adds is one more change that can be undone; what came from here is known already.
  if (JSON.stringify(props.value) === JSON.stringify(now())) return;
  commit(props.value);
  row = Math.max(0, now().steps.length - 1);
  render();
});
drawPrototypes();
render();
