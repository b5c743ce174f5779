// The page around the views.

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

function verdict() {
  const broken = run.data.checks.filter((check) => check.event !== null).map((check) => check.name);
  const said = [broken.length ? `broken: ${broken.join(", ")}` : "all checks hold"];
  if (run.data.ended === null) said.push("the trace ends early");
  else if (!run.data.ended) said.push("the run did not come to its end");
  if (run.data.wrong.length) said.push(`${run.data.wrong.length} not as expected`);
  return said.join("; ");
}

function open(data) {
  clearInterval(playing);
  playing = null;
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

function facts() {
  const { header } = run.data;
  return `${header.protocol}${header.mode ? `, ${header.mode}` : ""}, seed ${header.seed}, ${run.events.length} events${header.plant ? `, planted bug ${header.plant}` : ""}`;
}

function build() {
  const button = (text, action, label) => make("button", { type: "button", click: action, ...(label ? { "aria-label": label } : {}) }, text);
  parts = {};
  parts.error = make("p", { role: "alert", id: "error", hidden: true });
  parts.now = make("p", { id: "now", "aria-live": "polite" });
  parts.explained = make("p", { id: "why" });
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
    parts.explained,
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
  return make("dialog", { "aria-label": "Keys" }, table("Keys", ["key", "what it does"], KEYS),
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
