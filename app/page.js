// Gradio reports a slider's release for the pointer only; let go of an arrow key is the same decision.
document.addEventListener("keyup", (event) => {
  const moved = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
  if (!event.target.matches("#capacity input[type=range]") || !moved.includes(event.key)) return;
  event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});

// A number beyond its limits becomes the nearest one within, before Gradio sees it: it would refuse, and say of no field.
// One too small may be the beginning of a larger one, so it waits for the end of typing.
function clamp(input, low) {
  const typed = Number(input.value), value = Math.max(low, Math.min(input.max === "" ? Infinity : Number(input.max), typed));
  const moved = input.value !== "" && value !== typed;
  if (!moved) return false;
  const name = input.getAttribute("aria-label") || input.closest("label")?.querySelector("span")?.textContent.trim() || "This number";
  notify(`${name}: ${value} is used, the ${value < typed ? "largest" : "smallest"} value possible (${input.value} was typed).`);
  input.value = value;
  return true;
}
const numbers = (act) => (event) => { if (event.target instanceof HTMLInputElement && event.target.type === "number") act(event.target, event); };
const end = numbers((input) => {
  if (clamp(input, input.min === "" ? -Infinity : Number(input.min))) input.dispatchEvent(new Event("input", { bubbles: true }));
});
document.addEventListener("input", numbers((input) => clamp(input, -Infinity)), true);
document.addEventListener("blur", end, true);
document.addEventListener("keydown", numbers((input, event) => {
  if (event.key !== "Enter") return;
  end(event);
  if (input.closest("#capacity")) input.blur(); // to Gradio's slider, only leaving it is an end
}), true);

// ---- running jobs: Gradio's tracker on a job's panel is the one source of truth ---------------------------------

// The job's kind, the panel that shows its progress and the button that starts it; Cancel stands beside the button.
const JOBS = [["transfer", "lanes", "run-transfer"], ["sweep", "sweep", "run-sweep"], ["refit", "action-map", "refit"], ["plan", "plan", "run-plan"]];
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

// ---- notices at the lower edge: short news, with a button where there is somewhere to go ---------------------------

const chip = document.createElement("div"), notice = Object.assign(document.createElement("button"), { type: "button" });
const NOTICE = 6000; // milliseconds
let follow = null, ends = 0;
chip.className = "chip";
chip.setAttribute("aria-live", "polite");
chip.append(notice);
document.body.append(chip);

// A notice with an empty text goes; `act` is what a click on it does; one that lasts stays until it is replaced.
function notify(text, act = null, lasts = false) {
  notice.textContent = text;
  notice.disabled = !act;
  follow = act;
  chip.classList.toggle("shown", Boolean(text));
  clearTimeout(ends);
  if (text && !lasts) ends = setTimeout(() => notify(""), NOTICE);
}
notice.addEventListener("click", () => { const act = follow; notify(""); act?.(); });

document.addEventListener("notice", (event) => notify(event.detail));
const refused = () => document.querySelector("#message .message.shown");
document.addEventListener("added", () => requestAnimationFrame(() => {
  if (!refused()) notify("Added to the script. Open Compose →", () => document.querySelector("#tab-compose").click());
}));

// Who chooses a clip while the panels are out of sight is told that something happens, and taken there.
const lanes = () => document.querySelector("#lanes");
const inSight = () => { const box = lanes().getBoundingClientRect(); return box.bottom > 120 && box.top < innerHeight - 120; };
let onItsWay = false; // whether the notice is about a result
function showResult() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  lanes().scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}
function tellResult(text, act) {
  onItsWay = Boolean(text);
  notify(text, act, true);
}
document.addEventListener("wished", () => { if (lanes()?.offsetParent && !inSight()) tellResult("Working…"); });
document.addEventListener("answered", () => requestAnimationFrame(() => {
  if (onItsWay) refused() || inSight() ? tellResult("") : tellResult("See the result ↑", showResult);
}));
document.addEventListener("scroll", () => { if (onItsWay && (!lanes()?.offsetParent || inSight())) tellResult(""); }, { passive: true });
