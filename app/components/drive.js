const root = element.querySelector(".drive");
const find = (selector) => root.querySelector(selector);
const buttons = find(".drive-controls"), count = find(".drive-count");
const TIMEOUT = 4000; // milliseconds to wait for a response before keys are handled again
const PAUSE = 2000; // milliseconds without a frame after which the frame rate is measured from the start
// What is pressed, by name (a key, a button or a gamepad axis): {control, amount, once, sent}. once: release it after
// it has been sent; sent: whether it has been sent.
const pressed = new Map();
let shown = null, waitingSince = 0, undos = 0, times = [];

// ---- pictures ---------------------------------------------------------------------------------------------------

async function paint(name, url) {
  const figure = find(`figure[data-panel=${name}]`);
  figure.hidden = !url;
  if (!url) return;
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  const canvas = figure.querySelector("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}

// ---- requests: one at a time ------------------------------------------------------------------------------------

const robot = () => props.robots[shown.robot];

// The sum of all pressed controls, each dimension within its limit.
function robotAction() {
  const { limits } = robot(), strength = Number(find(".strength").value), action = limits.map(() => 0);
  for (const { control, amount } of pressed.values()) for (const [index, direction] of control.moves) action[index] += direction * amount * strength * limits[index];
  return action.map((value, i) => Math.max(-limits[i], Math.min(limits[i], value)));
}

const isWaiting = () => waitingSince && performance.now() - waitingSince < TIMEOUT;

function sendNext() {
  readGamepad();
  if (!shown || isWaiting()) return;
  if (undos && shown.steps) {
    undos -= 1;
    waitingSince = performance.now();
    trigger("undo", { drive: shown.drive });
    return;
  }
  undos = 0;
  if (!pressed.size || shown.steps >= shown.max_steps) return;
  waitingSince = performance.now();
  trigger("input", { action: robotAction(), drive: shown.drive });
  for (const [name, press] of pressed) { press.sent = true; if (press.once) pressed.delete(name); }
}

function press(name, control, once = false) {
  pressed.set(name, { control, amount: 1, once, sent: false });
  sendNext();
}

// A key that is released before it has been sent still counts, once.
function release(name) {
  const one = pressed.get(name);
  if (one && !one.sent) one.once = true;
  else pressed.delete(name);
}

// An undo during a step follows that step. A held key repeats only after each response.
function undo(isRepeat) {
  if (isRepeat && (undos || isWaiting())) return;
  undos += 1;
  sendNext();
}

function readGamepad() {
  const pad = navigator.getGamepads ? [...navigator.getGamepads()].find(Boolean) : null;
  if (!shown || !pad) return;
  robot().axes.forEach((index, axis) => {
    const amount = -(pad.axes[axis] || 0), name = `axis-${axis}`;
    if (Math.abs(amount) < 0.2) pressed.delete(name);
    else pressed.set(name, { control: { moves: [[index, 1]] }, amount, once: false, sent: false });
  });
}
window.addEventListener("gamepadconnected", () => { const listen = () => { if (!root.isConnected) return; sendNext(); requestAnimationFrame(listen); }; listen(); }, { once: true });

// ---- buttons and keys -------------------------------------------------------------------------------------------

function buildButtons() {
  buttons.replaceChildren(...robot().controls.map((control) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: control.title });
    const sign = Object.assign(document.createElement("kbd"), { textContent: control.sign });
    button.append(sign, control.title);
    const name = `button-${control.title}`;
    button.addEventListener("pointerdown", () => press(name, control));
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(end, () => release(name));
    button.addEventListener("click", (event) => { if (!event.detail) press(name, control, true); }); // Enter and Space
    return button;
  }));
}

root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  if (event.key === "Backspace") undo(event.repeat);
  else {
    const control = shown && robot().controls.find((one) => one.key && one.key.toLowerCase() === event.key.toLowerCase());
    if (!control) return;
    if (!event.repeat) press(event.key.toLowerCase(), control);
  }
  event.preventDefault();
});
root.addEventListener("keyup", (event) => release(event.key.toLowerCase()));
root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) pressed.clear(); });
find(".drive-undo").addEventListener("click", () => undo(false));

// ---- value ------------------------------------------------------------------------------------------------------

function frameRate(isNew) {
  if (isNew || performance.now() - times[times.length - 1] > PAUSE) times = [];
  times = [...times, performance.now()].slice(-12);
  const seconds = (times[times.length - 1] - times[0]) / 1000;
  return times.length > 3 && seconds > 0 ? ` · ${((times.length - 1) / seconds).toFixed(1)} frames per second` : "";
}

async function render() {
  const value = props.value;
  root.classList.toggle("empty", !value);
  if (!value) return;
  const isNew = !shown || shown.drive !== value.drive, hasMoved = isNew || shown.steps !== value.steps;
  if (isNew || shown.robot !== value.robot) { shown = value; pressed.clear(); undos = 0; buildButtons(); }
  shown = value;
  await Promise.all([paint("model", value.model), paint("simulator", value.simulator)]);
  find("[data-panel=model] .tag").textContent = value.steps ? "predicted" : "real frame";
  count.textContent = `${value.steps} of ${value.max_steps} steps${hasMoved && value.steps ? frameRate(isNew) : ""}`;
  find(".drive-undo").disabled = !value.steps;
  root.dataset.steps = value.steps;
  root.dataset.drive = value.drive;
  waitingSince = 0;
  if (isNew && document.activeElement?.matches("#start-drive")) root.focus({ preventScroll: true }); // keys work at once
  sendNext();
}

find(".drive-empty").textContent = props.invitation || "";
find(".hint").textContent = props.hint;
watch("value", render);
render();
