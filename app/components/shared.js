// What several pieces do; put before each piece's own script.

// A file's address from the page's root on, which is not the host's root behind a proxy.
function served(path) {
  return `${(window.gradio_config?.root ?? "").replace(/\/$/, "")}/${path}`;
}

// Makes a node the thumb-th tile of a sheet that is `across` tiles wide.
function cutTile(node, sheet, across, thumb, pixels) {
  const x = thumb % across, y = Math.floor(thumb / across);
  node.style.backgroundImage = `url("${served(sheet)}")`;
  node.style.backgroundSize = `${across * pixels}px auto`;
  node.style.backgroundPosition = `${-x * pixels}px ${-y * pixels}px`;
  return node;
}

// Plotly, fetched once for all pieces of the page.
function loadPlotly() {
  window.plotlyLoading ??= new Promise((done, fail) => {
    const script = Object.assign(document.createElement("script"), { src: served(props.plotly), onload: done, onerror: fail });
    document.head.append(script);
  });
  return window.plotlyLoading;
}

