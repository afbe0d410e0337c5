const root = element.querySelector(".lanes");
const find = (selector) => root.querySelector(selector);
const row = find(".lanes-row"), range = find("input[type=range]"), play = find(".play"), bars = find(".bars"), mark = find(".mark");
const HOLD = 0.6; // seconds that the last frame stays before a loop
const FULL_BAR = 0.05; // the least effect that may fill a bar: noise must not look like action
let shown = null, frame = 0, playing = false, last = 0, spent = 0, opened = 0;

// ---- drawing ----------------------------------------------------------------------------------------------------

function drawTile(context, lane, at, tile) {
  const index = Math.min(at, lane.frames - 1);
  const x = (index % shown.columns) * tile, y = Math.floor(index / shown.columns) * tile;
  context.drawImage(lane.picture, x, y, tile, tile, 0, 0, tile, tile);
  return index;
}

function readTile(lane, at) {
  const board = new OffscreenCanvas(shown.tile, shown.tile);
  const context = board.getContext("2d", { willReadFrequently: true });
  drawTile(context, lane, at, shown.tile);
  return context.getImageData(0, 0, shown.tile, shown.tile);
}

// Orange where transfer and control differ, the rest paler: both signs readable without telling red from green.
function drawMarks(context, lane, at) {
  const moved = readTile(lane, at), still = readTile(shown.byName.control, at).data;
  const pixel = moved.data;
  for (let i = 0; i < pixel.length; i += 4) {
    const change = Math.abs(pixel[i] - still[i]) + Math.abs(pixel[i + 1] - still[i + 1]) + Math.abs(pixel[i + 2] - still[i + 2]);
    const a = Math.min(0.85, Math.max(0, (change - 18) / 180));
    const grey = 0.3 * pixel[i] + 0.59 * pixel[i + 1] + 0.11 * pixel[i + 2];
    pixel[i] = grey * (1 - a) + 255 * a;
    pixel[i + 1] = grey * (1 - a) + 122 * a;
    pixel[i + 2] = grey * (1 - a);
  }
  context.putImageData(moved, 0, 0);
}

function draw() {
  if (!shown) return;
  for (const lane of shown.lanes) {
    const context = lane.canvas.getContext("2d");
    lane.canvas.dataset.frame = drawTile(context, lane, frame, shown.tile);
    const predicted = lane.given !== null && frame >= lane.given;
    if (mark.checked && predicted && lane.name !== "control" && shown.byName.control) drawMarks(context, lane, frame);
    lane.tag.textContent = lane.given === null ? "" : predicted ? "predicted" : "given";
  }
  root.dataset.frame = frame;
  range.value = frame;
  range.setAttribute("aria-valuetext", `frame ${frame + 1} of ${shown.frames}`);
  find(".counter").textContent = `${frame + 1} / ${shown.frames}\u2002${(frame / shown.rate).toFixed(1)} s`;
  [...bars.children].forEach((bar, i) => bar.classList.toggle("now", i === frame));
}

function drawBars() {
  const top = Math.max(FULL_BAR, ...shown.effect);
  bars.replaceChildren(...shown.effect.map((value) => {
    const bar = document.createElement("i");
    bar.style.setProperty("--height", `${Math.round(100 * value / top)}%`);
    return bar;
  }));
}

// ---- time -------------------------------------------------------------------------------------------------------

function seek(to) {
  frame = Math.max(0, Math.min(shown.frames - 1, to));
  draw();
}

function setPlaying(on) {
  playing = on && Boolean(shown);
  play.classList.toggle("playing", playing);
  play.setAttribute("aria-label", playing ? "Pause" : "Play");
  root.dataset.playing = playing;
  if (!playing) return;
  if (frame === shown.frames - 1) seek(0);
  last = performance.now();
  spent = 0;
  requestAnimationFrame(tick);
}

function tick(now) {
  if (!playing || !root.isConnected) return;
  spent += ((now - last) / 1000) * Number(find(".speed").value);
  last = now;
  const atEnd = frame === shown.frames - 1;
  const wait = 1 / shown.rate + (atEnd ? HOLD : 0);
  if (spent >= wait) {
    spent = Math.min(spent - wait, 1 / shown.rate);
    if (!atEnd) seek(frame + 1);
    else if (find(".loop").checked) seek(0);
    else return setPlaying(false);
  }
  requestAnimationFrame(tick);
}

function stepTo(to) {
  if (!shown) return;
  setPlaying(false);
  seek(to);
}

// ---- pieces -----------------------------------------------------------------------------------------------------

const make = (tag, kind, text, ...children) => {
  const node = Object.assign(document.createElement(tag), { className: kind });
  node.textContent = text;
  node.append(...children);
  return node;
};

function buildFigure(lane) {
  const figure = document.createElement("figure");
  figure.dataset.lane = lane.name;
  const note = make("span", "note", lane.note);
  note.title = lane.note;
  lane.canvas = document.createElement("canvas");
  lane.canvas.width = lane.canvas.height = shown.tile;
  lane.canvas.setAttribute("role", "img");
  lane.canvas.setAttribute("aria-label", lane.note ? `${lane.title}: ${lane.note}` : lane.title);
  lane.tag = make("span", "tag", "");
  figure.append(make("figcaption", "", "", make("b", "", lane.title), note), make("div", "screen", "", lane.canvas, lane.tag));
  return figure;
}

// ---- value ------------------------------------------------------------------------------------------------------

async function loadPicture(lane) {
  const picture = new Image();
  picture.src = lane.sheet;
  await picture.decode();
  return { ...lane, picture };
}

async function render() {
  const value = props.value;
  root.classList.toggle("empty", !value);
  if (!value || (shown && shown.key === value.key)) return;
  const turn = ++opened;
  const lanes = await Promise.all(value.lanes.map(loadPicture));
  if (turn !== opened) return; // a newer result came while these pictures were being decoded
  const first = !shown;
  shown = { ...value, lanes, byName: Object.fromEntries(lanes.map((lane) => [lane.name, lane])) };
  row.replaceChildren(...lanes.map(buildFigure));
  root.style.setProperty("--lanes", lanes.length);
  range.max = shown.frames - 1;
  root.style.setProperty("--frames", shown.frames);
  drawBars();
  seek(Math.min(frame, shown.frames - 1));
  root.dataset.result = shown.key;
  // A result moves when it comes, unless the person asked for calm or stopped it.
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (first && !calm) setPlaying(true);
}

play.addEventListener("click", () => setPlaying(!playing));
range.addEventListener("input", () => stepTo(Number(range.value)));
mark.addEventListener("change", draw);
root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, [type=checkbox]")) return;
  const steps = { ArrowRight: frame + 1, ArrowUp: frame + 1, ArrowLeft: frame - 1, ArrowDown: frame - 1, Home: 0, End: Infinity };
  if (event.key in steps) stepTo(steps[event.key]);
  else if (event.key === " " && event.target !== play) setPlaying(!playing);
  else return;
  event.preventDefault();
});
find(".lanes-empty").textContent = props.invitation || "";
watch("value", render);
render();
