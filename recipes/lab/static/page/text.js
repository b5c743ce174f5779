// Figures, and the story.

function buildFigures() {
  const rows = [];
  for (const [name, value] of Object.entries(run.data.figures)) {
    if (value !== null && typeof value === "object") for (const [role, count] of Object.entries(value)) rows.push([`${name}: ${role}`, brief(count)]);
    else rows.push([name, brief(value)]);
  }
  rows.push(["sha256 of the trace", run.data.sha256]);
  return [make("h2", {}, "Figures"), scrolls("Figures", table("Times are virtual: they say nothing about a machine", ["figure", "value"], rows))];
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
    if (view === "text" && seen && seen[1] !== toldAt()) go(seen[0]); // a scroll is told later, perhaps in another view
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
