// What the page is at.

const SPEEDS = [1, 2, 5, 15, 50]; // events a second
const JUMPS = ["phase", "message", "election", "commit", "fault", "violation", "note", "search"];

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
const VIEWS = { timeline: "Timeline", ring: "Ring", state: "State", logs: "Logs", disks: "Disks", checks: "Checks", figures: "Figures", questions: "Questions", text: "Text" };

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
  return kind === "search" ? search.hits : run.data.jump_targets[kind];
}

function jump(kind, forward) {
  const list = places(kind);
  const found = forward ? list[prefix(list, (each) => each <= at)] : list[prefix(list, (each) => each < at) - 1];
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
  showWhy();
  showQuestion();
  SHOW[view]();
  writeAddress();
}

// Why the message of this event was sent, and what became of it: not while questions are put, which may ask for that.
function showWhy() {
  const texts = run.data.why[run.message(at)] ?? [];
  parts.explained.lang = language;
  parts.explained.textContent = texts.slice(0, asking ? 1 : 2).map((each) => each[language]).join(" ");
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
  logs: showLogs,
  disks: showDisks,
  checks: showChecks,
  figures() {},
  questions: showQuestions,
  text: showText,
  scenario() {
    showScenario();
  },
};
