const area = element.querySelector(".message");

function render() {
  const text = (props.value && props.value.text) || "";
  area.querySelector("p").textContent = text;
  area.querySelector(".message-sign").hidden = !text;
  area.classList.toggle("shown", Boolean(text));
  const notice = props.value && props.value.notice;
  if (notice) document.dispatchEvent(new CustomEvent("notice", { detail: notice }));
}

watch("value", render);
render();
