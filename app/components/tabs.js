const list = element.querySelector(".nav");
// Gradio knows a fixed set of event names; these two tell the server which view was opened.
const OPENED = { "action-map": "apply", capacity: "expand" };
let open = null;

// Each view that was opened is a step that the browser's Back takes back.
function show(key, told, back = false) {
  if (key === open || !props.tabs.some((tab) => tab.key === key)) return;
  if (!back) history[open === null ? "replaceState" : "pushState"]({ ...history.state, tab: key }, "");
  open = key;
  for (const button of list.children) {
    const chosen = button.dataset.key === key;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
  for (const pane of document.querySelectorAll(".pane")) pane.classList.toggle("shown", pane.id === `pane-${key}`);
  window.dispatchEvent(new Event("resize")); // plots measure themselves again
  props.value = key;
  if (told && OPENED[key]) trigger(OPENED[key], { tab: key });
}

list.append(...props.tabs.map((tab) => {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: tab.title, id: `tab-${tab.key}` });
  button.dataset.key = tab.key;
  button.setAttribute("role", "tab");
  button.setAttribute("aria-controls", `pane-${tab.key}`);
  button.addEventListener("click", () => show(tab.key, true));
  return button;
}));
list.addEventListener("keydown", (event) => {
  const buttons = [...list.children], at = buttons.findIndex((button) => button.dataset.key === open);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined) return;
  const next = buttons[(to + buttons.length) % buttons.length];
  next.focus();
  next.click();
  event.preventDefault();
});
window.addEventListener("popstate", (event) => { if (event.state?.tab) show(event.state.tab, true, true); });
watch("value", () => show(props.value, true));
show(props.value, false);
