const list = element.querySelector(".nav");
// Gradio has a fixed set of event names; these three notify the server which tab was opened.
const EVENTS = { "action-map": "apply", capacity: "expand", touch: "focus" };
let open = null;

// Each opened tab is an entry of the browser's history, so that Back returns to the one before.
function show(key, notify, isBack = false) {
  if (key === open || !props.tabs.some((tab) => tab.key === key)) return;
  if (!isBack) history[open === null ? "replaceState" : "pushState"]({ ...history.state, tab: key }, "");
  open = key;
  for (const button of list.children) {
    const isOpen = button.dataset.key === key;
    button.setAttribute("aria-selected", String(isOpen));
    button.tabIndex = isOpen ? 0 : -1;
  }
  for (const pane of document.querySelectorAll(".pane")) pane.classList.toggle("shown", pane.id === `pane-${key}`);
  window.dispatchEvent(new Event("resize")); // plots measure themselves again
  props.value = key;
  if (notify && EVENTS[key]) trigger(EVENTS[key], { tab: key });
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
