const root = element.querySelector(".plan");
const find = (selector) => root.querySelector(selector);

function line(values, low, high) {
  const x = (i) => 10 + (280 * i) / Math.max(1, values.length - 1), y = (v) => 110 - (100 * (v - low)) / Math.max(1e-9, high - low);
  return values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join(" ");
}

function drawCurve({ best, mean }) {
  const low = Math.min(...best, ...mean), high = Math.max(...best, ...mean);
  find(".plan-best").setAttribute("d", line(best, low, high));
  find(".plan-mean").setAttribute("d", line(mean, low, high));
}

function drawSteps({ names, steps }) {
  const row = (cells, kind) => {
    const tr = document.createElement("tr");
    tr.append(...cells.map((text) => Object.assign(document.createElement(kind), { textContent: text })));
    return tr;
  };
  find(".plan-steps").hidden = !steps.length;
  find(".plan-steps").replaceChildren(row(["step", ...names], "th"), ...steps.map((step, i) => row([String(i + 1), ...step], "td")));
}

function render() {
  const value = props.value;
  root.classList.toggle("empty", !value);
  if (!value) return;
  const [end] = value.ends;
  root.classList.toggle("planned", Boolean(value.steps.length));
  find(".plan-goal-picture").src = value.goal;
  find(".plan-end").hidden = !end;
  if (end) find(".plan-end-picture").src = end;
  find(".plan-text").textContent = value.text;
  root.dataset.rounds = value.best.length;
  if (value.best.length) drawCurve(value);
  drawSteps(value);
  const title = (i) => (i ? `Candidate ${i}` : "Plan: average action of the best candidates");
  find(".plan-ends").replaceChildren(...value.ends.map((src, i) => Object.assign(document.createElement("img"), { src, alt: title(i), title: title(i) })));
}

function renderReached() {
  find(".plan-reached").textContent = props.reached || "";
}

find(".plan-empty").textContent = props.invitation || "";
watch("value", render);
watch("reached", renderReached);
render();
