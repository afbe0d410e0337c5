const root = element.querySelector(".panels");
const find = (selector) => root.querySelector(selector);
const row = find(".panels-row"), range = find("input[type=range]"), play = find(".play"), bars = find(".bars"), highlight = find(".highlight");
const HOLD_SECONDS = 0.6; // of the last frame before a loop
const FULL_BAR = 0.05; // smallest change that fills a bar, so that noise is not mistaken for motion
let shown = null, frame = 0, playing = false, last = 0, elapsed = 0, opened = 0;

// ---- drawing ----------------------------------------------------------------------------------------------------

function drawTile(context, panel, at, tile) {
  const index = Math.min(at, panel.frames - 1);
  const x = (index % shown.columns) * tile, y = Math.floor(index / shown.columns) * tile;
  context.drawImage(panel.picture, x, y, tile, tile, 0, 0, tile, tile);
  return index;
}

function readTile(panel, at) {
  const canvas = new OffscreenCanvas(shown.tile, shown.tile);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  drawTile(context, panel, at, shown.tile);
  return context.getImageData(0, 0, shown.tile, shown.tile);
}

// Orange where panel and control differ, the rest in grey.
function drawHighlights(context, panel, at) {
  const image = readTile(panel, at), control = readTile(shown.byName.control, at).data;
  const pixel = image.data;
  for (let i = 0; i < pixel.length; i += 4) {
    const change = Math.abs(pixel[i] - control[i]) + Math.abs(pixel[i + 1] - control[i + 1]) + Math.abs(pixel[i + 2] - control[i + 2]);
    const a = Math.min(0.85, Math.max(0, (change - 18) / 180));
    const grey = 0.3 * pixel[i] + 0.59 * pixel[i + 1] + 0.11 * pixel[i + 2];
    pixel[i] = grey * (1 - a) + 255 * a;
    pixel[i + 1] = grey * (1 - a) + 122 * a;
    pixel[i + 2] = grey * (1 - a);
  }
  context.putImageData(image, 0, 0);
}

function draw() {
  if (!shown) return;
  for (const panel of shown.panels) {
    const context = panel.canvas.getContext("2d");
    panel.canvas.dataset.frame = drawTile(context, panel, frame, shown.tile);
    const predicted = panel.firstPredicted !== null && frame >= panel.firstPredicted;
    if (highlight.checked && predicted && panel.name !== "control" && shown.byName.control) drawHighlights(context, panel, frame);
    panel.tag.textContent = panel.firstPredicted === null ? "" : predicted ? "predicted" : "real frame";
  }
  root.dataset.frame = frame;
  range.value = frame;
  range.setAttribute("aria-valuetext", `frame ${frame + 1} of ${shown.frames}`);
  find(".counter").textContent = `${frame + 1} / ${shown.frames}\u2002${(frame / shown.rate).toFixed(1)} s`;
  [...bars.children].forEach((bar, i) => bar.classList.toggle("now", i === frame));
}

function drawBars() {
  const top = Math.max(FULL_BAR, ...shown.change);
  bars.replaceChildren(...shown.change.map((value) => {
    const bar = document.createElement("i");
    bar.style.setProperty("--height", `${Math.round(100 * value / top)}%`);
    return bar;
  }));
}

// ---- playing ----------------------------------------------------------------------------------------------------

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
  elapsed = 0;
  requestAnimationFrame(tick);
}

function tick(now) {
  if (!playing || !root.isConnected) return;
  elapsed += ((now - last) / 1000) * Number(find(".speed").value);
  last = now;
  const atEnd = frame === shown.frames - 1;
  const duration = 1 / shown.rate + (atEnd ? HOLD_SECONDS : 0);
  if (elapsed >= duration) {
    elapsed = Math.min(elapsed - duration, 1 / shown.rate);
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

// ---- panels -----------------------------------------------------------------------------------------------------

const make = (tag, kind, text, ...children) => {
  const node = Object.assign(document.createElement(tag), { className: kind });
  node.textContent = text;
  node.append(...children);
  return node;
};

function buildFigure(panel) {
  const figure = document.createElement("figure");
  figure.dataset.panel = panel.name;
  const note = make("span", "note", panel.note);
  note.title = panel.note;
  panel.canvas = document.createElement("canvas");
  panel.canvas.width = panel.canvas.height = shown.tile;
  panel.canvas.setAttribute("role", "img");
  panel.canvas.setAttribute("aria-label", panel.note ? `${panel.title}: ${panel.note}` : panel.title);
  panel.tag = make("span", "tag", "");
  figure.append(make("figcaption", "", "", make("b", "", panel.title), note), make("div", "screen", "", panel.canvas, panel.tag));
  return figure;
}

async function loadPicture(panel) {
  const picture = new Image();
  picture.src = panel.sheet;
  await picture.decode();
  return { ...panel, picture };
}

async function render() {
  const value = props.value;
  root.classList.toggle("empty", !value);
  if (!value || (shown && shown.key === value.key)) return;
  const turn = ++opened;
  const panels = await Promise.all(value.panels.map(loadPicture));
  if (turn !== opened) return; // a newer result arrived while these pictures were decoded
  const isFirst = !shown;
  shown = { ...value, panels, byName: Object.fromEntries(panels.map((panel) => [panel.name, panel])) };
  row.replaceChildren(...panels.map(buildFigure));
  root.style.setProperty("--panels", panels.length);
  range.max = shown.frames - 1;
  root.style.setProperty("--frames", shown.frames);
  drawBars();
  const control = shown.byName.control;
  highlight.parentElement.hidden = !control;
  find(".bars-hint").textContent = control ? "Bars: difference from the control in each frame." : "Bars: difference between the rightmost transfer and its control (not shown).";
  seek(Math.min(frame, shown.frames - 1));
  root.dataset.result = shown.key;
  // The first result plays at once, unless the user prefers reduced motion.
  if (isFirst && !matchMedia("(prefers-reduced-motion: reduce)").matches) setPlaying(true);
}

play.addEventListener("click", () => setPlaying(!playing));
range.addEventListener("input", () => stepTo(Number(range.value)));
highlight.addEventListener("change", draw);
root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, [type=checkbox]")) return;
  const steps = { ArrowRight: frame + 1, ArrowUp: frame + 1, ArrowLeft: frame - 1, ArrowDown: frame - 1, Home: 0, End: Infinity };
  if (event.key in steps) stepTo(steps[event.key]);
  else if (event.key === " " && event.target !== play) setPlaying(!playing);
  else return;
  event.preventDefault();
});
find(".panels-empty").textContent = props.invitation || "";
watch("value", render);
render();
