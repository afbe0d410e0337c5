const root = element.querySelector(".curves");
const find = (selector) => root.querySelector(selector);
// The palette of Okabe and Ito (2008), for colour-blind readers.
const COLOURS = { noisy: "#0072B2", sparse: "#D55E00", discrete: "#009E73" };
const REFERENCES = { deterministic: "no actions", unconstrained: "no bottleneck" };
let shown = props.curves.length ? props.curves[0].key : null;

const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const colourOf = (family) => COLOURS[family] || "#888888";

const curve = () => props.curves.find((one) => one.key === shown);
const setting = () => props.value || { family: "", capacity: 1 };

function traces() {
  const out = [];
  for (const [family, points] of Object.entries(curve().lines)) {
    out.push({
      type: "scatter", mode: "lines+markers", name: family, x: points.map((p) => p.capacity), y: points.map((p) => p.mean),
      error_y: { type: "data", symmetric: false, array: points.map((p) => p.high - p.mean), arrayminus: points.map((p) => p.mean - p.low), thickness: 1, width: 0 },
      line: { color: colourOf(family), width: family === setting().family ? 3 : 1.5 }, marker: { size: 6, color: colourOf(family) },
      hovertemplate: `${family}, capacity %{x:.2f}: %{y:.3f}<extra></extra>`,
    });
    const ends = curve().paper[family];
    if (ends) out.push({ type: "scatter", mode: "markers", name: `${family}, LAWM paper`, x: [0, 1], y: ends, marker: { symbol: "diamond-open", size: 9, color: colourOf(family) }, hovertemplate: `${family}, LAWM paper: %{y:.2f}<extra></extra>` });
  }
  const current = nearest();
  if (current) out.push({ type: "scatter", mode: "markers", name: "current setting", x: [current.capacity], y: [current.mean], marker: { size: 16, color: "rgba(0,0,0,0)", line: { width: 3, color: css("--accent") } }, hoverinfo: "skip" });
  return out;
}

function nearest() {
  const points = curve().lines[setting().family] || [];
  return points.reduce((best, p) => (!best || Math.abs(p.capacity - setting().capacity) < Math.abs(best.capacity - setting().capacity) ? p : best), null);
}

async function draw() {
  find(".curves-empty").hidden = Boolean(shown);
  if (!shown || !root.isConnected || !root.offsetParent) return;
  await loadPlotly();
  const ink = css("--soft"), line = css("--line");
  const axis = { gridcolor: line, linecolor: line, zeroline: false, tickfont: { color: ink }, fixedrange: true };
  const lines = Object.entries(curve().references).map(([name, y]) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: ink, width: 1.5, dash: "dash" }, label: { text: REFERENCES[name] || name, font: { color: ink, size: 11 }, textposition: "middle", yanchor: name === "unconstrained" ? "top" : "bottom" } }));
  const marker = { type: "line", yref: "paper", y0: 0, y1: 1, x0: setting().capacity, x1: setting().capacity, line: { color: css("--accent"), width: 1.5, dash: "dot" } };
  await Plotly.react(find(".curves-plot"), traces(), {
    margin: { l: 48, r: 12, t: 8, b: 40 }, height: 300, xaxis: { ...axis, title: { text: "capacity", font: { color: ink, size: 13 } }, range: [-0.04, 1.04] }, yaxis: axis,
    shapes: [...lines, marker], legend: { orientation: "h", y: 1.14, font: { color: ink, size: 12 } }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
  }, { responsive: true, displayModeBar: false, displaylogo: false, showSendToCloud: false });
  root.dataset.curve = shown;
  root.dataset.capacity = setting().capacity;
}

function describe() {
  for (const button of find(".curves-tabs").children) button.setAttribute("aria-pressed", String(button.dataset.key === shown));
  if (!shown) return;
  find(".curves-help").textContent = curve().help;
  const families = Object.keys(curve().lines), capacities = [...new Set(families.flatMap((f) => curve().lines[f].map((p) => p.capacity)))].sort((a, b) => a - b);
  const row = (cells, isHead) => {
    const line = document.createElement("tr");
    cells.forEach((text, i) => {
      const isHeader = isHead || i === 0;
      const cell = Object.assign(document.createElement(isHeader ? "th" : "td"), { textContent: text });
      if (isHeader) cell.scope = isHead ? "col" : "row";
      line.append(cell);
    });
    return line;
  };
  find(".curves-table caption").textContent = `${curve().title}, by bottleneck and capacity`;
  find(".curves-table thead").replaceChildren(row(["bottleneck", ...capacities.map((c) => c.toFixed(2).replace(/0$/, ""))], true));
  find(".curves-table tbody").replaceChildren(...families.map((family) => row([family, ...capacities.map((c) => {
    const point = curve().lines[family].find((p) => p.capacity === c);
    return point ? point.mean.toFixed(3) : "";
  })], false)));
}

find(".curves-tabs").append(...props.curves.map((one) => {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: one.title });
  button.dataset.key = one.key;
  button.addEventListener("click", () => { shown = one.key; describe(); draw(); });
  return button;
}));
describe();
watch("value", draw);
new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) draw(); }).observe(root);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
