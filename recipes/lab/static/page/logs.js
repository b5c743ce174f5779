// Logs: a row per site, a column per place, so that one sees who has what.

const COLUMNS = 60; // the last ones are shown
const TINTS = 4;

function showLogs() {
  const sites = run.frame(at);
  const families = new Map(); // "log", "accepted" -> site -> its slots
  for (const [name, site] of sites) {
    for (const [family, slots] of slotsOf(site)) {
      if (!families.has(family)) families.set(family, new Map());
      families.get(family).set(name, slots);
    }
  }
  const numbers = [...new Set([...families.values()].flatMap((rows) => [...rows.values()].flat().map((slot) => slot.number)))];
  const tables = [...families].filter(([family]) => family !== "chosen" || !families.has("accepted")).map(([family, rows]) => logTable(family, rows, sites, numbers));
  parts.panels.logs.replaceChildren(
    make("h2", {}, `Logs after event ${at}`),
    make("p", {}, "✓ on disk, … written and not synced, ✕ deleted and not synced; ● committed or chosen, ◆ applied. Each epoch, term or ballot has a colour, and its number is in each place."),
    ...(tables.length ? tables : [make("p", {}, "No site keeps a log.")]),
  );
}

// What a site has in its slots, by what is before the colon of the keys: a zxid, or the number of a slot.
function slotsOf(site) {
  const found = new Map();
  const put = (key, value, status) => {
    const [, family, text] = /^(.+):(0x[0-9a-f]{1,16}|\d{1,9})$/.exec(key) ?? [];
    if (!family) return;
    if (!found.has(family)) found.set(family, new Map());
    const slots = found.get(family);
    const gone = value === null ? slots.get(text) : null;
    slots.set(text, { text, status, value: gone ? gone.value : value, ...numbered(text, gone ? gone.value : value) });
  };
  for (const [key, value] of site.durable) put(key, value, "durable");
  for (const [, key, value] of site.pending) put(key, value, value === null ? "ghost" : "pending");
  return [...found].map(([family, slots]) => [family, [...slots.values()].sort((one, other) => Number(one.text) - Number(other.text))]);
}

// The epoch, term or ballot of a slot, and what is to be read in it.
function numbered(text, value) {
  if (text.startsWith("0x")) {
    const digits = text.slice(2).padStart(9, "0");
    const number = String(parseInt(digits.slice(0, -8), 16));
    return { number, label: `${number}.${parseInt(digits.slice(-8), 16)}`, words: brief(value) };
  }
  const ballot = Array.isArray(value) && Array.isArray(value[0]) ? value[0] : null;
  return { number: ballot ? brief(ballot) : "", label: ballot ? brief(ballot) : "", words: brief(ballot ? (value.length === 2 ? value[1] : value.slice(1)) : value) };
}

function logTable(family, rows, sites, numbers) {
  const inOrder = [...rows.values()].flat().some((slot) => slot.text.startsWith("0x")); // zxids: one behind the other
  const last = Math.max(...[...rows.values()].map((slots) => (inOrder ? slots.length : Number(slots[slots.length - 1].text))));
  const first = Math.max(last - COLUMNS + 1, 1);
  const shown = Array.from({ length: Math.max(last - first + 1, 0) }, (_, place) => first + place);
  const lines = [...rows].map(([name, slots]) => {
    const site = sites.get(name);
    const edge = (each) => site.shown.get(each) ?? null;
    const head = [name, site.durable.has("base") && site.durable.get("base") !== "0x0" ? `snapshot up to ${labelOf(site.durable.get("base"))}` : "", labelOf(edge("committed")), labelOf(edge("applied"))];
    return [...head, ...shown.map((column) => slotCell(inOrder ? slots[column - 1] : slots.find((slot) => Number(slot.text) === column), site, column, numbers))];
  });
  const heads = ["site", "before", "committed", "applied", ...shown.map(String)];
  const less = first > 1 ? `, places ${first} to ${last}` : "";
  return scrolls(`Logs: ${family}`, table(`${family}${less}`, heads, lines));
}

function labelOf(value) {
  if (value === null || value === undefined) return "-";
  return typeof value === "string" && /^0x[0-9a-f]{1,16}$/.test(value) ? numbered(value, null).label : brief(value);
}

function slotCell(slot, site, column, numbers) {
  if (!slot) return make("td", { class: "hole" }, site.shown.has("chosen") ? "hole" : "");
  const reached = (edge) => {
    const limit = site.shown.get(edge);
    return limit !== null && limit !== undefined && !Number.isNaN(Number(limit)) && Number(slot.text) <= Number(limit);
  };
  const chosen = site.durable.has(`chosen:${slot.text}`) || (site.shown.get("chosen") ?? []).includes?.(Number(slot.text));
  const marks = { durable: "✓", pending: "…", ghost: "✕" }[slot.status] + (chosen || reached("committed") ? "●" : "") + (reached("applied") ? "◆" : "");
  const tint = slot.number ? ` tint${numbers.indexOf(slot.number) % TINTS}` : "";
  return make("td", { class: `${slot.status}${tint}` }, make("span", { class: "hint" }, `${marks} ${slot.label}`), make("br"), slot.words);
}
