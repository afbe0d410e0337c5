const root = element.querySelector(".plan");
const find = (selector) => root.querySelector(selector);

function line(values, low, high, most) {
  const x = (i) => 10 + (280 * i) / Math.max(1, most - 1), y = (v) => 110 - (100 * (v - low)) / Math.max(1e-9, high - low);
  return values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join(" ");
}

function drawCurve(value) {
  const all = [...value.best, ...value.mean], low = Math.min(...all), high = Math.max(...all);
  find(".plan-best").setAttribute("d", line(value.best, low, high, value.best.length));
  find(".plan-mean").setAttribute("d", line(value.mean, low, high, value.best.length));
}

function drawSteps(value) {
  const row = (cells, kind) => {
    const tr = document.createElement("tr");
    tr.append(...cells.map((text) => Object.assign(document.createElement(kind), { textContent: text })));
    return tr;
  };
  find(".plan-steps").hidden = !value.steps.length;
  find(".plan-steps").replaceChildren(row(["step", ...value.names], "th"), ...value.steps.map((step, i) => row([String(i + 1), ...step], "td")));
}

function render() {
  const value = props.value;
  root.classList.toggle("empty", !value);
  if (!value) return;
  root.classList.toggle("planned", Boolean(value.steps.length));
  find(".plan-goal-picture").src = value.goal;
  find(".plan-end").hidden = !value.end;
  if (value.end) find(".plan-end-picture").src = value.end;
  find(".plan-said").textContent = value.said;
  root.dataset.iteration = value.best.length;
  if (value.best.length) drawCurve(value);
  drawSteps(value);
  const named = (i) => (i ? `Candidate ${i}` : "The plan: what the best candidates agree on");
  find(".plan-ends").replaceChildren(...value.ends.map((address, i) => Object.assign(document.createElement("img"), { src: address, alt: named(i), title: named(i) })));
}

function renderReached() {
  find(".plan-reached").textContent = props.reached || "";
}

find(".plan-empty").textContent = props.invitation || "";
watch("value", render);
watch("reached", renderReached);
render();
