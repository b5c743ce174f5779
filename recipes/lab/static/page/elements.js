// Shows one run. What it shows is in the page as JSON; it goes into the document as text and as attributes, never as
// markup. Nothing is requested, except by a page of `recipes lab serve`, which asks that server to run a scenario again.
//
// The files of this directory are one program: page.py puts them behind one another, this one first and begin.js last.

// Elements, and values in words.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["g", "line", "path", "rect", "text", "title"]);

function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key in element && typeof value === "boolean") element[key] = value;
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...content.filter((each) => each !== null));
  return element;
}

function draw(node) {
  const [name, attributes, ...content] = node;
  if (!DRAWN.has(name)) throw new Error(`not drawn: ${name}`);
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  for (const each of content) element.append(Array.isArray(each) ? draw(each) : each);
  return element;
}

function shape(name, attributes) {
  return draw([name, attributes]);
}

function canvas(attributes) {
  const element = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function scrolls(label, ...content) {
  return make("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": label }, ...content);
}

function table(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((each) => make("th", { scope: "col" }, each)));
  const body = rows.map((cells) =>
    make("tr", {}, ...cells.map((each, at) => {
      if (each instanceof Element && ["TD", "TH"].includes(each.tagName)) return each;
      return at ? make("td", {}, each) : make("th", { scope: "row" }, each);
    })),
  );
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

// How many values at the beginning of a list a test holds for; it holds for none after them.
function prefix(list, holds) {
  let low = 0;
  for (let high = list.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (holds(list[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

// A value in few characters: an epoch [3, "p1"] as 3.p1, a list without quotes.
function brief(value) {
  if (value === null || value === undefined) return "-";
  if (Array.isArray(value)) {
    if (value.length === 2 && Number.isInteger(value[0]) && typeof value[1] === "string") {
      return value[1] ? `${value[0]}.${value[1]}` : String(value[0]);
    }
    return `[${value.map(brief).join(" ")}]`;
  }
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, each]) => `${key}=${brief(each)}`).join(" ")}}`;
  }
  return String(value);
}
