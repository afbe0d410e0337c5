const root = element.querySelector(".drive");
const find = (selector) => root.querySelector(selector);
const pad = find(".drive-pad"), count = find(".drive-count");
const PATIENCE = 4000; // milliseconds that an answer may take before keys are heard again
const held = new Map(); // what is pressed: a key, a button or a stick; how far; whether it was asked for; whether once is enough
const PAUSE = 2000; // milliseconds without a frame after which a rate starts anew
let shown = null, waiting = 0, undos = 0, times = [];

// ---- pictures ---------------------------------------------------------------------------------------------------

async function paint(lane, address) {
  const figure = find(`figure[data-lane=${lane}]`);
  figure.hidden = !address;
  if (!address) return;
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const canvas = figure.querySelector("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}

// ---- what is asked for ------------------------------------------------------------------------------------------

const robot = () => props.robots[shown.robot];

// The sum of all that is held, each number within its limit.
function told() {
  const action = robot().limits.map(() => 0), strength = Number(find(".strength").value);
  for (const { deed, share } of held.values()) for (const [index, sign] of deed.moves) action[index] += sign * share * strength * robot().limits[index];
  return action.map((value, i) => Math.max(-robot().limits[i], Math.min(robot().limits[i], value)));
}

const busy = () => waiting && performance.now() - waiting < PATIENCE;

function pump() {
  readSticks();
  if (!shown || busy()) return;
  if (undos && shown.steps) {
    undos -= 1;
    waiting = performance.now();
    trigger("undo", { drive: shown.drive });
    return;
  }
  undos = 0;
  if (!held.size || shown.steps >= shown.most) return;
  waiting = performance.now();
  trigger("input", { told: told(), drive: shown.drive });
  for (const [name, press] of held) { press.asked = true; if (press.once) held.delete(name); }
}

function press(name, deed, share = 1, once = false) {
  held.set(name, { deed, share, once, asked: false });
  pump();
}

// A tap that ends before it could be asked for still counts, once.
function release(name) {
  const one = held.get(name);
  if (one && !one.asked) one.once = true;
  else held.delete(name);
}

// One that is asked for while a step is on its way comes after it; a key that is held asks again after each answer.
function undo(again) {
  if (again && (undos || busy())) return;
  undos += 1;
  pump();
}

// A gamepad's sticks, where one is plugged in: its axes are the robot's first numbers, in the order of its keys.
function readSticks() {
  const stick = navigator.getGamepads ? [...navigator.getGamepads()].find(Boolean) : null;
  if (!shown || !stick) return;
  robot().sticks.forEach((index, axis) => {
    const push = -(stick.axes[axis] || 0), name = `stick-${axis}`;
    if (Math.abs(push) < 0.2) held.delete(name);
    else held.set(name, { deed: { moves: [[index, 1]] }, share: push, once: false, asked: false });
  });
}
window.addEventListener("gamepadconnected", () => { const listen = () => { if (!root.isConnected) return; pump(); requestAnimationFrame(listen); }; listen(); }, { once: true });

// ---- the pad ----------------------------------------------------------------------------------------------------

function buildPad() {
  pad.replaceChildren(...robot().deeds.map((deed) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: deed.title });
    const sign = Object.assign(document.createElement("kbd"), { textContent: deed.sign });
    button.append(sign, deed.title);
    button.dataset.deed = deed.key || deed.title;
    const name = `button-${deed.title}`;
    button.addEventListener("pointerdown", () => press(name, deed));
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(end, () => release(name));
    button.addEventListener("click", (event) => { if (!event.detail) press(name, deed, 1, true); }); // Enter and Space
    return button;
  }));
}

root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  if (event.key === "Backspace") undo(event.repeat);
  else {
    const deed = shown && robot().deeds.find((one) => one.key && one.key.toLowerCase() === event.key.toLowerCase());
    if (!deed) return;
    if (!event.repeat) press(event.key.toLowerCase(), deed);
  }
  event.preventDefault();
});
root.addEventListener("keyup", (event) => {
  release(event.key.toLowerCase());
});
root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) held.clear(); });
find(".drive-undo").addEventListener("click", () => undo(false));

// ---- value ------------------------------------------------------------------------------------------------------

function tellRate(fresh) {
  if (fresh || performance.now() - times[times.length - 1] > PAUSE) times = [];
  times = [...times, performance.now()].slice(-12);
  const seconds = (times[times.length - 1] - times[0]) / 1000;
  return times.length > 3 && seconds > 0 ? ` · ${((times.length - 1) / seconds).toFixed(1)} frames a second` : "";
}

async function render() {
  const value = props.value;
  root.classList.toggle("empty", !value);
  if (!value) return;
  const fresh = !shown || shown.drive !== value.drive, moved = fresh || shown.steps !== value.steps;
  if (fresh || shown.robot !== value.robot) { shown = value; held.clear(); undos = 0; buildPad(); }
  shown = value;
  await Promise.all([paint("model", value.model), paint("truth", value.truth)]);
  find("[data-lane=model] .tag").textContent = value.steps ? "predicted" : "given";
  count.textContent = `${value.steps} of ${value.most} steps${moved && value.steps ? tellRate(fresh) : ""}`;
  find(".hint").textContent = robot().hint;
  find(".drive-undo").disabled = !value.steps;
  root.dataset.steps = value.steps;
  root.dataset.drive = value.drive;
  waiting = 0;
  if (fresh && document.activeElement?.matches("#begin-drive")) root.focus({ preventScroll: true }); // keys drive at once
  pump();
}

find(".drive-empty").textContent = props.invitation || "";
watch("value", render);
render();
