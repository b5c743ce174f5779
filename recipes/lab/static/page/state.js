// State, disks, checks.

function showState() {
  const sites = run.frame(at);
  const event = run.events[at];
  const changed = (site, name) => event.n === site && (event.k === "start" || (event.k === "state" && Object.hasOwn(event, name)));
  const rows = [...sites].map(([name, site]) => [
    name,
    cell(site.status, event.n === name && ["start", "crash", "power", "pause", "resume"].includes(event.k)),
    ...run.variables.map((each) => cell(site.shown.has(each) ? brief(site.shown.get(each)) : "", changed(name, each) && site.shown.has(each))),
    cell([...site.timers].filter(([, due]) => due >= event.t).map(([each, due]) => `${each}: ${((due - event.t) / 1000).toFixed(3)} ms`).join("; "), event.n === name && Boolean(event.timers)),
  ]);
  parts.panels.state.replaceChildren(
    make("h2", {}, "What each site says of itself"),
    scrolls("State", table(`After event ${at}; what it has changed is marked with ●`, ["site", "status", ...run.variables, "timers, time left"], rows)),
    make("h2", {}, "What each has last heard from each other"),
    scrolls("Heard", table("Without heartbeats, since it started: who has acknowledged, promised or voted what", ["site", ...[...sites.keys()].map((each) => `from ${each}`)], [...sites].map(([name, site]) => [name, ...[...sites.keys()].map((other) => heard(site.heard.get(other), event))]))),
  );
}

function heard(sent, event) {
  if (!sent) return "";
  const fields = Object.entries(sent.fields).filter(([, value]) => value !== null).map(([name, value]) => `${name}=${brief(value)}`);
  return cell(`${sent.real} ${fields.join(" ")}`.slice(0, 200), event.k === "deliver" && event.id === sent.i);
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
  const { width, row, elements } = run.data.checks_timeline;
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
  const x = (run.data.checks_timeline.width * at) / Math.max(run.events.length, 1);
  parts.stripCursor.setAttribute("x1", x);
  parts.stripCursor.setAttribute("x2", x);
}
