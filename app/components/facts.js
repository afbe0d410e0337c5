const make = (tag, text, parent, kind) => {
  const node = document.createElement(tag);
  node.textContent = text;
  if (kind) node.className = kind;
  parent.append(node);
  return node;
};

function render() {
  const { inputs = [], scores = [], warnings = [] } = props.value || {};
  const list = element.querySelector(".scores");
  list.replaceChildren();
  for (const score of scores) {
    const item = make("div", "", list, "score");
    make("dt", score.name, item);
    const number = make("dd", `${score.number} `, item, "number");
    make("span", score.scale, number, "scale");
    make("dd", score.help, item, "help");
  }
  for (const [selector, sentences] of [[".warnings", warnings], [".inputs", inputs]]) {
    const node = element.querySelector(selector);
    node.replaceChildren();
    for (const sentence of sentences) make("li", sentence, node);
  }
}

watch("value", render);
render();
