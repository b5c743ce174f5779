// The run: what is true at an event follows from the events up to it.

const FRAME = new Set(["i", "t", "n", "k", "cause"]);
const BETWEEN = 200; // events between the frames that are kept

class Run {
  constructor(data) {
    this.data = data;
    this.events = data.events;
    this.last = Math.max(data.events.length - 1, 0);
    const sites = new Map();
    for (const [name, kind] of Object.entries(data.header.sites)) {
      sites.set(name, { kind: String(kind), status: "down", shown: new Map(), durable: new Map(), pending: [], heard: new Map(), timers: new Map() });
    }
    this.kept = [sites]; // before event 0, 200, 400, ...
    const names = new Set();
    for (const event of this.events) {
      if (event.k === "state") for (const name of Object.keys(event)) if (!FRAME.has(name)) names.add(name);
    }
    this.variables = [...names];
    this.recent = { at: -1, sites };
    const ends = new Map(); // of each message: more than one if the network repeats it
    for (const event of this.events) {
      if (event.k === "deliver" || event.k === "lost") ends.set(event.id, [...(ends.get(event.id) ?? []), event.i]);
    }
    this.flights = this.events.filter((event) => event.k === "send").flatMap((event) => (ends.get(event.id) ?? [null]).map((end) => [event.i, end]));
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
      if (site) sites.set(event.n, { ...after(site, event, this.events[event.k === "deliver" ? event.id : number]), timers: timersAfter(site.timers, event) });
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

// When each timer of a site runs out, by its name.
function timersAfter(before, event) {
  const gone = ["start", "crash", "power"].includes(event.k);
  if (!gone && event.k !== "timer" && !event.timers) return before;
  const timers = new Map(gone ? [] : before);
  for (const [name, due] of Object.entries({ ...(event.k === "timer" ? { [event.name]: null } : {}), ...event.timers })) {
    if (due === null) timers.delete(name);
    else timers.set(name, due);
  }
  return timers;
}

// sent: the message that arrives by the event.
function after(site, event, sent) {
  switch (event.k) {
    case "deliver":
      return sent.role.includes("heartbeat") ? site : { ...site, heard: new Map(site.heard).set(sent.n, sent) };
    case "start":
      return { ...site, status: "runs", shown: new Map(), durable: new Map(Object.entries(event.stored)), pending: [], heard: new Map() };
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
