"use strict";
// The images that are got wrong, and on which methods disagree. Every name is set as text, never as markup.
(function () {
  const source = document.getElementById("gallery-items");
  if (!source) return;
  const { methods, classes, chosen, sure, items } = JSON.parse(source.textContent);
  const form = document.getElementById("gallery-filters");
  const shelf = document.getElementById("gallery");
  const more = document.getElementById("gallery-more");
  const PAGE = window.innerWidth < 640 ? 8 : 24;
  let limit = PAGE;

  const wrong = (item) => item.p[chosen] !== item.c;
  const KINDS = {
    "": () => true,
    wrong,
    sure: (item) => wrong(item) && item.s >= sure,
    none: (item) => item.p.every((found) => found !== item.c),
    doubtful: (item) => item.d !== undefined,
    unlike: (item) => item.p.some((found) => found !== item.p[0]),
  };

  function enlarge(image, item) {
    const large = document.getElementById("gallery-large");
    large.querySelector("img").src = image.src;
    large.querySelector("img").alt = image.alt;
    large.querySelector("figcaption").textContent =
      classes[item.c] + ", taken for " + classes[item.p[chosen]] + " (" + item.s + " %): " + item.n;
    large.showModal();
  }

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function matches(item) {
    const asked = (name) => (form.elements[name].value === "" ? null : Number(form.elements[name].value));
    const [label, a, b] = [asked("class"), asked("a"), asked("b")];
    const right = form.elements.right.value;
    if (!KINDS[form.elements.kind.value](item)) return false;
    if (label !== null && item.c !== label) return false;
    const first = a === null ? b : a;
    const second = a === null ? null : b;
    if (first === null) return true;
    const one = item.p[first] === item.c;
    if (second === null) {
      if (!item.p.some((found) => found !== item.p[first])) return false;
      return right === "" || (right === "a" ? one : !one);
    }
    const other = item.p[second] === item.c;
    if (item.p[first] === item.p[second]) return false;
    return right === "" || (right === "a" ? one : right === "b" ? other : !one && !other);
  }

  function card(item) {
    const node = make("figure", "item");
    if (item.t) {
      const image = make("img");
      image.src = item.t;
      image.alt = "test image " + item.n + " of class " + classes[item.c];
      image.loading = "lazy";
      const open = make("button", "enlarge");
      open.type = "button";
      open.title = "Enlarge";
      open.append(image);
      open.addEventListener("click", () => enlarge(image, item));
      node.append(open);
    }
    const caption = make("figcaption");
    caption.append(make("b", "", classes[item.c]), make("small", "", item.n));
    if (wrong(item)) caption.append(make("small", "", methods[chosen] + ": " + classes[item.p[chosen]] + ", " + item.s + " % sure"));
    if (item.d !== undefined) caption.append(make("small", "", "doubtful label: seems " + classes[item.d]));
    const said = new Map();
    item.p.forEach((found, index) => said.set(found, [...(said.get(found) || []), methods[index]]));
    const list = make("dl");
    [...said].sort((x, y) => (y[0] === item.c) - (x[0] === item.c) || y[1].length - x[1].length).forEach(([found, names]) => {
      const right = found === item.c;
      list.append(make("dt", right ? "right" : "", (right ? "✓ " : "✗ ") + classes[found]), make("dd", "", names.join(", ")));
    });
    caption.append(list);
    node.append(caption);
    return node;
  }

  function show() {
    form.elements.right.disabled = form.elements.a.value === "" && form.elements.b.value === "";
    const found = items.filter(matches);
    shelf.replaceChildren(...found.slice(0, limit).map(card));
    const shown = Math.min(limit, found.length);
    document.getElementById("gallery-count").textContent =
      found.length ? "Showing " + shown + " of " + found.length + " images." : "No image of this page matches.";
    more.hidden = shown === found.length;
  }

  if (!items.some(wrong)) form.elements.kind.value = "";
  form.hidden = false;
  form.addEventListener("change", () => { limit = PAGE; show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { limit += 2 * PAGE; show(); });
  show();
})();
