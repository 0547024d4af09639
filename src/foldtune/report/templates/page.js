"use strict";
// Draws each chart from the specification beside it, again where the screen is turned.
(function () {
  const charts = [...document.querySelectorAll(".chart")];
  const columns = (node) => Math.max(2, Math.min(6, Math.floor(node.clientWidth / 140)));

  function draw(node) {
    const specification = JSON.parse(document.getElementById("spec-" + node.dataset.name).textContent);
    node.drawnColumns = columns(node);
    specification.config.legend.columns = node.drawnColumns;
    window.vegaEmbed(node, specification, {
      mode: "vega-lite",
      renderer: "svg",
      actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
      downloadFileName: node.dataset.name,
      scaleFactor: { png: 2 },
    }).catch((error) => { node.textContent = "This chart could not be drawn: " + error.message; });
  }

  charts.forEach(draw);
  window.addEventListener("resize", () => {
    charts.filter((node) => columns(node) !== node.drawnColumns).forEach(draw);
  });
})();
