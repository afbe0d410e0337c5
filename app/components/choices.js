const list = element.querySelector(".choices-list");
const note = element.querySelector(".choices-note");
list.setAttribute("aria-label", props.caption);
element.querySelector(".choices-label").textContent = props.caption;
let drawn = null;

function thumb(row, picture) {
  const node = document.createElement("span");
  node.className = picture ? "thumb" : "thumb of-gallery";
  if (picture) node.style.backgroundImage = `url("${picture}")`;
  node.style.backgroundPositionY = props.rows > 1 ? `${(100 * row) / (props.rows - 1)}%` : "0%";
  return node;
}

function button(item) {
  const node = document.createElement("button");
  node.type = "button";
  node.className = "choice";
  node.dataset.key = item.key;
  const pictures = document.createElement("span");
  pictures.className = "choice-pictures";
  if (item.picture) pictures.append(thumb(0, item.picture));
  item.rows.forEach((row, i) => {
    if (i) pictures.append(Object.assign(document.createElement("span"), { className: "choice-arrow", textContent: "→" }));
    pictures.append(thumb(row));
  });
  pictures.setAttribute("aria-hidden", "true");
  const title = document.createElement("span");
  title.className = "choice-title";
  title.textContent = node.title = item.title;
  node.append(pictures, title);
  node.addEventListener("click", () => {
    props.value = { ...props.value, chosen: item.key };
    render();
    trigger("select", { key: item.key });
    list.dispatchEvent(new CustomEvent("requested", { bubbles: true }));
  });
  return node;
}

function render() {
  const { chosen = null, upload = null } = props.value || {};
  const items = upload ? [upload, ...props.items] : props.items;
  const drawing = JSON.stringify(upload);
  if (drawing !== drawn) {
    drawn = drawing;
    list.replaceChildren(...items.map(button));
  }
  for (const node of list.children) node.setAttribute("aria-pressed", String(node.dataset.key === chosen));
  const item = items.find((one) => one.key === chosen);
  note.textContent = item ? item.note : items.length ? "" : "The gallery is empty. Upload a video.";
}

watch("value", render);
render();
