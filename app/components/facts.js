const make = (tag, text, parent, kind) => {
  const node = document.createElement(tag);
  node.textContent = text;
  if (kind) node.className = kind;
  parent.append(node);
  return node;
};

function render() {
  const { used = [], scores = [], warnings = [] } = props.value || {};
  const list = element.querySelector(".scores");
  list.replaceChildren();
  for (const score of scores) {
    const item = make("div", "", list, "score");
    make("dt", score.name, item);
    make("dd", score.figure, item, "figure");
    make("dd", score.text, item, "reading");
  }
  const cautions = element.querySelector(".warnings");
  cautions.replaceChildren();
  for (const sentence of warnings) make("li", sentence, cautions);
  const lines = element.querySelector(".used");
  lines.replaceChildren();
  for (const sentence of used) make("li", sentence, lines);
}

watch("value", render);
render();
