const root = element.querySelector(".map");
const find = (selector) => root.querySelector(selector);
const plot = find(".map-plot"), hover = find(".map-hover"), map = props.map;
const count = map.clip.length;
// The palette of Okabe and Ito (2008), for colour-blind readers.
const HUES = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#888888"];
const VIRIDIS = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"], CIVIDIS = ["#00204d", "#414d6b", "#7b7a77", "#b9ac70", "#ffea46"];
const COMPASS = ["#0072B2", "#009E73", "#E69F00", "#CC79A7", "#0072B2"]; // left, up, right, down, left
// value: of a point. scale: colours from the lowest to the highest value. labels: evenly spaced along the scale.
const COLOURS = {
  speed: { name: "Amount of motion", scale: VIRIDIS, value: (p) => Math.sqrt(map.speed[p]), labels: ["little", "much"] },
  direction: { name: "Direction of image motion", scale: COMPASS, value: (p) => map.direction[p], range: [-Math.PI, Math.PI], labels: ["left", "up", "right", "down", "left"] },
  clip: { name: "Clip", value: (p) => HUES[map.clip[p] % HUES.length], labels: ["one colour per clip; eight colours repeat"] },
  time: { name: "Time in the clip", scale: CIVIDIS, value: (p) => map.frame[p] / map.clips[map.clip[p]].frames, labels: ["start", "end"] },
  norm: { name: "Norm of the action", scale: VIRIDIS, value: (p) => map.norm[p], labels: ["small", "large"] },
};
let drawn = false, listening = false;

// ---- helpers ----------------------------------------------------------------------------------------------------

const selection = () => props.value || {};
const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const layout = () => find(".map-layout").value;
const positions = () => (props.positions && layout() === "umap" ? props.positions : map.positions[layout()]);
const shownClip = () => Number(find(".map-clip").value);
const shownPoints = () => [...Array(count).keys()].filter((p) => shownClip() < 0 || map.clip[p] === shownClip());
const setTile = (node, thumb, pixels) => cutTile(node, map.sprite, map.columns, thumb, pixels);
const nameOf = (p) => `${map.clips[map.clip[p]].name}, frames ${map.frame[p] + 1} to ${map.frame[p] + 2}`;
const thumbOf = (p) => map.clips[map.clip[p]].first + map.frame[p];

// ---- drawing ----------------------------------------------------------------------------------------------------

function traces() {
  const at = positions(), points = shownPoints(), colour = COLOURS[find(".map-colour").value];
  const many = points.length > 4000;
  const marker = { size: many ? 4 : 8, opacity: many ? 0.6 : 0.85, color: points.map(colour.value) };
  if (colour.scale) Object.assign(marker, { colorscale: colour.scale.map((hue, i) => [i / (colour.scale.length - 1), hue]), showscale: false });
  if (colour.range) Object.assign(marker, { cmin: colour.range[0], cmax: colour.range[1] });
  const out = [{
    type: "scattergl", mode: "markers", x: points.map((p) => at.x[p]), y: points.map((p) => at.y[p]), customdata: points,
    marker, hoverinfo: "none", selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: marker.opacity } },
  }];
  const area = selection().area || [];
  if (area.length) out.push(rings(area, at, area.length > 500 ? 6 : 13, area.length > 500 ? 1 : 2));
  if (find(".map-generated").checked && props.generated) {
    const { x, y } = props.generated[layout()];
    out.push({ type: "scattergl", mode: "markers", x, y, hoverinfo: "skip", marker: { symbol: "x-thin", size: 7, color: css("--warn"), line: { width: 1.5, color: css("--warn") } } });
  }
  if (find(".map-paths").checked) {
    for (const path of props.paths || []) {
      // Also in WebGL, otherwise paths would be drawn below the points. A line in the card's colour is the outline.
      const { x, y } = path[layout()], hue = css(path.role === "source" ? "--accent" : "--warn");
      const trace = { type: "scattergl", x, y, hoverinfo: "skip" };
      out.push({ ...trace, mode: "lines", line: { color: css("--card"), width: 7 } });
      out.push({ ...trace, mode: "lines+markers", name: path.role, line: { color: hue, width: 3 }, marker: { size: 11, color: hue, line: { width: 2, color: css("--card") } } });
    }
  }
  if (Number.isInteger(selection().selected)) out.push(rings([selection().selected], at, 18, 3));
  return out;
}

function rings(points, at, size, width) {
  return {
    type: "scattergl", mode: "markers", x: points.map((p) => at.x[p]), y: points.map((p) => at.y[p]), hoverinfo: "skip",
    marker: { size, color: "rgba(0,0,0,0)", line: { width, color: css("--accent") } },
  };
}

async function draw() {
  if (!root.isConnected || !root.offsetParent) return;
  await loadPlotly();
  // Ranges depend on the points only, so that the map does not move when rings and paths change.
  const at = positions(), points = shownPoints();
  const range = (values) => {
    const some = points.map((p) => values[p]), low = Math.min(...some), high = Math.max(...some), margin = 0.06 * (high - low) + 1e-3;
    return [low - margin, high + margin];
  };
  const plotLayout = {
    margin: { l: 6, r: 6, t: 6, b: 6 }, showlegend: false, dragmode: find(".map-mouse").value, hovermode: "closest",
    uirevision: layout() + shownClip() + Boolean(props.positions), xaxis: { visible: false, range: range(at.x) }, yaxis: { visible: false, range: range(at.y), scaleanchor: "x" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  };
  // The Mouse menu above the map replaces Plotly's buttons.
  const buttons = ["toImage", "select2d", "lasso2d", "pan2d", "zoom2d", "autoScale2d", "hoverClosestCartesian", "hoverCompareCartesian", "toggleSpikelines", "sendDataToCloud"];
  const config = { responsive: true, displaylogo: false, showSendToCloud: false, scrollZoom: false, modeBarButtonsToRemove: buttons };
  await Plotly.react(plot, traces(), plotLayout, config);
  find(".map-loading").hidden = true;
  const projected = find(".map-paths").checked || find(".map-generated").checked;
  drawLegend();
  find(".map-note").textContent = (props.note || map.note) + (projected ? " Positions of source, target and generated actions are approximate." : "");
  root.dataset.points = points.length;
  drawn = true;
  if (!listening) listen();
}

function drawLegend() {
  const { name, scale, labels } = COLOURS[find(".map-colour").value], bar = find(".map-scale");
  find(".map-legend b").textContent = name;
  bar.hidden = !scale;
  if (scale) bar.style.background = `linear-gradient(to right, ${scale.join(", ")})`;
  find(".map-ends").replaceChildren(...labels.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
}

function listen() {
  listening = true;
  const pointOf = (event) => event.points.map((one) => one.customdata).find(Number.isInteger);
  plot.on("plotly_click", (event) => {
    const point = pointOf(event);
    if (point !== undefined) select(point);
  });
  plot.on("plotly_selected", (event) => {
    const points = event ? event.points.map((one) => one.customdata).filter(Number.isInteger) : [];
    if (points.length) selectArea(points);
  });
  plot.on("plotly_hover", (event) => {
    const point = pointOf(event);
    if (point !== undefined) showHover(point, event.event);
  });
  plot.on("plotly_unhover", () => { hover.hidden = true; });
}

function showHover(point, mouse) {
  const [before, after] = hover.querySelectorAll("i");
  setTile(before, thumbOf(point), 88);
  setTile(after, thumbOf(point) + 1, 88);
  hover.querySelector("b").textContent = nameOf(point);
  hover.querySelector(".motion").textContent = map.motion[point];
  hover.hidden = false;
  hover.dataset.point = point;
  // The preview is in the corner that is farthest from the pointer, so that it does not cover neighbouring points.
  const stage = find(".map-stage").getBoundingClientRect();
  const right = mouse.clientX - stage.left > stage.width / 2, low = mouse.clientY - stage.top > plot.offsetHeight / 2;
  hover.style.left = right ? "8px" : `${stage.width - hover.offsetWidth - 8}px`;
  hover.style.top = low ? "8px" : `${plot.offsetHeight - hover.offsetHeight - 8}px`;
}

// ---- selecting --------------------------------------------------------------------------------------------------

function select(point) {
  props.value = { ...selection(), selected: point, area: [] };
  find(".map-point").value = point;
  draw();
  trigger("select", { point });
}

function selectArea(points) {
  props.value = { selected: null, area: points, neighbours: [] };
  draw();
  trigger("input", { points: points.length });
}

const current = () => (Number.isInteger(selection().selected) ? selection().selected : -1);
find(".map-previous").addEventListener("click", () => select((current() - 1 + count) % count));
find(".map-next").addEventListener("click", () => select((current() + 1) % count));
find(".map-point").addEventListener("change", (event) => {
  const point = Number(event.target.value);
  if (event.target.value !== "" && Number.isInteger(point) && point >= 0 && point < count) select(point);
  else event.target.value = current() < 0 ? "" : current();
});
find(".map-neighbours").addEventListener("click", () => {
  const near = [current(), ...(selection().neighbours || [])].filter((p) => p >= 0);
  if (near.length) selectArea([...new Set(near)]);
});
for (const selector of [".map-layout", ".map-colour", ".map-clip", ".map-mouse", ".map-paths", ".map-generated"]) {
  find(selector).addEventListener("change", () => {
    draw();
    if (selector === ".map-generated" && find(selector).checked && !props.generated) trigger("expand", {});
  });
}

// ---- start ------------------------------------------------------------------------------------------------------

const option = (menu, key, text) => menu.append(Object.assign(document.createElement("option"), { value: key, textContent: text }));
for (const [key, colour] of Object.entries(COLOURS)) option(find(".map-colour"), key, colour.name);
option(find(".map-clip"), -1, "all");
map.clips.forEach((clip, i) => option(find(".map-clip"), i, clip.name));
find(".map-point").max = count - 1;
find(".map-note").textContent = map.note;
watch(["paths", "generated", "positions"], draw);
watch("value", () => {
  if (Number.isInteger(selection().selected)) find(".map-point").value = selection().selected;
  draw();
});
// Plotly is fetched while the browser is idle, so that the map opens at once.
setTimeout(() => (window.requestIdleCallback ?? setTimeout)(loadPlotly), 1500);
new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && !drawn) draw(); }).observe(root);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
