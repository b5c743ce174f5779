// Timeline.

const ROWS = 20; // of the list, before and after the event
const MARGIN = 700; // of the picture, drawn beside what is seen
const AFTER = 150; // room for words after the last event
const LABELS = 60; // width of the names of lanes
const ORIGIN = 62; // what lies left of it in the picture is empty here: the lanes have their names beside it

let timed = false; // distances are times

function picture() {
  return timed && run.data.timed ? run.data.timed : run.data.picture;
}

let drawn = { from: 0, to: -1, elements: new Map() };

function buildTimeline() {
  const { width, height, lanes, pieces } = picture();
  parts.pieces = draw(["g", {}]);
  parts.marks = draw(["g", { class: "marks" }]);
  parts.cursor = shape("line", { class: "cursor", y1: "0", y2: String(height) });
  parts.svg = canvas({ viewBox: `${ORIGIN} 0 ${width + AFTER - ORIGIN} ${height}`, role: "img", "aria-label": "The run as a timeline; the list below has the same events" });
  parts.veil = shape("rect", { class: "veil", y: "0", height: String(height), width: String(width + AFTER) });
  parts.svg.append(parts.pieces, parts.veil, parts.marks, parts.cursor);
  parts.labels = canvas({ viewBox: `0 0 ${LABELS} ${height}`, "aria-hidden": "true", class: "labels" });
  for (const [site, y] of Object.entries(lanes)) {
    parts.labels.append(draw(["text", { x: "4", y: String(y + 4), fill: "#1b1b1b" }, site.slice(0, 8)]));
  }
  parts.scroll = make("div", { class: "scrolls picture", tabindex: "0", role: "region", "aria-label": "Timeline" }, parts.svg);
  parts.scroll.addEventListener("scroll", () => requestAnimationFrame(drawWindow));
  parts.svg.addEventListener("click", (event) => go(eventAt(event)));
  drag(parts.scroll);
  // The picture's parts by where they begin; those that are long are looked at each time.
  const sorted = pieces.map((piece, number) => [...piece, number]).sort((one, other) => one[3] - other[3]);
  parts.long = sorted.filter((piece) => Math.abs(piece[4] - piece[3]) > MARGIN);
  parts.short = sorted.filter((piece) => Math.abs(piece[4] - piece[3]) <= MARGIN);
  parts.list = make("div", { class: "list" });
  return [
    make("div", { class: "row" },
      make("button", { type: "button", click: () => setZoom(zoom / 1.4), "aria-label": "zoom out" }, "−"),
      make("button", { type: "button", click: () => setZoom(zoom * 1.4), "aria-label": "zoom in" }, "+"),
      make("button", { type: "button", click: () => setZoom(fitting()) }, "Whole run"),
      run.data.timed ? make("button", { type: "button", click: setTimed, "aria-pressed": String(timed) }, "True time") : null,
      chooser("Roles", run.data.roles.map(([role]) => role), hidden.roles),
      chooser("Lanes", Object.keys(lanes), hidden.sites),
    ),
    legend(),
    make("div", { class: "timeline" }, parts.labels, parts.scroll),
    make("h2", {}, "Events"),
    parts.list,
  ];
}

function setTimed() {
  timed = !timed;
  fitted = false;
  build();
  show();
}

function legend() {
  return make("ul", { class: "legend", "aria-label": "Roles of messages" }, ...run.data.roles.map(([role, colour, dashes]) => {
    const sample = canvas({ width: "28", height: "8", "aria-hidden": "true" });
    sample.append(shape("line", { x1: "0", y1: "4", x2: "28", y2: "4", stroke: colour, "stroke-width": "2", ...(dashes ? { "stroke-dasharray": dashes } : {}) }));
    return make("li", {}, sample, ` ${role}`);
  }));
}

function chooser(name, values, without) {
  const boxes = values.map((value) => {
    const box = make("input", { type: "checkbox", checked: !without.has(value) });
    box.addEventListener("change", () => {
      if (box.checked) without.delete(value);
      else without.add(value);
      redraw();
    });
    return make("label", {}, box, ` ${value}`);
  });
  return make("details", {}, make("summary", {}, name), make("fieldset", {}, make("legend", {}, `${name} that are shown`), ...boxes));
}

function redraw() {
  drawn = { from: 0, to: -1, elements: new Map() };
  show();
}

function fitting() {
  const width = picture().width + AFTER - ORIGIN;
  const room = Math.max(parts.scroll.parentElement.clientWidth, 200);
  const whole = room / (width + LABELS); // the names grow with the picture, and shrink to half at most
  return whole < 0.5 ? (room - LABELS / 2) / width : whole;
}

function setZoom(to) {
  zoom = Math.min(Math.max(to, 0.02), 8);
  size();
  redraw();
}

function size() {
  const { width, height } = picture();
  const tall = Math.max(zoom, 0.5); // a whole run in one view is still as high as can be read
  parts.svg.setAttribute("preserveAspectRatio", zoom < tall ? "none" : "xMinYMin");
  parts.svg.setAttribute("width", (width + AFTER - ORIGIN) * zoom);
  parts.svg.setAttribute("height", height * tall);
  parts.labels.setAttribute("width", LABELS * tall);
  parts.labels.setAttribute("height", height * tall);
}

function eventAt(click) {
  const x = (click.clientX - parts.svg.getBoundingClientRect().left) / zoom + ORIGIN;
  return prefix(picture().x, (each) => each <= x + 4) - 1;
}

function drag(box) {
  let from = null;
  box.addEventListener("pointerdown", (event) => {
    from = event.button === 0 && event.pointerType === "mouse" ? [event.clientX, box.scrollLeft] : null;
  });
  box.addEventListener("pointermove", (event) => {
    if (from) box.scrollLeft = from[1] - (event.clientX - from[0]);
  });
  for (const end of ["pointerup", "pointerleave"]) box.addEventListener(end, () => (from = null));
}

// Draw what is seen of the picture, and a margin beside it.
function drawWindow() {
  if (view !== "timeline" || !parts.scroll.isConnected) return;
  const left = parts.scroll.scrollLeft / zoom + ORIGIN;
  const right = left + parts.scroll.clientWidth / zoom;
  if (drawn.from <= left && right <= drawn.to) return;
  drawn = { from: left - MARGIN, to: right + MARGIN, elements: new Map() };
  const seen = (piece) => {
    const [, role, sites, x1, x2] = piece;
    return Math.max(x1, x2) >= drawn.from && Math.min(x1, x2) <= drawn.to && !hidden.roles.has(role) && !sites.some((site) => hidden.sites.has(site));
  };
  const found = parts.long.filter(seen);
  const [from, to] = [(piece) => piece[3] < drawn.from - MARGIN, (piece) => piece[3] <= drawn.to + MARGIN].map((holds) => prefix(parts.short, holds));
  found.push(...parts.short.slice(from, to).filter(seen));
  found.sort((one, other) => one[6] - other[6]);
  const elements = found.map(([event, , , , , node]) => {
    const element = draw(node);
    drawn.elements.set(event, [...(drawn.elements.get(event) ?? []), element]);
    return element;
  });
  parts.pieces.replaceChildren(...elements);
  highlight();
}

function highlight() {
  for (const element of parts.highlighted ?? []) element.classList.remove("current");
  parts.highlighted = drawn.elements.get(run.message(at) ?? at) ?? [];
  for (const element of parts.highlighted) element.classList.add("current");
}

function showCursor() {
  const x = picture().x[at];
  parts.cursor.setAttribute("x1", x);
  parts.cursor.setAttribute("x2", x);
  parts.veil.setAttribute("x", x + 1);
  parts.veil.classList.toggle("down", veiled());
  const { scrollLeft, clientWidth } = parts.scroll;
  const seen = (x - ORIGIN) * zoom;
  if (seen < scrollLeft + 12 || seen > scrollLeft + clientWidth - 20) parts.scroll.scrollLeft = seen - clientWidth / 2;
  const compared = differs();
  const marks = evidence.map((event) => [event, "evidence"]).concat(compared === null ? [] : [[compared, "differs"]]);
  parts.marks.replaceChildren(...marks.map(([event, name]) => {
    const where = picture().x[Math.min(event, run.last)];
    return draw(["g", { class: name }, ["path", { d: `M${where} 14l-6 -10h12z` }], ["title", {}, name === "differs" ? "here it begins to differ from its parent" : `event ${event}: evidence`]]);
  }));
  drawWindow();
  highlight();
}

function showList() {
  const from = Math.max(at - ROWS, 0);
  const to = veiled() ? at : Math.min(at + ROWS, run.last);
  const rows = [];
  for (let number = from; number <= to; number++) {
    const event = run.events[number];
    const button = make("button", { type: "button", class: "plain", click: () => go(number), "aria-label": `go to event ${number}` }, String(number));
    const row = make("tr", number === at ? { class: "current", "aria-current": "true" } : {},
      make("th", { scope: "row" }, button),
      make("td", { class: "number" }, (event.t / 1000).toFixed(3)),
      make("td", {}, event.n || "all"),
      make("td", {}, run.data.said[number]),
    );
    rows.push(row);
  }
  const head = make("tr", {}, ...["event", "ms", "site", "what"].map((each) => make("th", { scope: "col" }, each)));
  const list = make("table", {}, make("caption", {}, `Events ${from} to ${to} of ${run.last}`), make("thead", {}, head), make("tbody", {}, ...rows));
  const focus = parts.list.contains(document.activeElement);
  parts.list.replaceChildren(scrolls("Events", list));
  if (focus) parts.list.querySelector("tr.current button")?.focus();
}
