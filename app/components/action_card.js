const root = element.querySelector(".action-card");
const find = (selector) => root.querySelector(selector);

const tile = (thumb, pixels, node = document.createElement("i")) => cutTile(node, props.sprite, props.columns, thumb, pixels);

function render() {
  const value = props.value || {};
  root.classList.toggle("empty", !value.name);
  find("b").textContent = value.name || "No action selected";
  find(".motion").textContent = value.motion || "Hover over a point to see its frames. Click it to apply its action to your target.";
  find(".setting").textContent = value.setting || "";
  const pair = find(".pair");
  pair.hidden = !Number.isInteger(value.thumb);
  if (!pair.hidden) [...pair.children].forEach((node, i) => tile(value.thumb + i, 72, node));
  find(".action-card-neighbours").replaceChildren(...(value.neighbours || []).map((one) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: `${one.motion} (${one.name})` });
    button.setAttribute("aria-label", `Select ${one.name}: ${one.motion}`);
    button.dataset.point = one.point;
    button.append(tile(one.thumb, 40), tile(one.thumb + 1, 40));
    button.addEventListener("click", () => trigger("select", { point: one.point }));
    return button;
  }));
}

watch("value", render);
render();
