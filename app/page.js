// Gradio reports a slider's release for the pointer only; let go of an arrow key is the same decision.
document.addEventListener("keyup", (event) => {
  const moved = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
  if (!event.target.matches("#capacity input[type=range]") || !moved.includes(event.key)) return;
  event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});

// A number beyond its limits becomes the nearest one within, before Gradio sees it: it would refuse, and say of no field.
// One too small may be the beginning of a larger one, so it waits for the end of typing.
function clamp(input, low) {
  const value = Math.max(low, Math.min(input.max === "" ? Infinity : Number(input.max), Number(input.value)));
  const moved = input.value !== "" && value !== Number(input.value);
  if (moved) input.value = value;
  return moved;
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
    starter?.style.setProperty("--done", `${bar?.ariaValueNow ?? 0}%`);
    starter?.setAttribute("aria-busy", String(Boolean(tracker)));
    document.getElementById(`cancel-${kind}`)?.classList.toggle("shown", Boolean(tracker));
  }
}
new MutationObserver(showJobs).observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-valuenow", "class"] });

// Who chooses a clip while the lanes are out of sight is told that something happens, and taken there.
const chip = document.createElement("div"), way = Object.assign(document.createElement("button"), { type: "button" });
const lanes = () => document.querySelector("#lanes");
const inSight = () => { const box = lanes().getBoundingClientRect(); return box.bottom > 120 && box.top < innerHeight - 120; };
const tellWay = (text, ready) => { way.textContent = text; way.disabled = !ready; chip.classList.toggle("shown", Boolean(text)); };
chip.className = "chip";
chip.setAttribute("aria-live", "polite");
chip.append(way);
document.body.append(chip);
document.addEventListener("wished", () => { if (lanes()?.offsetParent && !inSight()) tellWay("Working…", false); });
document.addEventListener("answered", () => requestAnimationFrame(() => {
  if (!chip.classList.contains("shown")) return;
  const refused = document.querySelector("#message .message.shown");
  refused || inSight() ? tellWay("") : tellWay("See the result ↑", true);
}));
document.addEventListener("scroll", () => { if (chip.classList.contains("shown") && (!lanes()?.offsetParent || inSight())) tellWay(""); }, { passive: true });
way.addEventListener("click", () => {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  lanes().scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  tellWay("");
});
