// Gradio reports a slider's release for the pointer only; let go of an arrow key is the same decision.
document.addEventListener("keyup", (event) => {
  const moved = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
  if (!event.target.matches("#capacity input[type=range]") || !moved.includes(event.key)) return;
  event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});
