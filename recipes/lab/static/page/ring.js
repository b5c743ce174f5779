// Ring: one moment, with the messages that are on their way.

const DISC = 30; // radius of a site

function buildRing() {
  const { size } = run.data.ring;
  parts.ring = canvas({ viewBox: `0 0 ${size} ${size}`, class: "ring", role: "img", "aria-label": "The sites on a circle, and the messages on their way; the tables below have the same" });
  parts.ringTables = make("div", {});
  return [make("h2", {}, "Ring"), parts.ring, ...buildPartition(), parts.ringTables];
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
    rows.push([sent.real, sent.role, sent.n, sent.to, `${(sent.t / 1000).toFixed(3)} ms`, veiled() ? "" : when, ...(live ? [end === at ? "" : deeds(send)] : [])]);
    return message(sites[sent.n], sites[sent.to], share, sent.real, looks.get(sent.role), end === at);
  });
  const frame = run.frame(at);
  const discs = Object.entries(sites).filter(([name]) => !hidden.sites.has(name)).map(([name, [x, y]]) => disc(name, x, y, frame.get(name), event.n === name));
  parts.ring.replaceChildren(...drawings, ...discs);
  const shown = [...frame].map(([name, site]) => [name, site.status, brief(site.shown.get("role")), brief(site.shown.get("number"))]);
  parts.ringTables.replaceChildren(
    scrolls("Messages on their way", table(`${rows.length} messages on their way after event ${at}`, ["message", "role", "from", "to", "sent", "arrives", ...(live ? ["from here on"] : [])], rows)),
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
