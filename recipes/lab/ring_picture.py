"""One moment of a run as a picture, in SVG: the sites on a circle, and the messages that are on their way."""

from math import atan2, degrees, hypot
from typing import Any

from recipes.lab.moment import RUNS, SiteThen, moment
from recipes.lab.ring import SIZE, ring
from recipes.lab.svg import Element
from recipes.lab.table_picture import document
from recipes.lab.timeline import LEADING, look_of
from recipes.lab.trace import Event, Trace
from recipes.lab.transcript import brief

_DISC, _TOP = 30, 44
_INK, _RED = "#1b1b1b", "#b00020"
_MOST_CHARACTERS = 18


def ring_picture(trace: Trace, at: int, title: str) -> str:
    """The moment after this event."""
    places, now_us = ring(trace.sites), trace.events[at]["t"]
    root = document(title, SIZE, SIZE + _TOP)
    root.add("text", f"after event {at}, {now_us / 1000:.3f} ms; a cross: lost now", x=12, y=38, fill="#8a8a8a")
    picture = Element("g", transform=f"translate(0 {_TOP})")
    root.content.append(picture)
    for sent, share, is_lost in _flying(trace, at):
        if sent["n"] in places and sent["to"] in places:
            picture.content.append(_message(places[sent["n"]], places[sent["to"]], sent, share, is_lost))
    for name, site in moment(trace, at).items():
        picture.content.append(_disc(places[name], name, site))
    return f"{root.text()}\n"


def _flying(trace: Trace, at: int) -> list[tuple[Event, float, bool]]:
    """The messages on their way, how far each has come, and whether this event is that it is lost."""
    ends: dict[int, list[Event | None]] = {}
    for event in trace.events:
        if event["k"] in ("deliver", "lost"):
            ends.setdefault(event["id"], []).append(event)
    found = []
    for sent in trace.events[: at + 1]:
        if sent["k"] != "send":
            continue
        passed_us = trace.events[at]["t"] - sent["t"]
        for end in ends.get(sent["id"], [None]):
            if end is not None and end["i"] == at and end["k"] == "lost":
                found.append((sent, 0.5, True))
            elif end is None or end["i"] > at:
                whole_us = 2 * passed_us if end is None else end["t"] - sent["t"]
                found.append((sent, passed_us / whole_us if whole_us else 0.0, False))
    return found


def _message(start: tuple[float, float], end: tuple[float, float], sent: Event, share: float, is_lost: bool) -> Element:
    (x1, y1), (x2, y2) = start, end
    colour, dashes = look_of(sent["role"])
    edge = min(_DISC / (hypot(x2 - x1, y2 - y1) or 1), 0.5)
    part = edge + share * (1 - 2 * edge)
    x, y = round(x1 + (x2 - x1) * part, 1), round(y1 + (y2 - y1) * part, 1)
    group = Element("g", stroke=colour, fill=colour)
    group.add("title", f"{sent['n']} to {sent['to']}: {sent['role']} ({sent['real']})")
    group.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke_dasharray=dashes, opacity=0.5)
    if is_lost:
        group.add("path", d=f"M{x - 6} {y - 6}l12 12M{x + 6} {y - 6}l-12 12", stroke=_RED, stroke_width=3)
    else:
        turned = round(degrees(atan2(y2 - y1, x2 - x1)))
        group.add("path", d="M9 0L-7 6V-6z", transform=f"translate({x} {y}) rotate({turned})", stroke="none")
    group.add("text", str(sent["real"])[:_MOST_CHARACTERS], x=x + 10, y=y - 6, stroke="none")
    return group


def _disc(place: tuple[float, float], name: str, site: SiteThen) -> Element:
    """A site: a thick edge while it leads, a dashed one while it does not run."""
    x, y = place
    runs, number = site.status == RUNS, site.shown.get("number")
    leads = runs and site.shown.get("role") in LEADING
    group = Element("g", fill=_INK, text_anchor="middle")
    group.add("circle", cx=x, cy=y, r=_DISC, fill="#ffffff", stroke=_INK, stroke_width=4 if leads else 1.2,
              stroke_dasharray=None if runs else "4 4")  # fmt: skip
    words: list[tuple[Any, int]] = [(name, -2), ("leads" if leads else "" if runs else site.status, 12)]
    words.append((brief(number) if runs and number is not None else "", 24))
    for text, down in words:
        if text:
            weight = "bold" if down < 0 else None
            group.add("text", text[:_MOST_CHARACTERS], x=x, y=y + down, font_weight=weight)
    return group
