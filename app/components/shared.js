// Functions of several components; put before each component's own script.

// The full URL of a file, whose path is relative to the page's root. Behind a proxy, that is not the host's root.
function fullUrl(path) {
  return `${(window.gradio_config?.root ?? "").replace(/\/$/, "")}/${path}`;
}

// Shows one tile of a sheet that is `columns` tiles wide.
function cutTile(node, sheet, columns, index, pixels) {
  const x = index % columns, y = Math.floor(index / columns);
  node.style.backgroundImage = `url("${fullUrl(sheet)}")`;
  node.style.backgroundSize = `${columns * pixels}px auto`;
  node.style.backgroundPosition = `${-x * pixels}px ${-y * pixels}px`;
  return node;
}

// Loads Plotly, once for all components.
function loadPlotly() {
  window.plotlyLoading ??= new Promise((done, fail) => {
    const script = Object.assign(document.createElement("script"), { src: fullUrl(props.plotly), onload: done, onerror: fail });
    document.head.append(script);
  });
  return window.plotlyLoading;
}

