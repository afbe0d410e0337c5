const root = element.querySelector(".touch");
const find = (selector) => root.querySelector(selector);
const stage = find(".touch-stage"), canvas = find("canvas"), marks = find(".touch-marks"), list = find(".touch-list");
const radius = find(".touch-radius"), whole = find(".touch-whole"), steps = find(".touch-steps");
const GRAB = 0.045; // distance in frame widths within which a press takes an existing drag
const PIN = 0.02; // a shorter drag holds its point still
const WHOLE = 10; // a radius that moves the whole picture
const TIMEOUT = 4000; // milliseconds to wait for a preview before the next is requested
let shown = null, handles = [], chosen = -1, grip = null, history = [], reached = [];
let waitingSince = 0, isStale = false, number = 0, pinch = null;
const fingers = new Map();

// ---- drags ----------------------------------------------------------------------------------------------------------

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const round = (value) => Math.round(value * 10000) / 10000;
const isPin = (one) => Math.hypot(one.dx, one.dy) < PIN && !one.zoom && !one.roll;
const area = () => (whole.checked ? WHOLE : Number(radius.value));
const copy = () => handles.map((one) => ({ ...one }));
const request = () => handles.map((one) => Object.fromEntries(Object.entries(isPin(one) ? { ...one, dx: 0, dy: 0 } : one).map(([name, value]) => [name, round(value)])));

function remember() {
  history.push(copy());
  history = history.slice(-50);
}

function place(event) {
  const box = stage.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

// The drag whose start or end is at a position, and which of the two.
function nearest(x, y) {
  let best = null, least = GRAB;
  handles.forEach((one, index) => {
    for (const [end, at] of [["tip", [one.x + one.dx, one.y + one.dy]], ["start", [one.x, one.y]]]) {
      const distance = Math.hypot(at[0] - x, at[1] - y);
      if (distance < least) [least, best] = [distance, { index, end }];
    }
  });
  return best;
}

function add(x, y) {
  remember();
  handles.push({ x: clamp(x, 0, 1), y: clamp(y, 0, 1), dx: 0, dy: 0, zoom: 0, roll: 0, radius: area() });
  chosen = handles.length - 1;
}

function move(index, x, y, end) {
  const one = handles[index];
  if (end === "start") Object.assign(one, { x: clamp(x, 0, 1), y: clamp(y, 0, 1) });
  else Object.assign(one, { dx: clamp(x - one.x, -1.5, 1.5), dy: clamp(y - one.y, -1.5, 1.5) });
}

function turn(zoom, roll) {
  if (chosen < 0) return;
  const one = handles[chosen];
  one.zoom = clamp((1 + one.zoom) * (1 + zoom) - 1, -0.8, 2);
  one.roll = clamp(one.roll + roll, -Math.PI, Math.PI);
}

// ---- requests: one preview at a time, the newest wins -----------------------------------------------------------------

function preview() {
  drawMarks();
  isStale = true;
  if (waitingSince && performance.now() - waitingSince < TIMEOUT) return;
  if (!handles.length) return finish();
  isStale = false;
  waitingSince = performance.now();
  report();
  trigger("input");
}

// The value is what the server reads when a request starts, so a request that has waited is not about old drags.
function report() {
  props.value = { handles: request(), steps: Number(steps.value) || 8, number: ++number };
}

// Plays the drags, or shows the picture again if there are none.
function finish() {
  reached = [];
  isStale = false;
  drawMarks();
  if (!handles.length) paint(shown.picture, "real frame");
  report();
  trigger("release");
}

// ---- pointer, wheel and keys ------------------------------------------------------------------------------------------

stage.addEventListener("pointerdown", (event) => {
  if (!shown || event.button) return;
  stage.setPointerCapture(event.pointerId);
  stage.focus({ preventScroll: true });
  const [x, y] = place(event);
  fingers.set(event.pointerId, [x, y]);
  if (fingers.size === 2) { pinch = spread(); grip = null; return; }
  grip = nearest(x, y);
  if (grip) { remember(); chosen = grip.index; showArea(); }
  else { add(x, y); grip = { index: chosen, end: "tip" }; }
  drawMarks();
  event.preventDefault();
});
stage.addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  const [x, y] = place(event);
  fingers.set(event.pointerId, [x, y]);
  if (fingers.size === 2 && pinch) {
    const now = spread();
    turn(now.length / pinch.length - 1, ((now.angle - pinch.angle + 3 * Math.PI) % (2 * Math.PI)) - Math.PI);
    pinch = now;
  } else if (grip) move(grip.index, x, y, grip.end);
  else return;
  preview();
});
function lift(event) {
  if (!fingers.delete(event.pointerId)) return;
  if (fingers.size < 2) pinch = null;
  if (!fingers.size) { grip = null; finish(); }
}
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, lift);

function spread() {
  const [[ax, ay], [bx, by]] = [...fingers.values()];
  return { length: Math.max(0.02, Math.hypot(bx - ax, by - ay)), angle: Math.atan2(by - ay, bx - ax) };
}

let pause = 0;
function changeSoon(act) {
  if (!pause) remember();
  act();
  preview();
  clearTimeout(pause);
  pause = setTimeout(() => { pause = 0; finish(); }, 350);
}

stage.addEventListener("wheel", (event) => {
  if (chosen < 0) return;
  event.preventDefault();
  const amount = clamp(-(event.deltaY || event.deltaX) / 100, -1, 1);
  changeSoon(() => (event.shiftKey ? turn(0, 0.06 * amount) : turn(0.06 * amount, 0)));
}, { passive: false });

stage.addEventListener("keydown", (event) => {
  if (!shown) return;
  const undoes = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if (undoes) undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "Enter") { add(0.5, 0.5); showArea(); finish(); }
  else if (chosen < 0) return;
  else if (event.key === "Delete" || event.key === "Backspace") remove(chosen);
  else {
    const shifts = { ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, -0.02], ArrowDown: [0, 0.02] }[event.key];
    const turns = { "+": [0.06, 0], "=": [0.06, 0], "-": [-0.06, 0], ",": [0, -0.06], ".": [0, 0.06] }[event.key];
    if (!shifts && !turns) return;
    const one = handles[chosen], end = event.shiftKey ? "start" : "tip";
    const from = end === "start" ? [one.x, one.y] : [one.x + one.dx, one.y + one.dy];
    changeSoon(() => (shifts ? move(chosen, from[0] + shifts[0], from[1] + shifts[1], end) : turn(...turns)));
  }
  event.preventDefault();
});

function remove(index) {
  remember();
  handles.splice(index, 1);
  chosen = Math.min(chosen, handles.length - 1);
  finish();
}

function undo() {
  if (!history.length) return;
  handles = history.pop();
  chosen = Math.min(chosen, handles.length - 1);
  finish();
}

// ---- tools ------------------------------------------------------------------------------------------------------------

function showArea() {
  const one = handles[chosen];
  if (one) { whole.checked = one.radius >= WHOLE; if (!whole.checked) radius.value = one.radius; }
  find(".touch-area").textContent = whole.checked ? "" : `${Math.round(100 * radius.value)} %`;
  radius.disabled = whole.checked;
}
function setArea() {
  if (chosen >= 0) handles[chosen].radius = area();
  showArea();
  if (chosen >= 0) finish();
}
radius.addEventListener("input", () => { if (chosen >= 0) handles[chosen].radius = area(); showArea(); drawMarks(); });
radius.addEventListener("change", setArea);
whole.addEventListener("change", setArea);
steps.addEventListener("change", () => { if (handles.length) finish(); });
find(".touch-undo").addEventListener("click", undo);
find(".touch-clear").addEventListener("click", () => { if (!handles.length) return; remember(); handles = []; chosen = -1; finish(); });

// ---- drawing ----------------------------------------------------------------------------------------------------------

const svg = (name, attributes) => { const node = document.createElementNS("http://www.w3.org/2000/svg", name); for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value); return node; };
const percent = (value) => `${Math.round(100 * Math.abs(value))} %`;

function describe(one) {
  if (isPin(one)) return "hold still";
  const parts = [];
  if (Math.abs(one.dx) >= 0.005) parts.push(`${one.dx > 0 ? "right" : "left"} ${percent(one.dx)}`);
  if (Math.abs(one.dy) >= 0.005) parts.push(`${one.dy > 0 ? "down" : "up"} ${percent(one.dy)}`);
  if (one.zoom) parts.push(`${one.zoom > 0 ? "grow" : "shrink"} ${percent(one.zoom)}`);
  if (one.roll) parts.push(`turn ${Math.round((one.roll * 180) / Math.PI)}°`);
  return parts.join(", ");
}

function drawMarks() {
  marks.replaceChildren(...handles.flatMap((one, index) => {
    const colour = index === chosen ? "chosen" : "", [x, y] = [one.x + one.dx, one.y + one.dy];
    const nodes = [];
    if (one.radius < WHOLE) nodes.push(svg("circle", { cx: one.x, cy: one.y, r: one.radius, class: `touch-reach ${colour}` }));
    if (isPin(one)) nodes.push(svg("circle", { cx: one.x, cy: one.y, r: 0.014, class: `touch-pin ${colour}` }));
    else {
      nodes.push(svg("circle", { cx: one.x, cy: one.y, r: 0.012, class: `touch-from ${colour}` }));
      nodes.push(svg("line", { x1: one.x, y1: one.y, x2: x, y2: y, class: `touch-line ${colour}` }));
      nodes.push(svg("circle", { cx: x, cy: y, r: 0.018, class: `touch-tip ${colour}` }));
    }
    return nodes;
  }));
  list.replaceChildren(...handles.map((one, index) => {
    const item = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button", className: "touch-pick", textContent: describe(one) });
    button.setAttribute("aria-pressed", String(index === chosen));
    button.addEventListener("click", () => { chosen = index; showArea(); drawMarks(); stage.focus({ preventScroll: true }); });
    const got = document.createElement("span"), away = Object.assign(document.createElement("button"), { type: "button", className: "touch-remove", textContent: "✕", title: "Remove" });
    got.className = "touch-reached";
    if (reached[index] && !isPin(one)) got.textContent = `reached: ${describe({ ...one, dx: reached[index][0], dy: reached[index][1], zoom: 0, roll: 0 })}`;
    away.setAttribute("aria-label", `Remove drag ${index + 1}`);
    away.addEventListener("click", () => remove(index));
    item.append(button, got, away);
    return item;
  }));
  find(".touch-undo").disabled = !history.length;
  find(".touch-clear").disabled = !handles.length;
}

async function paint(url, tag) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  find(".tag").textContent = tag;
}

// ---- value ------------------------------------------------------------------------------------------------------------

async function showTarget() {
  const target = props.target;
  root.classList.toggle("empty", !target);
  if (!target) { shown = null; return; }
  if (shown && shown.key === target.key) return;
  shown = target;
  [handles, history, reached, chosen] = [[], [], [], -1];
  drawMarks();
  showArea();
  await paint(target.picture, "real frame");
  root.dataset.target = target.key;
}

async function answer() {
  const result = props.moved;
  if (!result) return;
  waitingSince = 0;
  if (result.number === number || grip || pause) {
    reached = result.reached || [];
    if (result.picture && handles.length) await paint(result.picture, "predicted");
    drawMarks();
    root.dataset.number = result.number;
  }
  if (isStale) preview();
}

find(".touch-empty").textContent = props.invitation;
find(".hint").textContent = props.hint;
watch("target", showTarget);
watch("moved", answer);
showTarget();
