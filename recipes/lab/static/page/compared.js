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
