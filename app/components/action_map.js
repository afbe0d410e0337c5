const root = element.querySelector(".map");
const find = (selector) => root.querySelector(selector);
const plot = find(".map-plot"), hover = find(".map-hover"), atlas = props.atlas;
const count = atlas.clip.length;
// Okabe and Ito (2008): eight colours that are distinct to colour-blind readers too.
const HUES = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#888888"];
const VIRIDIS = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"], CIVIDIS = ["#00204d", "#414d6b", "#7b7a77", "#b9ac70", "#ffea46"];
const COMPASS = ["#0072B2", "#009E73", "#E69F00", "#CC79A7", "#0072B2"]; // left, up, right, down, left
// scale: colours from the lowest value to the highest; ends: what the legend says at both ends of them, or along them.
const COLOURS = {
  speed: { name: "Amount of motion", scale: VIRIDIS, of: (p) => Math.sqrt(atlas.speed[p]), ends: ["little motion", "much motion"] },
  heading: { name: "Direction of motion", scale: COMPASS, of: (p) => atlas.heading[p], range: [-Math.PI, Math.PI], ends: ["left", "up", "right", "down", "left"] },
  clip: { name: "Clip", of: (p) => HUES[atlas.clip[p] % HUES.length], ends: ["one colour per clip; eight colours repeat"] },
  time: { name: "Time in the clip", scale: CIVIDIS, of: (p) => atlas.frame[p] / atlas.clips[atlas.clip[p]].frames, ends: ["start of the clip", "end of the clip"] },
  size: { name: "Norm of the action", scale: VIRIDIS, of: (p) => atlas.size[p], ends: ["small", "large"] },
};
let drawn = false, wired = false;

// ---- helpers ----------------------------------------------------------------------------------------------------

const value = () => props.value || {};
const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const layout = () => (props.places && find(".map-layout").value === "umap" ? props.places : atlas.places[find(".map-layout").value]);
const shownClip = () => Number(find(".map-clip").value);
const shownPoints = () => {
  const clip = shownClip();
  return clip < 0 ? [...Array(count).keys()] : [...Array(count).keys()].filter((p) => atlas.clip[p] === clip);
};

const setTile = (node, thumb, pixels) => cutTile(node, atlas.sprite, atlas.across, thumb, pixels);
const nameOf = (p) => `${atlas.clips[atlas.clip[p]].name}, ${atlas.frame[p]} to ${atlas.frame[p] + 1}`;
const thumbOf = (p) => atlas.clips[atlas.clip[p]].first + atlas.frame[p];

// ---- drawing ----------------------------------------------------------------------------------------------------

function traces() {
  const at = layout(), points = shownPoints(), colour = COLOURS[find(".map-colour").value];
  const small = points.length > 4000;
  const marker = { size: small ? 4 : 8, opacity: small ? 0.6 : 0.85, color: points.map(colour.of) };
  if (colour.scale) Object.assign(marker, { colorscale: colour.scale.map((hue, i) => [i / (colour.scale.length - 1), hue]), showscale: false });
  if (colour.range) Object.assign(marker, { cmin: colour.range[0], cmax: colour.range[1] });
  const out = [{
    type: "scattergl", mode: "markers", x: points.map((p) => at.x[p]), y: points.map((p) => at.y[p]), customdata: points,
    marker, hoverinfo: "none", selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: marker.opacity } },
  }];
  const chosen = value().chosen || [];
  if (chosen.length) out.push(ring(chosen, at, chosen.length > 500 ? 6 : 13, chosen.length > 500 ? 1 : 2));
  if (find(".map-sampled").checked && props.sampled) {
    const s = props.sampled[find(".map-layout").value];
    out.push({ type: "scattergl", mode: "markers", x: s.x, y: s.y, hoverinfo: "skip", marker: { symbol: "x-thin", size: 7, color: css("--warn"), line: { width: 1.5, color: css("--warn") } } });
  }
  if (find(".map-paths").checked) {
    for (const path of props.paths || []) {
      // In WebGL as the points are, or they would be drawn below them; a line in the card's colour sets them off.
      const line = path[find(".map-layout").value], colour = css(path.role === "source" ? "--accent" : "--warn");
      const trace = { type: "scattergl", x: line.x, y: line.y, hoverinfo: "skip" };
      out.push({ ...trace, mode: "lines", line: { color: css("--card"), width: 7 } });
      out.push({ ...trace, mode: "lines+markers", name: path.role, line: { color: colour, width: 3 }, marker: { size: 11, color: colour, line: { width: 2, color: css("--card") } } });
    }
  }
  const selected = value().selected;
  if (Number.isInteger(selected)) out.push(ring([selected], at, 18, 3));
  return out;
}

function ring(points, at, size, width) {
  return {
    type: "scattergl", mode: "markers", x: points.map((p) => at.x[p]), y: points.map((p) => at.y[p]), hoverinfo: "skip",
    marker: { size, color: "rgba(0,0,0,0)", line: { width, color: css("--accent") } },
  };
}

async function draw() {
  if (!root.isConnected || !root.offsetParent) return;
  await loadPlotly();
  // Ranges come from the points alone, so that the map stays where it is when rings and paths come and go.
  const at = layout(), points = shownPoints();
  const range = (values) => {
    const some = points.map((p) => values[p]), low = Math.min(...some), high = Math.max(...some), room = 0.06 * (high - low) + 1e-3;
    return [low - room, high + room];
  };
  const picture = {
    margin: { l: 6, r: 6, t: 6, b: 6 }, showlegend: false, dragmode: find(".map-drag").value, hovermode: "closest",
    uirevision: find(".map-layout").value + shownClip() + Boolean(props.places), xaxis: { visible: false, range: range(at.x) }, yaxis: { visible: false, range: range(at.y), scaleanchor: "x" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  };
  // What the mouse does is chosen above the map; two places for it would disagree.
  const buttons = ["toImage", "select2d", "lasso2d", "pan2d", "zoom2d", "autoScale2d", "hoverClosestCartesian", "hoverCompareCartesian", "toggleSpikelines", "sendDataToCloud"];
  const config = { responsive: true, displaylogo: false, showSendToCloud: false, scrollZoom: false, modeBarButtonsToRemove: buttons };
  await Plotly.react(plot, traces(), picture, config);
  find(".map-wait").hidden = true;
  const near = find(".map-paths").checked || find(".map-sampled").checked;
  const approximate = near ? " Source, target and samples are placed between their nearest points: approximate." : "";
  drawLegend();
  find(".map-note").textContent = `${props.note || atlas.note}${approximate}`;
  root.dataset.points = shownPoints().length;
  drawn = true;
  if (!wired) wire();
}

function drawLegend() {
  const { name, scale, ends } = COLOURS[find(".map-colour").value], bar = find(".map-scale");
  find(".map-legend b").textContent = name;
  bar.hidden = !scale;
  if (scale) bar.style.background = `linear-gradient(to right, ${scale.join(", ")})`;
  find(".map-ends").replaceChildren(...ends.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
}

function wire() {
  wired = true;
  plot.on("plotly_click", (event) => {
    const point = event.points.map((one) => one.customdata).find(Number.isInteger);
    if (point !== undefined) choose(point);
  });
  plot.on("plotly_selected", (event) => {
    const points = event ? event.points.map((one) => one.customdata).filter(Number.isInteger) : [];
    if (points.length) gather(points);
  });
  plot.on("plotly_hover", (event) => {
    const point = event.points.map((one) => one.customdata).find(Number.isInteger);
    if (point !== undefined) showHover(point, event.event);
  });
  plot.on("plotly_unhover", () => { hover.hidden = true; });
}

function showHover(point, mouse) {
  const [before, after] = hover.querySelectorAll("i");
  setTile(before, thumbOf(point), 88);
  setTile(after, thumbOf(point) + 1, 88);
  hover.querySelector("b").textContent = nameOf(point);
  hover.querySelector(".words").textContent = atlas.words[point];
  hover.hidden = false;
  hover.dataset.point = point;
  const stage = find(".map-stage").getBoundingClientRect();
  // In the corner that is farthest from the pointer: beside it, the card would cover the neighbours.
  const right = mouse.clientX - stage.left > stage.width / 2, low = mouse.clientY - stage.top > plot.offsetHeight / 2;
  hover.style.left = right ? "8px" : `${stage.width - hover.offsetWidth - 8}px`;
  hover.style.top = low ? "8px" : `${plot.offsetHeight - hover.offsetHeight - 8}px`;
}

// ---- choosing ---------------------------------------------------------------------------------------------------

function choose(point) {
  props.value = { ...value(), selected: point, chosen: [] };
  find(".map-point").value = point;
  draw();
  trigger("select", { point });
}

function gather(points) {
  props.value = { selected: null, chosen: points, neighbours: [] };
  draw();
  trigger("input", { points: points.length });
}

const current = () => (Number.isInteger(value().selected) ? value().selected : -1);
find(".map-previous").addEventListener("click", () => choose((current() - 1 + count) % count));
find(".map-next").addEventListener("click", () => choose((current() + 1) % count));
find(".map-point").addEventListener("change", (event) => {
  const point = Number(event.target.value);
  if (event.target.value !== "" && Number.isInteger(point) && point >= 0 && point < count) choose(point);
  else event.target.value = current() < 0 ? "" : current();
});
find(".map-near").addEventListener("click", () => {
  const near = [current(), ...(value().neighbours || [])].filter((p) => p >= 0);
  if (near.length) gather([...new Set(near)]);
});
for (const selector of [".map-layout", ".map-colour", ".map-clip", ".map-drag", ".map-paths", ".map-sampled"]) {
  find(selector).addEventListener("change", () => {
    draw();
    if (selector === ".map-sampled" && find(selector).checked && !props.sampled) trigger("expand", {});
  });
}

// ---- start ------------------------------------------------------------------------------------------------------

const option = (to, key, text) => to.append(Object.assign(document.createElement("option"), { value: key, textContent: text }));
for (const [key, colour] of Object.entries(COLOURS)) option(find(".map-colour"), key, colour.name);
option(find(".map-clip"), -1, "all");
atlas.clips.forEach((clip, i) => option(find(".map-clip"), i, clip.name));
find(".map-point").max = count - 1;
find(".map-note").textContent = atlas.note;
watch(["paths", "sampled", "places"], draw);
watch("value", () => {
  if (Number.isInteger(value().selected)) find(".map-point").value = value().selected;
  draw();
});
// Fetched while nobody waits for it: the map then opens at once.
setTimeout(() => (window.requestIdleCallback ?? setTimeout)(loadPlotly), 1500);
new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && !drawn) draw(); }).observe(root);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
