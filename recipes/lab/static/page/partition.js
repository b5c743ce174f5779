// Faults that are put in where they are seen, on a page of `recipes lab serve`: a line across the ring parts the sites,
// and what is on its way is delivered, dropped, held or repeated.

const LEAST = 40; // a shorter stroke is no line
const DONE = { deliver: "Deliver", drop: "Drop", hold: "Hold", duplicate: "Repeat" };

// The same for who does not drag: a box for each site.
function buildPartition() {
  if (!live) return [];
  parts.apart = Object.keys(run.data.ring.sites).map((site) => [site, make("input", { type: "checkbox" })]);
  parts.stroke = shape("line", { class: "stroke" });
  dragAcross(parts.ring);
  return [
    make("p", { class: "hint" }, "Drag a line across the picture to cut the sites on its two sides off from each other, at the cursor; or choose them:"),
    make("form", { class: "row", "aria-label": "Partition", submit: (event) => {
      event.preventDefault();
      cutOff(parts.apart.filter(([, box]) => box.checked).map(([site]) => site));
    } },
    make("fieldset", {}, make("legend", {}, "One side"), ...parts.apart.map(([site, box]) => make("label", {}, box, ` ${site}`))),
    make("button", { type: "submit" }, "Cut off"),
    make("button", { type: "button", click: () => putIn("heal", at, []) }, "Heal all")),
  ];
}

function cutOff(sites) {
  if (!sites.length || sites.length === Object.keys(run.data.ring.sites).length) {
    say("A partition needs a site on each of its sides.");
    return;
  }
  putIn("isolate", at, [["target", JSON.stringify(sites)]]);
}

function dragAcross(ring) {
  let from = null;
  const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(ring.getScreenCTM().inverse());
  ring.classList.add("draggable");
  ring.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = place(event);
    ring.setPointerCapture(event.pointerId);
  });
  ring.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = place(event);
    for (const [name, value] of [["x1", from.x], ["y1", from.y], ["x2", to.x], ["y2", to.y]]) parts.stroke.setAttribute(name, value);
    ring.append(parts.stroke);
  });
  ring.addEventListener("pointerup", (event) => {
    const [one, other] = [from, place(event)];
    from = null;
    parts.stroke.remove();
    if (one && Math.hypot(other.x - one.x, other.y - one.y) >= LEAST) cutOff(beyond(one, other));
  });
  ring.addEventListener("pointercancel", () => {
    from = null;
    parts.stroke.remove();
  });
}

// The sites on that side of the line through two points on which there are fewer.
function beyond(one, other) {
  const sides = [[], []];
  for (const [site, [x, y]] of Object.entries(run.data.ring.sites)) {
    sides[(other.x - one.x) * (y - one.y) - (other.y - one.y) * (x - one.x) > 0 ? 1 : 0].push(site);
  }
  return sides[0].length <= sides[1].length ? sides[0] : sides[1];
}

// What can be done to a message that is on its way; it is delivered at the cursor, all else changes its way.
function deeds(send) {
  return make("td", {}, ...Object.entries(DONE).map(([action, word]) => make("button", {
    type: "button", "aria-label": `${action} message ${send}`,
    click: () => (action === "deliver" ? putIn(action, at, [["message", send]]) : putIn(action, send, [])),
  }, word)));
}
