// Gradio reports the release of a slider for the pointer only; the release of an arrow key means the same.
document.addEventListener("keyup", (event) => {
  const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
  if (!event.target.matches("#capacity input[type=range]") || !keys.includes(event.key)) return;
  event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});

// ---- help: shown when the pointer rests on a setting ------------------------------------------------------------------

document.getElementById("capacity")?.setAttribute("title", "How much an action can encode. At 0: coarse motion only. At 1: appearance too.");
document.getElementById("family")?.setAttribute("title", "What limits an action: noise, sparsity, or a set of codes.");

// ---- numbers: moved into their range before Gradio sees them, whose error message does not name the field -----------

// While the user is typing, a number that is too small may become a larger one, so the minimum is applied at the end.
function clamp(input, low) {
  const typed = Number(input.value), value = Math.max(low, Math.min(input.max === "" ? Infinity : Number(input.max), typed));
  if (input.value === "" || value === typed) return false;
  const name = input.getAttribute("aria-label") || input.closest("label")?.querySelector("span")?.textContent.trim() || "The number";
  notify(`${name} was set to ${value}, the ${value < typed ? "maximum" : "minimum"} (${input.value} was typed).`);
  input.value = value;
  return true;
}
const onNumber = (act) => (event) => { if (event.target instanceof HTMLInputElement && event.target.type === "number") act(event.target, event); };
const finish = onNumber((input) => {
  if (clamp(input, input.min === "" ? -Infinity : Number(input.min))) input.dispatchEvent(new Event("input", { bubbles: true }));
});
document.addEventListener("input", onNumber((input) => clamp(input, -Infinity)), true);
document.addEventListener("blur", finish, true);
document.addEventListener("keydown", onNumber((input, event) => {
  if (event.key !== "Enter") return;
  finish(event);
  if (input.closest("#capacity")) input.blur(); // Gradio's slider takes a typed number only when it loses the focus
}), true);

// ---- running jobs: shown beside their buttons while Gradio's status tracker is on their panel -------------------------

// Kind of job, id of the component with its progress, id of the button that starts it.
const JOBS = [["transfer", "panels", "run-transfer"], ["sweep", "sweep", "run-sweep"], ["recompute", "action-map", "recompute-map"], ["plan", "plan", "search-plan"], ["touch", "touch-panels", ""]];
function showJobs() {
  for (const [kind, panel, button] of JOBS) {
    const tracker = document.querySelector(`#${panel} > [data-testid=status-tracker]:is(.full, .minimal):not(.hide)`);
    const bar = tracker?.querySelector("[role=progressbar]"), starter = document.getElementById(button);
    starter?.classList.toggle("running", Boolean(tracker));
    starter?.style.setProperty("--done", bar?.ariaValueNow ?? 0);
    starter?.setAttribute("aria-busy", String(Boolean(tracker)));
    document.getElementById(`cancel-${kind}`)?.classList.toggle("shown", Boolean(tracker));
  }
}
new MutationObserver(showJobs).observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-valuenow", "class"] });

// ---- notices at the lower edge of the page ----------------------------------------------------------------------------

const noticeArea = document.createElement("div"), notice = Object.assign(document.createElement("button"), { type: "button" });
const NOTICE_MILLISECONDS = 6000;
let onClick = null, timer = 0;
noticeArea.className = "notice";
noticeArea.setAttribute("aria-live", "polite");
noticeArea.append(notice);
document.body.append(noticeArea);

// Shows a notice, or hides it if the text is empty. act: called on a click. stays: until the next notice.
function notify(text, act = null, stays = false) {
  notice.textContent = text;
  notice.disabled = !act;
  onClick = act;
  noticeArea.classList.toggle("shown", Boolean(text));
  clearTimeout(timer);
  if (text && !stays) timer = setTimeout(() => notify(""), NOTICE_MILLISECONDS);
}
notice.addEventListener("click", () => { const act = onClick; notify(""); act?.(); });

document.addEventListener("notice", (event) => notify(event.detail));
const hasMessage = () => Boolean(document.querySelector("#message .message.shown"));
document.addEventListener("added", () => requestAnimationFrame(() => {
  if (!hasMessage()) notify("Added to the script. Open Compose →", () => document.querySelector("#tab-compose").click());
}));

// If the panels are not visible when a clip is chosen, a notice shows the progress and then leads to the result.
const panels = () => document.querySelector("#panels");
const isVisible = () => { const box = panels().getBoundingClientRect(); return box.bottom > 120 && box.top < innerHeight - 120; };
let isResultNotice = false;
function showResult() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  panels().scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}
function notifyResult(text, act) {
  isResultNotice = Boolean(text);
  notify(text, act, true);
}
document.addEventListener("requested", () => { if (panels()?.offsetParent && !isVisible()) notifyResult("Computing…"); });
document.addEventListener("finished", () => requestAnimationFrame(() => {
  if (isResultNotice) hasMessage() || isVisible() ? notifyResult("") : notifyResult("Show the result ↑", showResult);
}));
document.addEventListener("scroll", () => { if (isResultNotice && (!panels()?.offsetParent || isVisible())) notifyResult(""); }, { passive: true });

// ---- the keyboard sheet, opened with ? ---------------------------------------------------------------------------------

// It shows the section Keyboard of the tab About.
const sheet = document.createElement("dialog");
sheet.className = "key-sheet";
sheet.setAttribute("aria-label", "Keyboard");
document.body.append(sheet);
function openSheet() {
  const title = [...document.querySelectorAll("#pane-about h3")].find((one) => one.textContent.trim() === "Keyboard");
  if (!title || sheet.open) return;
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close" });
  close.addEventListener("click", () => sheet.close());
  sheet.replaceChildren(title.cloneNode(true), title.nextElementSibling.cloneNode(true), close);
  sheet.showModal();
}
document.addEventListener("keydown", (event) => {
  if (event.key === "?" && !event.target.matches("input:not([type=range], [type=checkbox]), textarea, select")) openSheet();
});
sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); }); // beside the sheet
