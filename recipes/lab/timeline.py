"""A trace as a picture: time from left to right, a lane per site, messages as lines between lanes.

Moments at which something happens are spaced evenly, and the axis says when they were; or distances are true times.
Roles of messages differ in colour *and* in their dashes. A lost message ends in a cross. Below each lane its disk: a
block is a sync. A lane is missing while its site is down, dashed while it stands still, and thick while it leads.
Behind a lane is the colour of the epoch, term or ballot that its site shows; all sites of one number have the same
colour, and it stands where it begins.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from recipes.lab.expectations import follow_state
from recipes.lab.figures import HEARTBEATS
from recipes.lab.svg import Element
from recipes.lab.trace import Event, Trace
from recipes.lab.transcript import brief

STEP, LANE, LEFT, TOP = 11, 64, 74, 58
_INK, _PALE, _RED = "#1b1b1b", "#8a8a8a", "#b00020"
LEADING = ("leader", "primary")
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
# Behind the lanes, for one number after the other.
TINTS = ("#eaf2fb", "#fdf1df", "#e9f6ec", "#f6ebf6")


class Piece(NamedTuple):
    """A part of the picture.

    event: what it shows. role: of a message, "" if it is none. sites: the lanes it belongs to, none if to the whole.
    left, right: where it is.
    """

    event: int
    role: str
    sites: tuple[str, ...]
    left: int
    right: int
    element: Element


class Picture:
    """The parts of a timeline, and where they lie.

    span: only these events are drawn. true_time: distances are times; else moments are spaced evenly. places: where
    each moment is, by its time, if neither is wanted. width: where the picture ends, if `places` are given.
    lanes: the height of each site. x: where each event is. width, height: without the legend.
    """

    def __init__(
        self,
        trace: Trace,
        *,
        heartbeats: bool = False,
        span: range | None = None,
        true_time: bool = False,
        places: Mapping[int, int] | None = None,
        width: int = 0,
    ) -> None:
        self._trace = trace
        self._span = range(len(trace.events)) if span is None else span
        self._events = drawn(trace, self._span, heartbeats=heartbeats)
        times = sorted({event["t"] for event in self._events})
        self._scale = _scale(times) if true_time else 0.0  # px per µs
        if true_time:
            places = {time: LEFT + round((time - times[0]) * self._scale) for time in times}
            width = max(places.values(), default=LEFT) + STEP
        self._x = {time: LEFT + STEP * number for number, time in enumerate(times)} if places is None else places
        self._first_us = times[0] if times else 0
        self.lanes: dict[str, int] = {site: TOP + LANE * number for number, site in enumerate(trace.sites)}
        self._ends_of: dict[int, list[Event]] = {}  # of each message: more than one if the network repeats it
        for event in trace.events:
            if event["k"] in ("deliver", "lost"):
                self._ends_of.setdefault(event["id"], []).append(event)
        self.width: int = LEFT + STEP * max(len(times), 1) if places is None else width
        self.height: int = TOP + LANE * len(self.lanes)
        self.x: list[int] = list(self._positions())
        self.pieces: list[Piece] = [
            *self._numbers(), *self._axis(), *self._lanes(), *self._messages(), *self._marks(),
        ]  # fmt: skip

    def roles(self) -> list[str]:
        """The roles of all messages that are drawn."""
        return sorted({event["role"] for event in self._events if event["k"] == "send"})

    def _positions(self) -> Iterator[int]:
        """Where each event is: one that is not drawn, at the last moment before it that is."""
        last = LEFT
        for event in self._trace.events:
            if event["i"] >= self._span.start:
                last = self._x.get(event["t"], last) if event["i"] < self._span.stop else self.width
            yield last

    def _numbers(self) -> Iterator[Piece]:
        """What number each site shows: an epoch, a term, a ballot."""
        tints: dict[str, str] = {}
        now: dict[str, tuple[object, int, int]] = {}  # of each site: its number, since where, since which event
        states: dict[str, dict[str, object]] = {}
        down: set[str] = set()  # messages to them may be lost, which changes nothing
        for event in self._trace.events[: self._span.stop]:
            follow_state(states, event)
            site, x = event["n"], self.x[event["i"]]
            if site not in self.lanes:
                continue
            if event["k"] in _ENDS:
                down.add(site)
            elif event["k"] == "start":
                down.discard(site)
            number = None if site in down else states.get(site, {}).get("number")
            before = now.get(site, (None, x, 0))
            if number != before[0]:
                yield from self._tint(site, before, x, tints)
                now[site] = (number, x, event["i"])
        for site, before in now.items():
            yield from self._tint(site, before, self.width, tints)

    def _tint(self, site: str, number: tuple[object, int, int], end: int, tints: dict[str, str]) -> Iterator[Piece]:
        shown, since, event = number
        if shown is None:
            return
        fill = tints.setdefault(brief(shown), TINTS[len(tints) % len(TINTS)])
        if end > since:
            y = self.lanes[site] - LANE // 2 + 4
            area = Element("rect", x=since, y=y, width=end - since, height=LANE - 4, fill=fill)
            area.add("title", f"{site} shows {brief(shown)}")
            yield Piece(event, "", (site,), since, end, area)

    def _axis(self) -> Iterator[Piece]:
        if self._scale:
            yield from self._ticks()
            return
        last = -100
        for number in self._span:
            x = self.x[number]
            if x - last >= 66:
                yield from self._tick(number, x, f"{self._trace.events[number]['t'] / 1000:.2f} ms")
                last = x

    def _ticks(self) -> Iterator[Piece]:
        """Round times, as many as have room for their words."""
        every_us = next(step for power in range(12) for step in (10**power, 2 * 10**power, 5 * 10**power)
                        if step * self._scale >= 66)  # fmt: skip
        last_us = self._first_us + (self.width - LEFT) / self._scale
        number, time = self._span.start, -(-self._first_us // every_us) * every_us
        while time <= last_us:
            while number + 1 < self._span.stop and self._trace.events[number + 1]["t"] <= time:
                number += 1
            yield from self._tick(number, LEFT + round((time - self._first_us) * self._scale), f"{time / 1000:g} ms")
            time += every_us

    def _tick(self, number: int, x: int, words: str) -> Iterator[Piece]:
        line = Element("line", x1=x, y1=TOP - 22, x2=x, y2=self.height - 30, stroke="#e4e4e4")
        yield Piece(number, "", (), x, x, line)
        text = Element("text", words, x=x + 2, y=TOP - 14, font_size=9, fill=_PALE)
        yield Piece(number, "", (), x, x + 66, text)

    def _lanes(self) -> Iterator[Piece]:
        """The lives of all sites, in pieces: each ends where something changes what its lane looks like."""
        lanes = {site: _Lane(site, y) for site, y in self.lanes.items()}
        states: dict[str, dict[str, object]] = {}
        for event in self._trace.events[: self._span.stop]:
            follow_state(states, event)
            if event["n"] in lanes:
                pieces = list(lanes[event["n"]].follow(event, self.x[event["i"]], states.get(event["n"], {})))
                yield from pieces if event["i"] >= self._span.start else ()
        for lane in lanes.values():
            yield from lane.piece(self.width)

    def _messages(self) -> Iterator[Piece]:
        for sent in self._events:
            if sent["k"] == "send":
                for end in self._ends_of.get(sent["id"], [None]):
                    yield self._message(sent, end)

    def _message(self, sent: Event, end: Event | None) -> Piece:
        colour, dashes = look_of(sent["role"])
        x1, y1, y2 = self.x[sent["i"]], self.lanes.get(sent["n"], TOP), self.lanes.get(sent["to"], TOP)
        x2 = self.x[end["i"]] if end else self.width
        if end is None or end["k"] == "lost":
            x2, y2 = (x1 + x2) // 2, (y1 + y2) // 2
        group = Element("g", stroke=colour, fill=colour)
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
        return Piece(sent["i"], sent["role"], (sent["n"], sent["to"]), x1, x2, group)

    def _marks(self) -> Iterator[Piece]:
        for event in self._events:
            if event["k"] in ("call", "reply", "note"):
                x, y = self.x[event["i"]], self.lanes.get(event["n"], TOP - 8)
                sites = (event["n"],) if event["n"] in self.lanes else ()
                for element in _mark(event, x, y):
                    yield Piece(event["i"], "", sites, x, x + 170, element)


class _Lane:
    """The life of a site: running, standing still or down; leading or not; with its syncs."""

    def __init__(self, site: str, y: int) -> None:
        self._site = site
        self._y = y
        self._looks = (False, False, False)
        self._since = LEFT
        self._begun = 0
        self._number: object = None
        self._synced: int | None = None

    def follow(self, event: Event, x: int, state: Mapping[str, object]) -> Iterator[Piece]:
        y, kind = self._y, event["k"]
        running, paused, _ = self._looks
        now = (
            kind == "start" or (running and kind not in _ENDS),
            kind == "pause" or (paused and kind not in ("resume", *_ENDS)),
            state.get("role") in LEADING,
        )
        if now != self._looks:
            yield from self.piece(x)
            self._looks, self._since, self._begun = now, x, event["i"]
        if kind in _ENDS:
            said = "✕ power" if kind == "power" else "✕"
            yield self._at(event, x, 60, Element("text", said, x=x - 4, y=y + 4, font_weight="bold", fill=_RED))
        elif kind == "fsync" and event["at"] == "begin":
            self._synced = x
        elif kind == "fsync" and self._synced is not None:
            start, width = self._synced, max(x - self._synced, 3)
            block = Element("rect", x=start, y=y + 14, width=width, height=7, fill="#d9d2e9", stroke=_PALE)
            block.add("title", f"{self._site}: a sync, up to write {event['number']}")
            yield self._at(event, start, width, block)
        number = state.get("number")
        if kind == "state" and number is not None and number != self._number:
            self._number = number
            label = Element("text", brief(number), x=x, y=y + 32, font_size=9, fill=_PALE)
            yield self._at(event, x, 60, label)

    def piece(self, end: int) -> Iterator[Piece]:
        """The lane as it has looked until now."""
        running, paused, leads = self._looks
        if running and end > self._since:
            line = Element(
                "line", x1=self._since, y1=self._y, x2=end, y2=self._y, stroke=_INK, stroke_width=4 if leads else 1.2,
                stroke_dasharray="4 4" if paused else None,
            )  # fmt: skip
            yield Piece(self._begun, "", (self._site,), self._since, end, line)

    def _at(self, event: Event, x: int, width: int, element: Element) -> Piece:
        return Piece(event["i"], "", (self._site,), x, x + width, element)


def drawn(trace: Trace, span: range, *, heartbeats: bool = False) -> list[Event]:
    """The events of a span that have a moment of their own in a picture."""
    return [event for event in trace.events[span.start : span.stop] if _is_drawn(trace, event, heartbeats)]


def _scale(times: Sequence[int]) -> float:
    """How many px a µs takes: usual distances are as wide as when spaced evenly, but the whole at most four times."""
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    if not gaps:
        return 1.0
    return min(STEP / gaps[len(gaps) // 2], 4 * STEP * len(times) / (times[-1] - times[0]))


def look_of(role: str) -> tuple[str, str | None]:
    """The colour and the dashes of messages of a role."""
    return _LOOKS.get(role, (_INK, None))


def timeline(
    trace: Trace, title: str, *, heartbeats: bool = False, true_time: bool = False, span: range | None = None
) -> str:
    """The picture as an SVG document. span: only these events."""
    picture = Picture(trace, heartbeats=heartbeats, true_time=true_time, span=span)
    roles = picture.roles()
    height = picture.height + height_of_legend(roles)
    width = max(picture.width + 20, 620)
    svg = Element(
        "svg", xmlns="http://www.w3.org/2000/svg", role="img", viewBox=f"0 0 {width} {height}", width=width,
        height=height, font_family="system-ui, sans-serif", font_size=11, aria_labelledby="t d",
    )  # fmt: skip
    svg.add("title", title, id="t")
    said = f"{trace.protocol}, seed {trace.header['seed']}, {len(trace.events)} events"
    svg.add("desc", said, id="d")
    svg.add("rect", width=width, height=height, fill="#ffffff")
    svg.add("text", title, x=12, y=20, font_size=14, fill=_INK)
    add_picture(svg, picture)
    add_legend(svg, roles, picture.height)
    return svg.text() + "\n"


def add_picture(to: Element, picture: Picture) -> None:
    """Draw the picture, with the names of its lanes."""
    for site, y in picture.lanes.items():
        to.add("text", site, x=12, y=y + 4, font_size=12, font_weight="bold", fill=_INK)
    to.content += [piece.element for piece in picture.pieces]


def height_of_legend(roles: Sequence[str]) -> int:
    """How much room a legend of these roles needs."""
    return 18 * ((len(roles) + 3) // 4)


def _mark(event: Event, x: int, y: int) -> Iterator[Element]:
    """A call, an answer or a note."""
    if event["k"] == "note":
        yield Element("text", str(event.get("text", "")), x=x, y=y - 14, font_size=9, fill=_PALE)
        return
    calls = event["k"] == "call"
    said = f"{brief(event['op'])}?" if calls else f"{event['outcome']} {brief(event.get('value'))}"
    colour = _INK if calls or event["outcome"] == "ok" else _RED
    yield Element("path", d=f"M{x} {y - 3}l-4 -7h8z" if calls else f"M{x} {y - 10}l-4 7h8z", fill=colour)
    yield Element("text", said[:28], x=x + 6, y=y - (6 if calls else 16), font_size=9, fill=colour)


def add_legend(svg: Element, roles: Sequence[str], top: int) -> None:
    """Say what the lines of these roles look like; `top` is where it begins."""
    for number, role in enumerate(roles):
        x, y = 12 + 150 * (number % 4), top + 18 * (number // 4) + 4
        colour, dashes = look_of(role)
        svg.add("line", x1=x, y1=y, x2=x + 26, y2=y, stroke=colour, stroke_width=2, stroke_dasharray=dashes)
        svg.add("text", role, x=x + 32, y=y + 4, fill=_INK)


def _is_drawn(trace: Trace, event: Event, heartbeats: bool) -> bool:
    kind = event["k"]
    if kind in ("send", "deliver", "lost"):
        sent = event if kind == "send" else trace.events[event["id"]]
        return heartbeats or sent["role"] not in HEARTBEATS
    return kind in ("fsync", "call", "reply", "note", "start", "pause", "resume", *_ENDS)
