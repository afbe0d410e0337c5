const root = element.querySelector(".chosen");
const find = (selector) => root.querySelector(selector);

const tile = (thumb, pixels, node = document.createElement("i")) => cutTile(node, props.sprite, props.across, thumb, pixels);

function render() {
  const value = props.value || {};
  root.classList.toggle("empty", !value.name);
  find("b").textContent = value.name || "No action chosen";
  find(".words").textContent = value.words || "Hover to preview. Click a point to apply it to your target.";
  find(".setting").textContent = value.setting || "";
  const pair = find(".pair");
  pair.hidden = !Number.isInteger(value.thumb);
  if (!pair.hidden) [...pair.children].forEach((node, i) => tile(value.thumb + i, 72, node));
  find(".chosen-near").replaceChildren(...(value.near || []).map((one) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: `${one.words} (${one.name})` });
    button.setAttribute("aria-label", `Choose ${one.name}: ${one.words}`);
    button.dataset.point = one.point;
    button.append(tile(one.thumb, 40), tile(one.thumb + 1, 40));
    button.addEventListener("click", () => trigger("select", { point: one.point }));
    return button;
  }));
}

watch("value", render);
render();
