// Shows one run. What it shows is in the page as JSON; it goes into the document as text and as attributes, never as
// markup. Nothing is requested, except by a page of `recipes lab serve`, which asks that server to run a scenario again.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["g", "line", "path", "rect", "text", "title"]);
const FRAME = new Set(["i", "t", "n", "k", "cause"]);
const SPEEDS = [1, 2, 5, 15, 50]; // events a second
const ROWS = 20; // of the list, before and after the event
const MARGIN = 700; // of the picture, drawn beside what is seen
const AFTER = 150; // room for words after the last event
const LABELS = 60; // width of the names of lanes
const ORIGIN = 62; // what lies left of it in the picture is empty here: the lanes have their names beside it
const JUMPS = ["phase", "message", "election", "commit", "fault", "violation", "note", "search"];
const KEYS = [
  ["n or right arrow", "next event"],
  ["p or left arrow", "event before"],
  ["N", "next message"],
  ["P", "message before"],
  ["]", "next of the kind that is chosen beside Jump"],
  ["[", "the one before of that kind"],
  ["space", "play, or pause"],
  ["1 to 5", "speed: 1, 2, 5, 15 or 50 events a second"],
  ["home, end", "first and last event"],
  ["/", "search"],
  ["?", "these keys"],
];

// Elements.

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

// The run: what is true at an event follows from the events up to it.

const BETWEEN = 200; // events between the frames that are kept

class Run {
  constructor(data) {
    this.data = data;
    this.events = data.events;
    this.last = Math.max(data.events.length - 1, 0);
    const sites = new Map();
    for (const [name, kind] of Object.entries(data.header.sites)) {
      sites.set(name, { kind: String(kind), status: "down", shown: new Map(), durable: new Map(), pending: [] });
    }
    this.kept = [sites]; // before event 0, 200, 400, ...
    const names = new Set();
    for (const event of this.events) {
      if (event.k === "state") for (const name of Object.keys(event)) if (!FRAME.has(name)) names.add(name);
    }
    this.variables = [...names];
    this.recent = { at: -1, sites };
    const ends = new Map();
    for (const event of this.events) if (event.k === "deliver" || event.k === "lost") ends.set(event.id, event.i);
    this.flights = this.events.filter((event) => event.k === "send").map((event) => [event.i, ends.get(event.id) ?? null]);
  }

  // The messages that are on their way just after an event: [send, end], end null if none is in the run.
  flying(at) {
    return this.flights.filter(([send, end]) => send <= at && (end === null || end > at));
  }

  // The sites just after an event.
  frame(at) {
    const near = this.recent;
    let done = Math.floor((at + 1) / BETWEEN);
    while (this.kept.length <= done) {
      const from = this.kept.length - 1;
      this.kept.push(this.follow(this.kept[from], from * BETWEEN, (from + 1) * BETWEEN - 1));
    }
    const useRecent = near.at <= at && near.at >= done * BETWEEN;
    const sites = useRecent
      ? this.follow(near.sites, near.at + 1, at)
      : this.follow(this.kept[done], done * BETWEEN, at);
    this.recent = { at, sites };
    return sites;
  }

  follow(before, from, to) {
    const sites = new Map(before);
    for (let number = from; number <= to && number < this.events.length; number++) {
      const event = this.events[number];
      const site = sites.get(event.n);
      if (site) sites.set(event.n, after(site, event));
    }
    return sites;
  }

  // An event with what belongs to it: of a delivery, its message.
  facts(at) {
    const event = this.events[at];
    const sent = event.k === "deliver" || event.k === "lost" ? this.events[event.id] : event;
    return { from: sent.n, ...sent, ...(sent.fields ?? {}), ...event, event: event.i };
  }

  // The number of the message that an event is about, or null.
  message(at) {
    const event = this.events[at];
    return event && ["send", "deliver", "lost"].includes(event.k) ? event.id : null;
  }
}

function after(site, event) {
  switch (event.k) {
    case "start":
      return { ...site, status: "runs", shown: new Map(), durable: new Map(Object.entries(event.stored)), pending: [] };
    case "crash":
    case "power":
      return { ...site, status: event.k === "power" ? "without power" : "down" };
    case "pause":
      return { ...site, status: "stands still" };
    case "resume":
      return { ...site, status: "runs" };
    case "state": {
      const shown = new Map(site.shown);
      for (const [name, value] of Object.entries(event)) if (!FRAME.has(name)) shown.set(name, value);
      return { ...site, shown };
    }
    case "write":
      return { ...site, pending: [...site.pending, [event.number, event.what, event.value ?? null]] };
    case "fsync": {
      if (event.at !== "end") return site;
      const durable = new Map(site.durable);
      for (const [number, key, value] of site.pending) {
        if (number > event.number) continue;
        if (value === null) durable.delete(key);
        else durable.set(key, value);
      }
      return { ...site, durable, pending: site.pending.filter(([number]) => number > event.number) };
    }
    default:
      return site;
  }
}

// Search: words, and tests such as role=vote or term>2; an event must fulfil all of them.

const NUMBERED = new Set(["term", "epoch", "ballot", "fence"]);

function searcher(text) {
  const tests = text.trim().split(/\s+/).filter(Boolean).map(tester);
  return tests.length ? (run, at) => tests.every((test) => test(run, at)) : null;
}

function tester(word) {
  const found = /^([\w:-]+)(<=|>=|!=|=|<|>)(.+)$/.exec(word);
  if (!found) {
    const wanted = word.toLowerCase();
    return (run, at) => `${run.events[at].n} ${run.data.said[at]}`.toLowerCase().includes(wanted);
  }
  const [, key, sign, wanted] = found;
  return (run, at) => {
    const facts = run.facts(at);
    let value = Object.hasOwn(facts, key) ? facts[key] : undefined;
    if (value === undefined && NUMBERED.has(key) && facts.k === "state") value = facts.number;
    if (value === undefined) return false;
    return compares(value, sign, wanted);
  };
}

function compares(value, sign, wanted) {
  if (sign === "=") return brief(value) === wanted;
  if (sign === "!=") return brief(value) !== wanted;
  const number = Array.isArray(value) ? value[0] : value;
  const limit = Number(wanted);
  if (typeof number !== "number" || Number.isNaN(limit)) return false;
  return sign === "<" ? number < limit : sign === ">" ? number > limit : sign === "<=" ? number <= limit : number >= limit;
}

// What the page is at.

let run = null;
let at = 0;
let view = "timeline";
let language = "en";
let zoom = 1;
let fitted = false;
let speed = 2;
let playing = null;
let search = { text: "", hits: [] };
let evidence = [];
let addressTimer = null;
let asking = false; // questions are put, and what comes after the event is not shown before they are answered
let given = new Map(); // answers: number of the question -> number of the choice
const hidden = { roles: new Set(), sites: new Set() };
const main = document.getElementById("main");
let parts = {};
const VIEWS = { timeline: "Timeline", ring: "Ring", state: "State", disks: "Disks", checks: "Checks", figures: "Figures", questions: "Questions", text: "Text" };

function say(error) {
  parts.error.textContent = error;
  parts.error.hidden = !error;
}

function go(number) {
  const next = Math.min(Math.max(number, 0), run.last);
  at = next;
  show();
}

function places(kind) {
  return kind === "search" ? search.hits : run.data.marks[kind];
}

function jump(kind, forward) {
  const list = places(kind);
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (forward ? list[middle] <= at : list[middle] < at) low = middle + 1;
    else high = middle;
  }
  const found = forward ? list[low] : list[low - 1];
  if (found === undefined) {
    parts.hint.textContent = list.length ? `no ${kind} ${forward ? "after" : "before"} this event` : `no ${kind} in this run`;
    return;
  }
  parts.hint.textContent = "";
  go(found);
}

function play(on) {
  clearInterval(playing);
  const next = () => {
    if (at < run.last) go(at + 1);
    if (at === run.last || veiled()) play(false);
  };
  playing = on && at < run.last ? setInterval(next, 1000 / SPEEDS[speed - 1]) : null;
  parts.play.textContent = playing ? "Pause" : "Play";
  parts.now.setAttribute("aria-live", playing ? "off" : "polite");
}

function setSpeed(number) {
  speed = number;
  parts.speed.value = String(number);
  if (playing) play(true);
}

function setView(name) {
  view = name;
  for (const [each, button] of Object.entries(parts.tabs)) {
    if (each === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    parts.panels[each].hidden = each !== name;
  }
  show();
}

function find(text) {
  search = { text, hits: [] };
  const matches = searcher(text);
  if (matches) for (let number = 0; number < run.events.length; number++) if (matches(run, number)) search.hits.push(number);
  parts.hits.textContent = matches ? `${search.hits.length} found` : "";
}

// The address: #at=EVENT&view=VIEW, and of a page of the server s=SCENARIO with seed, protocol and servers.

const VALUES = {
  at: /^\d{1,9}$/,
  view: /^[a-z]{1,12}$/,
  s: /^[A-Za-z0-9_-]{1,40000}$/,
  seed: /^\d{1,15}$/,
  protocol: /^[A-Za-z0-9_-]{1,40}$/,
  servers: /^\d{1,3}$/,
};

// What the address asks for; throws an Error with one sentence if that makes no sense.
function address() {
  const asked = {};
  const text = location.hash.slice(1);
  if (!text) return asked;
  for (const part of text.split("&")) {
    const cut = part.indexOf("=");
    const key = part.slice(0, cut);
    const value = part.slice(cut + 1);
    if (cut < 1 || !Object.hasOwn(VALUES, key) || !VALUES[key].test(value) || key in asked) {
      throw new Error(`The address has something after # that this page does not know: ${part.slice(0, 60)}`);
    }
    asked[key] = value;
  }
  if ("s" in asked && !live) throw new Error("The address has a scenario: only a page of recipes lab serve can run it.");
  if ("view" in asked && !Object.hasOwn(VIEWS, asked.view)) throw new Error(`The address asks for a view that does not exist: ${asked.view}`);
  return asked;
}

function follow(asked) {
  if ("at" in asked && Number(asked.at) > run.last) {
    throw new Error(`The address asks for event ${asked.at}: the last one is ${run.last}.`);
  }
  if ("at" in asked) at = Number(asked.at);
  if ("view" in asked) setView(asked.view);
  else show();
}

async function followAddress() {
  try {
    const asked = address();
    say("");
    if ("s" in asked) await openShared(asked);
    follow(asked);
  } catch (error) {
    say(error.message);
    show();
  }
}

function writeAddress() {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => history.replaceState(null, "", `#${place()}`), 400); // browsers refuse many a second
}

function place() {
  return `at=${at}&view=${view}`;
}

// What is seen.

function show() {
  if (!run.events.length) {
    parts.now.textContent = "This trace has no events.";
    parts.facts.textContent = `${facts()}: ${verdict()}`;
    return;
  }
  const event = run.events[at];
  parts.now.textContent = `Event ${at} of ${run.last}, ${(event.t / 1000).toFixed(3)} ms, ${event.n || "all"}: ${run.data.said[at]}`;
  parts.slider.value = String(at);
  parts.slider.setAttribute("aria-valuetext", `event ${at}`);
  showQuestion();
  SHOW[view]();
  writeAddress();
}

const SHOW = {
  timeline() {
    if (!fitted) {
      fitted = true;
      zoom = Math.min(Math.max(fitting(), 1), 1.7); // a short run fills the page
      size();
    }
    showCursor();
    showList();
  },
  ring: showRing,
  state: showState,
  disks: showDisks,
  checks: showChecks,
  figures() {},
  questions: showQuestions,
  text: showText,
  scenario() {
    showScenario();
  },
};

// Timeline.

let drawn = { from: 0, to: -1, elements: new Map() };

function buildTimeline() {
  const { width, height, lanes, pieces } = run.data.picture;
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
      chooser("Roles", run.data.roles.map(([role]) => role), hidden.roles),
      chooser("Lanes", Object.keys(lanes), hidden.sites),
    ),
    legend(),
    make("div", { class: "timeline" }, parts.labels, parts.scroll),
    make("h2", {}, "Events"),
    parts.list,
  ];
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
  const width = run.data.picture.width + AFTER - ORIGIN;
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
  const { width, height } = run.data.picture;
  const tall = Math.max(zoom, 0.5); // a whole run in one view is still as high as can be read
  parts.svg.setAttribute("preserveAspectRatio", zoom < tall ? "none" : "xMinYMin");
  parts.svg.setAttribute("width", (width + AFTER - ORIGIN) * zoom);
  parts.svg.setAttribute("height", height * tall);
  parts.labels.setAttribute("width", LABELS * tall);
  parts.labels.setAttribute("height", height * tall);
}

function eventAt(click) {
  const x = (click.clientX - parts.svg.getBoundingClientRect().left) / zoom + ORIGIN;
  const xs = run.data.picture.x;
  let low = 0;
  let high = xs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x + 4) low = middle + 1;
    else high = middle;
  }
  return low - 1;
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
  let low = 0;
  let high = parts.short.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (parts.short[middle][3] < drawn.from - MARGIN) low = middle + 1;
    else high = middle;
  }
  for (; low < parts.short.length && parts.short[low][3] <= drawn.to + MARGIN; low++) if (seen(parts.short[low])) found.push(parts.short[low]);
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
  const x = run.data.picture.x[at];
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
    const where = run.data.picture.x[Math.min(event, run.last)];
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

// Ring: one moment, with the messages that are on their way.

const DISC = 30; // radius of a site

function buildRing() {
  const { size } = run.data.ring;
  parts.ring = canvas({ viewBox: `0 0 ${size} ${size}`, class: "ring", role: "img", "aria-label": "The sites on a circle, and the messages on their way; the tables below have the same" });
  parts.ringTables = make("div", {});
  return [make("h2", {}, "Ring"), parts.ring, parts.ringTables];
}

function showRing() {
  const { sites } = run.data.ring;
  const looks = new Map(run.data.roles.map(([role, colour, dashes]) => [role, [colour, dashes]]));
  const event = run.events[at];
  const lost = event.k === "lost" ? run.flights.filter(([send]) => send === event.id) : [];
  const flying = [...run.flying(at), ...lost].sort(([one], [other]) => one - other).filter(([send]) => {
    const { n, to, role } = run.events[send];
    return !hidden.roles.has(role) && ![n, to].some((site) => hidden.sites.has(site) || !Object.hasOwn(sites, site));
  });
  const rows = [];
  const drawings = flying.map(([send, end]) => {
    const sent = run.events[send];
    const passed = event.t - sent.t;
    const whole = end === null ? 2 * passed || 1 : run.events[end].t - sent.t;
    const share = end === at ? 0.5 : whole ? passed / whole : 0;
    const when = end === at ? `lost: ${run.events[end].why}` : end === null ? "not in this run" : `${(run.events[end].t / 1000).toFixed(3)} ms`;
    rows.push([sent.real, sent.role, sent.n, sent.to, `${(sent.t / 1000).toFixed(3)} ms`, veiled() ? "" : when]);
    return message(sites[sent.n], sites[sent.to], share, sent.real, looks.get(sent.role), end === at);
  });
  const frame = run.frame(at);
  const discs = Object.entries(sites).filter(([name]) => !hidden.sites.has(name)).map(([name, [x, y]]) => disc(name, x, y, frame.get(name), event.n === name));
  parts.ring.replaceChildren(...drawings, ...discs);
  const shown = [...frame].map(([name, site]) => [name, site.status, brief(site.shown.get("role")), brief(site.shown.get("number"))]);
  parts.ringTables.replaceChildren(
    scrolls("Messages on their way", table(`${rows.length} messages on their way after event ${at}`, ["message", "role", "from", "to", "sent", "arrives"], rows)),
    scrolls("Sites", table("Sites", ["site", "status", "role", "epoch, term or ballot"], shown)),
  );
}

function message([x1, y1], [x2, y2], share, real, look, isLost) {
  const [colour, dashes] = look ?? ["#1b1b1b", null];
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const edge = Math.min(DISC / length, 0.5);
  const part = edge + share * (1 - 2 * edge);
  const [x, y] = [x1 + (x2 - x1) * part, y1 + (y2 - y1) * part].map((each) => Math.round(each * 10) / 10);
  const angle = Math.round((Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI);
  const line = { x1: String(x1), y1: String(y1), x2: String(x2), y2: String(y2), stroke: colour, ...(dashes ? { "stroke-dasharray": dashes } : {}) };
  const head = isLost
    ? ["path", { d: `M${x - 6} ${y - 6}l12 12M${x + 6} ${y - 6}l-12 12`, stroke: "#b00020", "stroke-width": "3" }]
    : ["path", { d: "M9 0L-7 6V-6z", transform: `translate(${x} ${y}) rotate(${angle})`, fill: colour }];
  return draw(["g", { class: "flight" }, ["line", line], head, ["text", { x: String(x + 10), y: String(y - 6), fill: colour }, String(real).slice(0, 18)]]);
}

function disc(name, x, y, site, current) {
  const leads = ["leader", "primary"].includes(site.shown.get("role"));
  const runs = site.status === "runs";
  const number = site.shown.get("number");
  const words = [[name, -2, "bold"], [runs ? (leads ? "leads" : "") : site.status, 12, "normal"], [runs && number !== undefined && number !== null ? brief(number).slice(0, 12) : "", 24, "normal"]];
  const nodes = words.filter(([word]) => word).map(([word, down, weight]) => ["text", { x: String(x), y: String(y + down), "text-anchor": "middle", "font-weight": weight, fill: "#1b1b1b" }, word.slice(0, 14)]);
  const classes = `disc${runs ? "" : " still"}${leads && runs ? " leads" : ""}${current ? " here" : ""}`;
  return draw(["g", { class: classes }, ["path", { d: `M${x - DISC} ${y}a${DISC} ${DISC} 0 1 0 ${2 * DISC} 0a${DISC} ${DISC} 0 1 0 ${-2 * DISC} 0z` }], ...nodes]);
}

// State, disks, checks.

function showState() {
  const sites = run.frame(at);
  const event = run.events[at];
  const changed = (site, name) => event.n === site && (event.k === "start" || (event.k === "state" && Object.hasOwn(event, name)));
  const rows = [...sites].map(([name, site]) => [
    name,
    cell(site.status, event.n === name && ["start", "crash", "power", "pause", "resume"].includes(event.k)),
    ...run.variables.map((each) => cell(site.shown.has(each) ? brief(site.shown.get(each)) : "", changed(name, each) && site.shown.has(each))),
  ]);
  parts.panels.state.replaceChildren(
    make("h2", {}, "What each site says of itself"),
    scrolls("State", table(`After event ${at}; what it has changed is marked with ●`, ["site", "status", ...run.variables], rows)),
  );
}

function cell(text, changed) {
  return make("td", changed ? { class: "changed" } : {}, changed ? `● ${text}` : text);
}

function showDisks() {
  const sites = run.frame(at);
  const sections = [...sites].map(([name, site]) => {
    const [slots, others] = onDisk(site);
    const content = [make("h3", {}, `${name} (${site.kind}): ${site.status}`)];
    for (const [key, row] of slots) content.push(scrolls(`${name}: ${key}`, slotTable(name, key, row, site)));
    if (others.length) content.push(scrolls(`${name}: other keys`, table(`${name}: other keys`, ["key", "value", "where"], others.map(([key, value, pending]) => [key, value, pending ? "not synced" : "on disk"]))));
    if (!slots.size && !others.length) content.push(make("p", {}, "nothing written"));
    return make("section", { class: "disk" }, ...content);
  });
  parts.panels.disks.replaceChildren(make("h2", {}, `Disks after event ${at}`), make("p", {}, "✓ on disk, … written and not synced"), ...sections);
}

// Keys such as "log:3" in rows of slots, by what is before the colon; and all other keys.
function onDisk(site) {
  const slots = new Map();
  const others = [];
  const put = (key, value, pending) => {
    const found = /^(.+):(\d{1,9})$/.exec(key);
    if (!found) {
      others.push([key, brief(value), pending]);
      return;
    }
    if (!slots.has(found[1])) slots.set(found[1], new Map());
    slots.get(found[1]).set(Number(found[2]), [value, pending]);
  };
  for (const [key, value] of site.durable) put(key, value, false);
  for (const [, key, value] of site.pending) put(key, value, true);
  return [slots, others];
}

function slotTable(name, key, row, site) {
  const numbers = [...row.keys()].sort((one, other) => one - other);
  const shown = new Set(numbers.slice(-200));
  const first = Math.min(...shown);
  const last = numbers[numbers.length - 1];
  const columns = [];
  for (let number = first; number <= last && columns.length < 400; number++) columns.push(number); // holes too
  const edge = (each, number) => typeof site.shown.get(each) === "number" && site.shown.get(each) === number;
  const cells = columns.map((number) => {
    if (!row.has(number)) return make("td", { class: "hole" }, "hole");
    const [value, pending] = row.get(number);
    return make("td", { class: pending ? "pending" : "durable" }, `${pending ? "…" : "✓"} ${brief(value)}`);
  });
  const heads = columns.map((number) => {
    const ends = key === "log" ? ["committed", "applied"].filter((each) => edge(each, number)) : [];
    return ends.length ? `${number} (${ends.join(", ")})` : String(number);
  });
  return table(`${name}: ${key}${numbers.length > shown.size ? ", its last 200" : ""}`, [key, ...heads], [[name, ...cells]]);
}

function buildChecks() {
  const { width, row, elements } = run.data.strip;
  const height = row * Math.max(run.data.checks.length, 1) + 6;
  parts.strip = canvas({ viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", class: "strip", height: String(height), "aria-label": "Each check from the first event to the last; the table below has the same" });
  parts.strip.append(...elements.map(draw));
  parts.stripCursor = shape("line", { class: "cursor", y1: "0", y2: String(height) });
  parts.strip.append(parts.stripCursor);
  parts.why = make("div", { class: "why", role: "status" });
  parts.strip.addEventListener("click", (event) => {
    const box = parts.strip.getBoundingClientRect();
    const check = run.data.checks[Math.floor(((event.clientY - box.top) / box.height) * height / row)];
    if (check) explain(check);
  });
  const rows = run.data.checks.map((check) => [
    check.name,
    make("td", { lang: language }, check.says[language]),
    make("td", {}, check.unchecked || (check.event === null ? "holds" : `broken at event ${check.event}`)),
    check.event === null ? "" : make("button", { type: "button", click: () => explain(check) }, `Why ${check.name}?`),
  ]);
  const labels = make("ol", { class: "names" }, ...run.data.checks.map((check) => make("li", {}, check.name)));
  return [
    make("h2", {}, "Checks"),
    make("div", { class: "strips" }, labels, parts.strip),
    parts.why,
    scrolls("Checks", table("What is checked", ["check", "property", "result", "why"], rows)),
  ];
}

function explain(check) {
  if (check.event === null) {
    evidence = [];
    parts.why.replaceChildren(make("p", {}, `${check.name}: ${check.unchecked || "it holds in this run."}`));
    return;
  }
  evidence = [check.event, ...check.evidence];
  const links = evidence.map((event) => make("button", { type: "button", click: () => go(event) }, `event ${event}`));
  parts.why.replaceChildren(
    make("p", { lang: language }, `${check.name}: ${check.why[language]}`),
    make("p", {}, "Evidence, marked in the timeline too: ", ...links),
  );
  go(check.event);
}

function showChecks() {
  const x = (run.data.strip.width * at) / Math.max(run.events.length, 1);
  parts.stripCursor.setAttribute("x1", x);
  parts.stripCursor.setAttribute("x2", x);
}

// Figures and text.

function buildFigures() {
  const rows = [];
  for (const [name, value] of Object.entries(run.data.figures)) {
    if (value !== null && typeof value === "object") for (const [role, count] of Object.entries(value)) rows.push([`${name}: ${role}`, brief(count)]);
    else rows.push([name, brief(value)]);
  }
  return [make("h2", {}, "Figures"), scrolls("Figures", table("Times are virtual: they say nothing about a machine", ["figure", "value"], rows))];
}

// Questions: what happens next?

function questionsHere() {
  return run.data.questions.map((question, number) => [question, number]).filter(([question]) => question.event === at);
}

function veiled() {
  return asking && questionsHere().some(([, number]) => !given.has(number));
}

function setAsking(on) {
  asking = on;
  parts.ask.setAttribute("aria-pressed", String(on));
  show();
}

function showQuestion() {
  const all = run.data.questions;
  parts.facts.textContent = `${facts()}${asking && given.size < all.length ? "" : `: ${verdict()}`}`;
  const here = asking ? questionsHere() : [];
  parts.question.hidden = !here.length;
  parts.question.replaceChildren(...here.flatMap(([question, number]) => {
    const chosen = given.get(number);
    const choices = question.choices.map((choice, place) => {
      const mark = chosen === undefined ? "" : place === question.answer ? "✓ " : place === chosen ? "✗ " : "";
      const choose = make("button", { type: "button", lang: language, disabled: chosen !== undefined, click: () => answer(number, place) }, mark + choice[language]);
      return make("li", {}, choose);
    });
    const right = chosen === question.answer;
    const said = chosen === undefined ? null : make("p", { role: "status" }, right ? "Right. " : `Wrong. It is: ${question.choices[question.answer][language]}. `,
      make("button", { type: "button", click: () => go(question.shown_at) }, `event ${question.shown_at} shows it`));
    return [make("p", { lang: language }, question.text[language]), make("ul", { class: "choices" }, ...choices), said].filter(Boolean);
  }));
}

function answer(number, place) {
  given.set(number, place);
  show();
  parts.question.querySelector("button:not([disabled])")?.focus();
}

function showQuestions() {
  const all = run.data.questions;
  const right = [...given].filter(([number, place]) => all[number].answer === place).length;
  const rows = all.map((question, number) => [
    make("button", { type: "button", class: "plain", "aria-label": `ask after event ${question.event}`, click: () => { at = question.event; setAsking(true); } }, String(question.event)),
    make("td", { lang: language }, question.text[language]),
    given.has(number) ? (given.get(number) === question.answer ? "right" : "wrong") : "",
  ]);
  parts.panels.questions.replaceChildren(
    make("h2", {}, "Questions"),
    all.length ? scrolls("Questions", table(`${right} right of ${given.size} answered; the answers are read from this run`, ["after event", "question", "answer"], rows))
      : make("p", {}, "There is no question about this run."),
  );
}

function buildText() {
  const { told } = run.data;
  const story = run.data.story[language].trim();
  const wrong = run.data.wrong.map((each) => make("li", {}, String(each)));
  return [
    make("h2", { lang: language }, run.data.title[language]),
    ...(told.length ? [tell(story.split(/\n\n/), told)] : (story ? story.split(/\n\n/) : ["This trace is of no scenario of the package, so there is no text."]).map((each) => make("p", story ? { lang: language } : {}, each))),
    ...(wrong.length ? [make("h3", {}, "Not as expected"), make("ul", {}, ...wrong)] : []),
  ];
}

// Paragraphs that are bound to events: scrolling moves the cursor, and the cursor scrolls.
function tell(paragraphs, told) {
  parts.told = paragraphs.map((each, place) => [told[place], make("div", { class: "told" },
    make("p", { lang: language }, each),
    told[place] === null ? null : make("button", { type: "button", click: () => go(told[place]) }, `event ${told[place]}`))]);
  parts.telling = make("div", { class: "telling", tabindex: "0", role: "region", "aria-label": "Story" }, ...parts.told.map(([, element]) => element));
  parts.telling.addEventListener("scroll", () => {
    const seen = parts.told.filter(([event, element]) => event !== null && element.offsetTop <= parts.telling.scrollTop + 8).pop();
    if (seen && seen[1] !== toldAt()) go(seen[0]);
  });
  return parts.telling;
}

// The paragraph that tells of the event at the cursor, or of the last one before it.
function toldAt() {
  let found = null;
  for (const [event, element] of parts.told) if (event !== null && event <= at && (found === null || event >= found[0])) found = [event, element];
  return found?.[1] ?? parts.told[0][1];
}

function showText() {
  if (!parts.told) return;
  const current = toldAt();
  for (const [, element] of parts.told) {
    if (element === current) element.setAttribute("aria-current", "true");
    else element.removeAttribute("aria-current");
  }
  parts.telling.scrollTop = current.offsetTop;
}

// The page around the views.

function verdict() {
  const broken = run.data.checks.filter((check) => check.event !== null).map((check) => check.name);
  const said = [broken.length ? `broken: ${broken.join(", ")}` : "all checks hold"];
  if (run.data.ended === null) said.push("the trace ends early");
  else if (!run.data.ended) said.push("the run did not come to its end");
  if (run.data.wrong.length) said.push(`${run.data.wrong.length} not as expected`);
  return said.join("; ");
}

function open(data) {
  play0();
  run = new Run(data);
  at = Math.min(at, run.last);
  evidence = [];
  given = new Map();
  hidden.sites.clear();
  fitted = false;
  hidden.roles = new Set(data.roles.filter(([, , , beats]) => beats).map(([role]) => role));
  drawn = { from: 0, to: -1, elements: new Map() };
  build();
}

function play0() {
  clearInterval(playing);
  playing = null;
}

function facts() {
  const { header } = run.data;
  return `${header.protocol}${header.mode ? `, ${header.mode}` : ""}, seed ${header.seed}, ${run.events.length} events${header.plant ? `, planted bug ${header.plant}` : ""}`;
}

function build() {
  const button = (text, action, label) => make("button", { type: "button", click: action, ...(label ? { "aria-label": label } : {}) }, text);
  parts = {};
  parts.error = make("p", { role: "alert", id: "error", hidden: true });
  parts.now = make("p", { id: "now", "aria-live": "polite" });
  parts.hint = make("span", { class: "hint", role: "status" });
  parts.hits = make("span", { class: "hint", role: "status" });
  parts.slider = make("input", { type: "range", min: "0", max: String(run.last), "aria-label": "event", input: () => go(Number(parts.slider.value)) });
  parts.play = button("Play", () => play(!playing));
  parts.speed = make("select", { change: () => setSpeed(Number(parts.speed.value)) }, ...SPEEDS.map((each, number) => make("option", { value: String(number + 1) }, `${each}/s`)));
  parts.kind = make("select", {}, ...JUMPS.map((each) => make("option", { value: each }, each)));
  parts.search = make("input", { type: "search", placeholder: "role=vote term>2", value: search.text, size: "18" });
  parts.search.addEventListener("change", () => find(parts.search.value));
  parts.search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    find(parts.search.value);
    jump("search", true);
  });
  parts.language = button(language === "en" ? "中文" : "English", () => {
    language = language === "en" ? "zh" : "en";
    build();
    show();
  });
  if (language === "en") parts.language.setAttribute("lang", "zh");
  parts.tabs = {};
  parts.panels = {};
  for (const [name, label] of Object.entries(VIEWS)) {
    parts.tabs[name] = button(label, () => setView(name));
    parts.panels[name] = make("section", { id: name, hidden: true });
  }
  parts.facts = make("p", { id: "facts" });
  parts.question = make("section", { id: "question", "aria-label": "Question", hidden: true });
  parts.ask = button("Ask me", () => setAsking(!asking));
  parts.ask.setAttribute("aria-pressed", String(asking));
  main.replaceChildren(
    make("header", {},
      make("h1", { lang: language }, run.data.title[language]),
      parts.facts,
    ),
    ...(live ? [buildChoice()] : []),
    parts.error,
    make("div", { class: "row", role: "group", "aria-label": "Move" },
      button("|<", () => go(0), "first event"),
      button("<", () => go(at - 1), "event before"),
      parts.play,
      button(">", () => go(at + 1), "next event"),
      button(">|", () => go(run.last), "last event"),
      make("label", {}, "Speed ", parts.speed),
      make("label", {}, "Jump ", parts.kind),
      button("Before", () => jump(parts.kind.value, false)),
      button("Next", () => jump(parts.kind.value, true)),
      button("First violation", () => firstViolation()),
      make("label", {}, "Search ", parts.search),
      parts.hits,
      parts.hint,
      parts.ask,
      parts.language,
      button("Keys", () => help()),
    ),
    parts.slider,
    parts.now,
    parts.question,
    make("nav", { "aria-label": "Views" }, ...Object.values(parts.tabs)),
    ...Object.values(parts.panels),
    (parts.help = helpDialog()),
  );
  parts.speed.value = String(speed);
  parts.panels.timeline.append(...buildTimeline());
  parts.panels.ring.append(...buildRing());
  parts.panels.checks.append(...buildChecks());
  parts.panels.figures.append(...buildFigures());
  parts.panels.text.append(...buildText());
  if (live) parts.panels.scenario.append(...buildScenario());
  find(search.text);
  for (const [each, panel] of Object.entries(parts.panels)) panel.hidden = each !== view;
  parts.tabs[view].setAttribute("aria-current", "page");
  size();
  drawn = { from: 0, to: -1, elements: new Map() };
}

function firstViolation() {
  const broken = run.data.checks.filter((check) => check.event !== null).sort((one, other) => one.event - other.event)[0];
  if (!broken) {
    parts.hint.textContent = "no violation in this run";
    return;
  }
  setView("checks");
  explain(broken);
}

function helpDialog() {
  const rows = KEYS.map(([key, what]) => [key, what]);
  return make("dialog", { "aria-label": "Keys" }, table("Keys", ["key", "what it does"], rows),
    make("form", { method: "dialog" }, make("button", {}, "Close")));
}

function help() {
  if (!parts.help.open) parts.help.showModal();
}

const ACTIONS = {
  n: () => go(at + 1),
  ArrowRight: () => go(at + 1),
  p: () => go(at - 1),
  ArrowLeft: () => go(at - 1),
  N: () => jump("message", true),
  P: () => jump("message", false),
  "]": () => jump(parts.kind.value, true),
  "[": () => jump(parts.kind.value, false),
  " ": () => play(!playing),
  Home: () => go(0),
  End: () => go(run.last),
  "/": () => parts.search.focus(),
  "?": help,
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || parts.help?.open) return;
  const on = event.target instanceof Element ? event.target : document.body;
  if (on.closest("input, textarea, select")) return;
  if (event.key === " " && on.closest("button, summary, a")) return;
  const actions = run ? ACTIONS : COMPARED;
  const action = run && /^[1-5]$/.test(event.key) ? () => setSpeed(Number(event.key)) : Object.hasOwn(actions, event.key) ? actions[event.key] : null;
  if (!action) return;
  event.preventDefault();
  action();
});
addEventListener("hashchange", () => run && followAddress());
addEventListener("resize", () => run && drawWindow());

// A page of `recipes lab compare`: pictures of equal width, in which the same things happen at the same place.

let compared = null; // {runs, xs, place}: xs are the moments of all runs, place is the cursor's

const COMPARED = {
  n: () => move(1),
  ArrowRight: () => move(1),
  p: () => move(-1),
  ArrowLeft: () => move(-1),
  "]": () => moveToPhase(true),
  "[": () => moveToPhase(false),
  Home: () => move(-Infinity),
  End: () => move(Infinity),
};

function buildCompared({ title, compare }) {
  const runs = compare.runs.filter((each) => !each.missing);
  const xs = [...new Set(runs.flatMap((each) => each.events.map((event) => event[4])))].sort((one, other) => one - other);
  compared = { runs, xs, phases: compare.phases, place: 0 };
  const button = (text, action, label) => make("button", { type: "button", click: action, "aria-label": label ?? text }, text);
  parts.slider = make("input", { type: "range", min: "0", max: String(Math.max(xs.length - 1, 0)), "aria-label": "moment", input: () => move(Number(parts.slider.value) - compared.place) });
  parts.now = make("ul", { id: "now", "aria-live": "polite" });
  parts.labels = make("div", { class: "lanes", "aria-hidden": "true" }, ...runs.map(laneNames));
  parts.cursors = [];
  parts.scroll = make("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Timelines" }, ...runs.map(comparedPicture));
  const [from, to] = compare.seeds;
  main.replaceChildren(
    make("header", {}, make("h1", {}, title.en), make("p", { lang: "zh" }, title.zh),
      make("p", { id: "facts" }, `${compare.heads.join(", ")}; ${compare.servers} servers. Timelines: seed ${compare.seed} of ${compare.scenario}; table: seeds ${from} to ${to}. Times are virtual: they say nothing about a machine.`)),
    make("div", { class: "row", role: "group", "aria-label": "Move" },
      button("|<", () => move(-Infinity), "first moment"), button("<", () => move(-1), "moment before"), button(">", () => move(1), "next moment"), button(">|", () => move(Infinity), "last moment"),
      button("Phase before", () => moveToPhase(false)), button("Next phase", () => moveToPhase(true))),
    parts.slider,
    parts.now,
    make("div", { class: "compared" }, parts.labels, parts.scroll),
    ...compare.runs.filter((each) => each.missing).map((each) => make("p", {}, `${each.title}: ${each.missing}`)),
    make("h2", {}, "This run"), scrolls("This run", table(`Seed ${compare.seed}`, ["figure", ...compare.heads], compare.parts)),
    make("h2", {}, "All seeds"), scrolls("All seeds", table(`A write, and the fault: seeds ${from} to ${to}`, ["figure", ...compare.heads], compare.rows)),
  );
  move(0);
}

const HEAD = 34; // above each picture, for its title and the names of phases

function laneNames(each) {
  const names = Object.entries(each.lanes).map(([site, y]) => draw(["text", { x: "4", y: String(y + 4 + HEAD), fill: "#1b1b1b" }, site.slice(0, 8)]));
  const element = canvas({ width: String(LABELS), height: String(each.height + HEAD) });
  element.append(...names);
  return element;
}

function comparedPicture(each) {
  const [width, height] = [each.width + AFTER, each.height + HEAD];
  const element = canvas({ viewBox: `${ORIGIN} ${-HEAD} ${width - ORIGIN} ${height}`, width: String(width - ORIGIN), height: String(height), role: "img", "aria-label": `${each.title}, as a timeline; the lines above say what happens at the cursor` });
  const phases = compared.phases.flatMap(([name, x], number) => [
    ["line", { x1: String(x), x2: String(x), y1: String(16 - HEAD), y2: String(each.height - 10), stroke: "#8a8a8a", "stroke-dasharray": "6 4" }],
    ["text", { x: String(x - 3), y: String(-4 + 14 * (number % 2)), "text-anchor": "end", fill: "#8a8a8a" }, name],
  ]);
  const cursor = shape("line", { class: "cursor", y1: String(-HEAD), y2: String(each.height) });
  parts.cursors.push(cursor);
  element.append(...each.pieces.map(draw), ...phases.map(draw), draw(["text", { class: "name", x: String(ORIGIN + 4), y: String(16 - HEAD), fill: "#1b1b1b" }, each.title]), cursor);
  element.addEventListener("click", (event) => {
    const x = event.clientX - element.getBoundingClientRect().left + ORIGIN;
    move(compared.xs.filter((other) => other <= x + 4).length - 1 - compared.place);
  });
  return element;
}

function move(steps) {
  const { runs, xs } = compared;
  if (!xs.length) return;
  compared.place = Math.min(Math.max(compared.place + steps, 0), xs.length - 1);
  const x = xs[compared.place];
  parts.slider.value = String(compared.place);
  parts.slider.setAttribute("aria-valuetext", `moment ${compared.place} of ${xs.length - 1}`);
  for (const cursor of parts.cursors) for (const end of ["x1", "x2"]) cursor.setAttribute(end, String(x));
  parts.now.replaceChildren(...runs.map((each) => {
    const event = each.events.filter((other) => other[4] <= x).pop();
    const what = event ? `event ${event[0]}, ${(event[1] / 1000).toFixed(3)} ms, ${event[2] || "all"}: ${event[3]}` : "has not begun";
    return make("li", {}, make("strong", {}, `${each.title}: `), what);
  }));
  const seen = x - ORIGIN;
  const { scrollLeft, clientWidth } = parts.scroll;
  if (seen < scrollLeft + 12 || seen > scrollLeft + clientWidth - 20) parts.scroll.scrollLeft = seen - clientWidth / 2;
}

function moveToPhase(forward) {
  const { xs, phases, place } = compared;
  const places = phases.map(([, x]) => xs.filter((other) => other <= x).length - 1);
  const found = forward ? places.find((each) => each > place) : places.filter((each) => each < place).pop();
  if (found !== undefined) move(found - place);
}

// A page of `recipes lab serve`: another scenario, steps that are put in at the cursor, branches, links.

const runs = []; // {id, parent, label, text, options, data}: the runs of this page, each a branch of its parent
let current = null;
const live = JSON.parse(document.getElementById("data").textContent).live;

// The first event that is not the same as in the parent's run; null if there is none, or no parent.
function differs() {
  const parent = runs.find((each) => each.id === current?.parent);
  if (!parent) return null;
  const one = parent.data.events;
  const other = current.data.events;
  const most = Math.max(one.length, other.length);
  if (current.differs === undefined) {
    let number = 0;
    while (number < most && JSON.stringify(one[number]) === JSON.stringify(other[number])) number++;
    current.differs = number < most ? number : null;
  }
  return current.differs;
}

function buildChoice() {
  const { scenarios, options } = live;
  const chosen = make("select", { name: "scenario" }, ...scenarios.map(([id, title]) => make("option", { value: id }, `${id}: ${title}`)));
  if (scenarios.some(([id]) => id === options.scenario)) chosen.value = options.scenario;
  const field = (name, value, size) => make("label", {}, `${name} `, make("input", { name, size, value: value ?? "", autocomplete: "off" }));
  return make("form", { class: "row", method: "get", action: "/", "aria-label": "Run a scenario" },
    make("label", {}, "Scenario ", chosen),
    field("seed", options.seed, "6"),
    field("protocol", options.protocol, "12"),
    field("servers", options.servers, "4"),
    make("button", { type: "submit" }, "Run"));
}

const STEPS = {
  crash: ["site"], power: ["site", "unsynced"], start: ["site"], wipe: ["site"], pause: ["site"], resume: ["site"],
  isolate: ["site"], cut: ["site", "to"], heal: [], drop: [], hold: [], release: [], expire: ["site", "timer"],
  call: ["site", "op"], loss: ["probability"], note: ["text"],
};

function buildScenario() {
  const sites = () => [...run.frame(0).keys(), "leader", "followers"].map((each) => make("option", { value: each }, each));
  parts.source = make("textarea", { rows: "22", spellcheck: "false", "aria-label": "The scenario, in TOML" });
  parts.source.value = current.text;
  parts.action = make("select", { change: showFields }, ...Object.keys(STEPS).map((each) => make("option", { value: each }, each)));
  parts.fields = {
    site: make("select", {}, ...sites()),
    to: make("select", {}, ...sites()),
    unsynced: make("select", {}, ...["kept", "lost", "chance"].map((each) => make("option", { value: each }, each))),
    timer: make("input", { size: "10" }),
    op: make("input", { size: "16", value: '["propose", "x"]' }),
    probability: make("input", { size: "5", value: "0.2" }),
    text: make("input", { size: "20" }),
  };
  parts.fieldLabels = Object.fromEntries(Object.entries(parts.fields).map(([name, field]) => [name, make("label", {}, `${name} `, field)]));
  parts.where = make("p", {});
  parts.tree = make("div", {});
  parts.link = make("input", { readonly: "", size: "40", "aria-label": "link to this run" });
  const press = (text, action) => make("button", { type: "button", click: action }, text);
  setTimeout(showFields);
  return [
    make("h2", {}, "Scenario"),
    make("form", { class: "row", "aria-label": "Put in at the cursor", submit: inject },
      make("label", {}, "At the cursor: ", parts.action), ...Object.values(parts.fieldLabels), make("button", { type: "submit" }, "Put in and run")),
    parts.where,
    make("div", { class: "beside" },
      make("div", {}, parts.source, make("div", { class: "row" },
        press("Run the text", () => branch(parts.source.value, "edited")),
        press("Save the scenario", () => save("scenario.toml", parts.source.value)),
        press("Save the trace", () => save("trace.jsonl", traceText())),
        press("Link", share), parts.link)),
      make("section", { "aria-label": "Runs" }, make("h3", {}, "Runs"), parts.tree)),
  ];
}

function showFields() {
  const wanted = STEPS[parts.action.value];
  for (const [name, label] of Object.entries(parts.fieldLabels)) label.hidden = !wanted.includes(name);
}

function showScenario() {
  const message = run.message(at);
  parts.where.textContent = `At event ${at}` + (message === null ? "." : `, which is about message ${message}: ${run.data.said[message]}.`);
  parts.tree.replaceChildren(treeOf(null));
}

function treeOf(parent) {
  const children = runs.filter((each) => each.parent === parent);
  return make("ul", {}, ...children.map((each) => {
    const choose = make("button", { type: "button", click: () => choosing(each), ...(each === current ? { "aria-current": "true" } : {}) }, each.label);
    const remove = each.parent === null ? null : make("button", { type: "button", "aria-label": `delete ${each.label}`, click: () => removing(each) }, "Delete");
    const where = each === current ? differs() : null;
    const first = where === null ? null : make("button", { type: "button", click: () => go(where) }, `differs from event ${where}`);
    return make("li", {}, choose, " ", first, remove, treeOf(each.id));
  }));
}

function choosing(each) {
  current = each;
  open(each.data);
  show();
}

function removing(gone) {
  const without = new Set([gone.id]);
  for (const each of runs) if (without.has(each.parent)) without.add(each.id);
  const left = runs.filter((each) => !without.has(each.id));
  runs.splice(0, runs.length, ...left);
  if (without.has(current.id)) choosing(runs.find((each) => each.id === gone.parent));
  else show();
}

function inject(event) {
  event.preventDefault();
  const action = parts.action.value;
  const value = (name) => JSON.stringify(parts.fields[name].value); // a string of JSON is one of TOML
  const message = run.message(at);
  if ((action === "drop" || action === "hold") && message === null) {
    say(`To ${action} a message, put the cursor on its event.`);
    return;
  }
  const lines = ["[[do]]", `when = { at_event = ${action === "drop" || action === "hold" ? message : at} }`, `then = "${action}"`];
  const wanted = STEPS[action];
  if (wanted.includes("site")) lines.push(`${action === "cut" ? "from" : "target"} = ${value("site")}`);
  for (const name of ["to", "unsynced", "timer", "text"]) if (wanted.includes(name)) lines.push(`${name} = ${value(name)}`);
  for (const name of ["op", "probability"]) if (wanted.includes(name)) lines.push(`${name} = ${parts.fields[name].value}`);
  branch(`${parts.source.value.trimEnd()}\n\n${lines.join("\n")}\n`, `${action} at ${at}`);
}

async function branch(text, label) {
  try {
    const data = await ask(text, current.options);
    runs.push({ id: runs.length ? Math.max(...runs.map((each) => each.id)) + 1 : 0, parent: current.id, label, text, options: current.options, data });
    current = runs[runs.length - 1];
    open(data);
    say("");
    show();
  } catch (error) {
    say(error.message);
  }
}

// Run a scenario on the server; throws an Error with its sentence if it refuses.
async function ask(text, options) {
  const { scenario, seed, protocol, servers } = options;
  const body = JSON.stringify({ name: scenario, text, seed, protocol, servers });
  const answer = await fetch("/run", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  if (!answer.ok) throw new Error(`The server has refused this: ${(await answer.text()).slice(0, 300)}`);
  return answer.json();
}

function save(name, text) {
  const url = URL.createObjectURL(new Blob([text]));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function traceText() {
  return [run.data.header, ...run.events].map((each) => `${JSON.stringify(each)}\n`).join("");
}

async function through(stream, bytes, most) {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const chunks = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > most) throw new Error("The scenario in the address is too long.");
    chunks.push(part.value);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function share() {
  const bytes = await through(new CompressionStream("deflate"), new TextEncoder().encode(current.text), 1 << 20);
  const packed = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const options = ["seed", "protocol", "servers"].filter((each) => current.options[each] !== null && current.options[each] !== undefined);
  const more = options.map((each) => `&${each}=${current.options[each]}`).join("");
  parts.link.value = `${location.origin}/#s=${packed}${more}&${place()}`;
  parts.link.select();
}

async function openShared(asked) {
  let text;
  try {
    const packed = atob(asked.s.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = await through(new DecompressionStream("deflate"), Uint8Array.from(packed, (each) => each.charCodeAt(0)), 1 << 16);
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error("The address has no scenario that can be read.");
  }
  const number = (each) => (each === undefined ? null : Number(each));
  const options = { scenario: "shared", seed: number(asked.seed), protocol: asked.protocol ?? null, servers: number(asked.servers) };
  const data = await ask(text, options);
  runs.splice(0, runs.length, { id: 0, parent: null, label: "from the link", text, options, data });
  current = runs[0];
  at = 0;
  open(data);
}

function begin() {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (data.compare) {
    buildCompared(data);
    return;
  }
  if (live) {
    VIEWS.scenario = "Scenario";
    current = { id: 0, parent: null, label: live.options.scenario, text: live.text, options: live.options, data };
    runs.push(current);
  }
  open(data);
  if (live?.error) say(live.error);
  if (location.hash) followAddress();
  else show();
}

begin();
