"""The checks of a trace as a timeline: a row per property, with the events from left to right."""

from collections.abc import Mapping

from recipes.lab.checks.check import Broken
from recipes.lab.svg import Element

WIDTH, ROW = 1000, 22


def checks_timeline(found: Mapping[str, Broken | None], events: int) -> list[Element]:
    """A rectangle where each property holds, and another one, with a cross before it, where it is broken."""
    elements: list[Element] = []
    for number, broken in enumerate(found.values()):
        y = ROW * number + 4
        until = x_of(broken.event, events) if broken else float(WIDTH)
        elements.append(Element("rect", x=0, y=y, width=until, height=ROW - 8, fill="#d7e9df", stroke="#009e73"))
        if broken:
            elements.append(
                Element("rect", x=until, y=y, width=max(WIDTH - until, 4.0), height=ROW - 8, fill="#b00020")
            )
            cross = f"M{until - 5:.1f} {y - 2}l10 {ROW - 4}M{until + 5:.1f} {y - 2}l-10 {ROW - 4}"
            elements.append(Element("path", d=cross, stroke="#b00020", stroke_width=2))
    return elements


def x_of(event: int, events: int) -> float:
    """Where an event is."""
    return WIDTH * event / max(events, 1)
