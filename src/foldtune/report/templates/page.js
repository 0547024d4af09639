"use strict";
// Draws each chart from the specification beside it: where it comes into sight, the others while the
// reader reads, all before printing, and again where the screen is turned.
(function () {
  const charts = [...document.querySelectorAll(".chart")];
  const pending = new Set(charts);
  const columns = (node) => Math.max(2, Math.min(6, Math.floor(node.clientWidth / 140)));
  const options = { mode: "vega-lite", renderer: "svg", actions: false };
  const told = (name) => JSON.parse(document.getElementById("spec-" + name).textContent);
  const idle = window.requestIdleCallback || ((run) => setTimeout(run, 1));

  // The runtime is 0.9 MB of script: it is run when the first chart is drawn, not before the page.
  function embed(node, specification) {
    if (!window.vegaEmbed) {
      const script = document.createElement("script");
      script.textContent = document.getElementById("runtime").textContent;
      document.head.append(script);
    }
    return window.vegaEmbed(node, specification, options);
  }

  function draw(node) {
    pending.delete(node);
    const specification = told(node.dataset.name);
    node.drawnColumns = columns(node);
    specification.config.legend.columns = node.drawnColumns;
    return embed(node, specification).then(() => node.removeAttribute("role"))
      .catch((error) => { node.textContent = "This chart could not be drawn: " + error.message; });
  }

  function drawAll(nodes) {
    const [first, ...rest] = nodes;
    if (first) draw(first).then(() => setTimeout(() => drawAll(rest), 0));
  }

  function drawPending() {
    const [first] = pending;
    if (first) draw(first).then(() => idle(drawPending, { timeout: 100 }));
  }

  // The chart for a paper: its own width, dark on white, whatever scheme the reader has.
  function onPaper(name) {
    const specification = told(name);
    specification.width = 640; // as in paper.py
    Object.entries(JSON.parse(document.getElementById("paper").textContent)).forEach(([key, value]) => {
      const known = specification.config[key];
      specification.config[key] = typeof value === "object" ? Object.assign({}, known, value) : value;
    });
    return embed(document.createElement("div"), specification).then((made) => made.view);
  }

  // No cell that a spreadsheet would run as a formula.
  function cell(value) {
    if (value === null || value === undefined) return "";
    const text = (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? "'" : "") + value;
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  function table(name) {
    const wanted = JSON.parse(document.getElementById("chart-" + name).dataset.columns);
    const rows = told(name).data.values.map((row) => Object.values(wanted).map((key) => cell(row[key])));
    return [Object.keys(wanted).map(cell), ...rows].map((row) => row.join(",")).join("\r\n") + "\r\n";
  }

  async function blobOf(name, kind) {
    if (kind === "csv") return new Blob([table(name)], { type: "text/csv" });
    const view = await onPaper(name);
    if (kind === "svg") return new Blob([await view.toSVG()], { type: "image/svg+xml" });
    const canvas = await view.toCanvas(3);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  async function download(name, kind) {
    const link = document.createElement("a");
    link.download = name + "." + kind;
    link.href = URL.createObjectURL(await blobOf(name, kind));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  document.querySelectorAll(".tools").forEach((tools) => {
    tools.hidden = false;
    tools.addEventListener("click", (event) => {
      if (event.target.tagName === "BUTTON") download(tools.dataset.for, event.target.textContent.toLowerCase());
    });
  });
  const sight = new IntersectionObserver((seen) => seen.forEach((one) => {
    if (one.isIntersecting && pending.has(one.target)) draw(one.target);
  }), { rootMargin: "300px" });
  window.addEventListener("load", () => setTimeout(() => {
    charts.forEach((node) => sight.observe(node));
    idle(drawPending, { timeout: 300 });
  }, 0));
  window.addEventListener("beforeprint", () => [...pending].forEach(draw));
  window.addEventListener("resize", () => {
    drawAll(charts.filter((node) => node.drawnColumns && columns(node) !== node.drawnColumns));
  });
})();
