"""A trace as a picture: time from left to right, a lane per site, messages as lines between lanes.

Moments at which something happens are spaced evenly; the axis says when they were. Roles of messages differ in colour
*and* in their dashes. A lost message ends in a cross. Below each lane its disk: a block is a sync. A lane is missing
while its site is down, dashed while it stands still, and thick while it leads.
"""

from collections.abc import Mapping

from recipes.lab.expectations import follow_state
from recipes.lab.figures import HEARTBEATS
from recipes.lab.svg import Element
from recipes.lab.trace import Event, Trace
from recipes.lab.transcript import brief

STEP, LANE, LEFT, TOP = 11, 64, 74, 58
_INK, _PALE = "#1b1b1b", "#8a8a8a"
# Colours that differ in brightness too (Okabe and Ito), each with its dashes.
_LOOKS: Mapping[str, tuple[str, str | None]] = {
    "prepare": ("#0072b2", None), "promise": ("#0072b2", "6 2"),
    "accept": ("#d55e00", None), "accepted": ("#d55e00", "6 2"),
    "vote": ("#cc79a7", None), "vote-reply": ("#cc79a7", "6 2"),
    "replicate": ("#009e73", None), "ack": ("#009e73", "6 2"),
    "commit-notice": ("#1b1b1b", "2 2"), "backfill": ("#7a5c00", "8 2 2 2"),
    "forward": ("#56b4e9", None), "forward-reply": ("#56b4e9", "6 2"),
    "log-id": ("#7a5c00", None), "log-id-reply": ("#7a5c00", "6 2"),
    "ask": ("#8a8a8a", None), "ask-reply": ("#8a8a8a", "6 2"),
    "heartbeat": ("#8a8a8a", "1 3"), "heartbeat-reply": ("#8a8a8a", "1 3"),
}  # fmt: skip
_ENDS = ("crash", "power")


def timeline(trace: Trace, title: str, *, heartbeats: bool = False) -> str:
    """The picture as an SVG document."""
    return _Drawing(trace, title, heartbeats).document()


class _Drawing:
    def __init__(self, trace: Trace, title: str, heartbeats: bool) -> None:
        self._trace = trace
        self._title = title
        self._events = [event for event in trace.events if _is_drawn(trace, event, heartbeats)]
        times = sorted({event["t"] for event in self._events})
        self._x = {time: LEFT + STEP * number for number, time in enumerate(times)}
        self._y = {site: TOP + LANE * number for number, site in enumerate(trace.sites)}
        self._end_of = {event["id"]: event for event in trace.events if event["k"] in ("deliver", "lost")}
        self._right = LEFT + STEP * max(len(times), 1)

    def document(self) -> str:
        roles = sorted({event["role"] for event in self._events if event["k"] == "send"})
        height = TOP + LANE * len(self._y) + 18 * ((len(roles) + 3) // 4)
        width = max(self._right + 20, 620)
        svg = Element(
            "svg", xmlns="http://www.w3.org/2000/svg", role="img", viewBox=f"0 0 {width} {height}", width=width,
            height=height, font_family="system-ui, sans-serif", font_size=11, aria_labelledby="t d",
        )  # fmt: skip
        svg.add("title", self._title, id="t")
        svg.add(
            "desc",
            f"{self._trace.protocol}, seed {self._trace.header['seed']}, {len(self._trace.events)} events",
            id="d",
        )
        svg.add("rect", width=width, height=height, fill="#ffffff")
        svg.add("text", self._title, x=12, y=20, font_size=14, fill=_INK)
        self._axis(svg)
        for site in self._y:
            self._lane(svg, site)
        for event in self._events:
            if event["k"] == "send":
                self._message(svg, event)
            elif event["k"] in ("call", "reply", "note"):
                self._mark(svg, event)
        self._legend(svg, roles, height)
        return svg.text() + "\n"

    def _axis(self, svg: Element) -> None:
        last = -100
        for time, x in self._x.items():
            if x - last >= 66:
                svg.add("line", x1=x, y1=TOP - 22, x2=x, y2=TOP + LANE * len(self._y) - 30, stroke="#e4e4e4")
                svg.add("text", f"{time / 1000:.2f} ms", x=x + 2, y=TOP - 14, font_size=9, fill=_PALE)
                last = x

    def _lane(self, svg: Element, site: str) -> None:
        """The life of a site, in pieces: each ends where something changes what the lane looks like."""
        y = self._y[site]
        svg.add("text", site, x=12, y=y + 4, font_size=12, font_weight="bold", fill=_INK)
        running, paused, leads, since = False, False, False, LEFT
        states: dict[str, dict[str, object]] = {}
        shown_number: object = None
        synced = None
        for event in self._trace.events:
            follow_state(states, event)
            if event["n"] != site:
                continue
            x, kind = self._x.get(event["t"], since), event["k"]
            now = (
                kind == "start" or (running and kind not in _ENDS),
                kind == "pause" or (paused and kind not in ("resume", *_ENDS)),
                states.get(site, {}).get("role") in ("leader", "primary"),
            )
            if now != (running, paused, leads):
                self._piece(svg, y, since, x, running, paused, leads)
                (running, paused, leads), since = now, x
            if kind in _ENDS:
                svg.add(
                    "text", "✕ power" if kind == "power" else "✕", x=x - 4, y=y + 4, font_weight="bold", fill="#b00020"
                )
            elif kind == "fsync" and event["at"] == "begin":
                synced = x
            elif kind == "fsync" and synced is not None:
                block = svg.add(
                    "rect", x=synced, y=y + 14, width=max(x - synced, 3), height=7, fill="#d9d2e9", stroke=_PALE
                )
                block.add("title", f"{site}: a sync, up to write {event['number']}")
            number = states.get(site, {}).get("number")
            if kind == "state" and number is not None and number != shown_number:
                shown_number = number
                svg.add("text", brief(number), x=x, y=y + 32, font_size=9, fill=_PALE)
        self._piece(svg, y, since, self._right, running, paused, leads)

    def _piece(self, svg: Element, y: int, start: int, end: int, running: bool, paused: bool, leads: bool) -> None:
        if running and end > start:
            dashes = "4 4" if paused else None
            svg.add(
                "line",
                x1=start,
                y1=y,
                x2=end,
                y2=y,
                stroke=_INK,
                stroke_width=4 if leads else 1.2,
                stroke_dasharray=dashes,
            )

    def _message(self, svg: Element, sent: Event) -> None:
        end = self._end_of.get(sent["id"])
        colour, dashes = _LOOKS.get(sent["role"], (_INK, None))
        x1, y1, y2 = self._x[sent["t"]], self._y[sent["n"]], self._y.get(sent["to"], TOP)
        x2 = self._x.get(end["t"], self._right) if end else self._right
        if end is None or end["k"] == "lost":
            x2, y2 = (x1 + x2) // 2, (y1 + y2) // 2
        group = svg.add("g", stroke=colour, fill=colour)
        fields = " ".join(f"{name}={brief(value)}" for name, value in sent["fields"].items() if value is not None)
        why = "" if end is None or end["k"] == "deliver" else f", lost: {end['why']}"
        group.add("title", f"{sent['n']} to {sent['to']}: {sent['role']} ({sent['real']} {fields}){why}")
        group.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke_width=1.4, stroke_dasharray=dashes)
        if why:
            group.add(
                "path", d=f"M{x2 - 4} {y2 - 4}L{x2 + 4} {y2 + 4}M{x2 - 4} {y2 + 4}L{x2 + 4} {y2 - 4}", stroke_width=2
            )
        elif end is not None:
            down = 1 if y2 > y1 else -1
            group.add("path", d=f"M{x2} {y2}l-5 {-6 * down}l6 {-1 * down}z", stroke="none")

    def _mark(self, svg: Element, event: Event) -> None:
        x, y = self._x[event["t"]], self._y.get(event["n"], TOP - 8)
        if event["k"] == "note":
            svg.add("text", event.get("text", ""), x=x, y=y - 14, font_size=9, fill=_PALE)
            return
        calls = event["k"] == "call"
        said = f"{brief(event['op'])}?" if calls else f"{event['outcome']} {brief(event['value'])}"
        colour = _INK if calls or event["outcome"] == "ok" else "#b00020"
        svg.add("path", d=f"M{x} {y - 3}l-4 -7h8z" if calls else f"M{x} {y - 10}l-4 7h8z", fill=colour)
        svg.add("text", said[:28], x=x + 6, y=y - (6 if calls else 16), font_size=9, fill=colour)

    def _legend(self, svg: Element, roles: list[str], height: int) -> None:
        top = height - 18 * ((len(roles) + 3) // 4)
        for number, role in enumerate(roles):
            x, y = 12 + 150 * (number % 4), top + 18 * (number // 4) + 4
            colour, dashes = _LOOKS.get(role, (_INK, None))
            svg.add("line", x1=x, y1=y, x2=x + 26, y2=y, stroke=colour, stroke_width=2, stroke_dasharray=dashes)
            svg.add("text", role, x=x + 32, y=y + 4, fill=_INK)


def _is_drawn(trace: Trace, event: Event, heartbeats: bool) -> bool:
    kind = event["k"]
    if kind in ("send", "deliver", "lost"):
        sent = event if kind == "send" else trace.events[event["id"]]
        return heartbeats or sent["role"] not in HEARTBEATS
    return kind in ("fsync", "call", "reply", "note", "start", "pause", "resume", *_ENDS)
