const root = element.querySelector(".script");
const find = (selector) => root.querySelector(selector);
const MAX_FRAMES = 64, MAX_TERMS = 8, MAX_WEIGHT = 4, MAX_UNDO = 100;
const copy = (thing) => JSON.parse(JSON.stringify(thing));
let history = [copy(props.value)], at = 0, row = 0;

// ---- state: every change is a new value in the history --------------------------------------------------------------

const now = () => history[at];
const total = (script) => script.steps.reduce((frames, step) => frames + step.repeat, 0);
const limitRow = () => { row = Math.max(0, Math.min(row, now().steps.length - 1)); };

function commit(script) {
  history = [...history.slice(Math.max(0, at + 1 - MAX_UNDO), at + 1), copy(script)];
  at = history.length - 1;
}

function publish() {
  limitRow();
  render();
  props.value = copy(now());
  trigger("edit", {});
}

function edit(change) {
  const script = copy(now());
  change(script.steps);
  if (total(script) > MAX_FRAMES) return showStatus(`A script has at most ${MAX_FRAMES} frames.`);
  commit(script);
  publish();
}

function travel(by) {
  if (at + by < 0 || at + by >= history.length) return;
  at += by;
  publish();
}

const showStatus = (text) => { find(".script-total").textContent = text; };
const limit = (weight) => Math.max(-MAX_WEIGHT, Math.min(MAX_WEIGHT, Math.round(weight * 100) / 100));

// ---- edits of a step ------------------------------------------------------------------------------------------------

const scale = (step, factor) => ({ ...step, terms: step.terms.map((term) => ({ ...term, weight: limit(term.weight * factor) })) });

// The weighted sum of two steps.
function sum(first, second, a, b) {
  const weights = {};
  for (const [step, factor] of [[first, a], [second, b]]) for (const term of step.terms) weights[term.action] = (weights[term.action] || 0) + factor * term.weight;
  const terms = Object.entries(weights).map(([action, weight]) => ({ action, weight: limit(weight) }));
  return { terms: terms.slice(0, MAX_TERMS), repeat: 1 };
}

// Key, label, title, and a function of all steps and the index of one.
const EDITS = [
  ["reverse", "±", "Reverse", (steps, i) => { steps[i] = scale(steps[i], -1); }],
  ["weaker", "½ ×", "Make half as strong", (steps, i) => { steps[i] = scale(steps[i], 0.5); }],
  ["stronger", "2 ×", "Make twice as strong", (steps, i) => { steps[i] = scale(steps[i], 2); }],
  ["fewer", "−", "One repetition fewer", (steps, i) => { steps[i].repeat = Math.max(1, steps[i].repeat - 1); }],
  ["more", "+", "One repetition more", (steps, i) => { steps[i].repeat += 1; }],
  ["merge", "Merge with next", "Combine this step with the next one: add their actions", (steps, i) => { if (steps[i + 1]) steps.splice(i, 2, { ...sum(steps[i], steps[i + 1], 1, 1), repeat: steps[i].repeat }); }],
  ["blend", "Blend into next", "Add three steps between this one and the next", (steps, i) => { if (steps[i + 1]) steps.splice(i + 1, 0, ...[0.25, 0.5, 0.75].map((t) => sum(steps[i], steps[i + 1], 1 - t, t))); }],
  ["up", "↑", "Move up", (steps, i) => { if (i) [steps[i - 1], steps[i], row] = [steps[i], steps[i - 1], i - 1]; }],
  ["down", "↓", "Move down", (steps, i) => { if (steps[i + 1]) [steps[i + 1], steps[i], row] = [steps[i], steps[i + 1], i + 1]; }],
  ["remove", "✕", "Remove", (steps, i) => { steps.splice(i, 1); }],
];
const NEEDS_NEXT = ["merge", "blend", "down"];

// ---- drawing --------------------------------------------------------------------------------------------------------

const make = (tag, kind, text = "") => Object.assign(document.createElement(tag), { className: kind, textContent: text });
const weightText = (weight) => (weight === 1 ? "" : `${weight.toFixed(2).replace(/\.?0+$/, "").replace("-", "−")} × `);

function drawStep(step, i) {
  const item = make("li", "script-step");
  item.dataset.row = i;
  const text = step.terms.map((term) => weightText(term.weight) + term.action).join("  +  ") || "pause (no motion)";
  const name = make("button", "script-name", text);
  name.type = "button";
  name.title = text;
  name.setAttribute("aria-pressed", String(i === row));
  name.addEventListener("click", () => { row = i; render(); });
  const repeat = make("span", "script-repeat", `× ${step.repeat}`);
  const edits = make("span", "script-edits");
  for (const [key, label, title, change] of EDITS) {
    const button = make("button", `edit-${key}`, label);
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", `${label.length > 3 ? label : title}: step ${i + 1}`);
    button.disabled = NEEDS_NEXT.includes(key) && i === now().steps.length - 1;
    button.addEventListener("click", () => { row = i; edit((steps) => change(steps, i)); });
    edits.append(button);
  }
  item.append(name, repeat, edits);
  return item;
}

function render() {
  const script = now(), steps = script.steps.length, frames = total(script);
  find(".script-steps").replaceChildren(...script.steps.map(drawStep));
  find(".script-empty").hidden = steps > 0;
  find(".script-undo").disabled = at === 0;
  find(".script-redo").disabled = at === history.length - 1;
  find(".script-clear").disabled = steps === 0;
  showStatus(frames ? `${steps} ${steps === 1 ? "step" : "steps"}, ${frames} ${frames === 1 ? "frame" : "frames"}` : "");
  root.dataset.steps = steps;
}

function drawPrototypes() {
  find(".script-prototypes").replaceChildren(...props.prototypes.map((one, i) => {
    const button = make("button", "prototype");
    button.type = "button";
    button.title = `${one.motion} (${one.name})`;
    button.setAttribute("aria-label", `Add prototype ${i + 1}: ${one.motion}`);
    const pair = make("span", "pair");
    for (const thumb of [one.thumb, one.thumb + 1]) pair.append(cutTile(make("i", ""), props.sprite, props.columns, thumb, 44));
    button.append(make("kbd", "", String(i + 1)), pair, make("span", "motion", one.motion));
    button.addEventListener("click", () => trigger("select", { prototype: i }));
    return button;
  }));
}

// ---- start ----------------------------------------------------------------------------------------------------------

find(".script-undo").addEventListener("click", () => travel(-1));
find(".script-redo").addEventListener("click", () => travel(1));
find(".script-pause").addEventListener("click", () => edit((steps) => { steps.push({ terms: [], repeat: 1 }); row = steps.length - 1; }));
find(".script-clear").addEventListener("click", () => edit((steps) => { steps.length = 0; }));
// Number keys work anywhere except in input fields, while the editor is visible. Delete and undo need the focus here.
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
  // An addition by the server is one more change that can be undone; a change of this page is in the history already.
  if (JSON.stringify(props.value) === JSON.stringify(now())) return;
  commit(props.value);
  row = Math.max(0, now().steps.length - 1);
  render();
});
drawPrototypes();
render();
