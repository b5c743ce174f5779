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
  isolate: ["site"], cut: ["site", "to"], heal: [], drop: [], hold: [], delay: ["by_ms"], duplicate: [], deliver: ["message"], release: [], expire: ["site", "timer"],
  disk: ["site", "disk"], clock: ["site", "by_ms"], call: ["site", "op"], loss: ["probability"], note: ["text"],
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
    disk: make("select", {}, ...["slow", "full", "failing", "well"].map((each) => make("option", { value: each }, each))),
    by_ms: make("input", { size: "8", value: "1000" }),
    message: make("select", {}),
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
  const chosen = parts.fields.message.value;
  parts.fields.message.replaceChildren(...run.flying(at).map(([send]) => make("option", { value: String(send) }, `${send}: ${run.events[send].n} to ${run.events[send].to} ${run.events[send].real}`)));
  if (run.flying(at).some(([send]) => String(send) === chosen)) parts.fields.message.value = chosen;
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
  const ofMessage = ["drop", "hold", "delay", "duplicate"].includes(action);
  if (ofMessage && message === null) {
    say(`To ${action} a message, put the cursor on its event.`);
    return;
  }
  if (action === "deliver" && !parts.fields.message.value) {
    say("No message is on its way at the cursor.");
    return;
  }
  const wanted = STEPS[action];
  const settings = [];
  if (wanted.includes("site")) settings.push([action === "cut" ? "from" : "target", value("site")]);
  for (const name of ["to", "unsynced", "disk", "timer", "text"]) if (wanted.includes(name)) settings.push([name, value(name)]);
  for (const name of ["op", "probability", "by_ms", "message"]) if (wanted.includes(name)) settings.push([name, parts.fields[name].value]);
  putIn(action, ofMessage ? message : at, settings);
}

// Add a step at an event to the text, and run it: a branch of this run. Its settings have values in TOML.
function putIn(action, event, settings) {
  const lines = ["[[do]]", `when = { at_event = ${event} }`, `then = "${action}"`, ...settings.map(([name, value]) => `${name} = ${value}`)];
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
  const end = run.data.end === null ? [] : [run.data.end];
  return [run.data.header, ...run.events, ...end].map((each) => `${JSON.stringify(each)}\n`).join("");
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
