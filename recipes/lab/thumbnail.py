"""A timeline, small: which sites there are, when they live and lead, and what goes between them. It has no words.

It is made of the lines and areas of the timeline (timeline.py), shrunk. What looks alike and lies at the same place is
drawn once, so that it has few kB however long the run is.
"""

from collections.abc import Iterator
from typing import NamedTuple

from recipes.lab.svg import Element
from recipes.lab.timeline import LANE, LEFT, TOP, Picture
from recipes.lab.trace import Trace

WIDTH, ROW = 240, 16  # px: of the whole, and of a lane
_CROSS = 12  # of a site that goes down, in the timeline


class _Mark(NamedTuple):
    """A line, or an area, from one corner to the other, in the places of the timeline."""

    look: tuple[tuple[str, object], ...]
    x1: float
    y1: float
    x2: float
    y2: float
    is_area: bool = False


def thumbnail(trace: Trace, title: str) -> Element:
    """The picture, as the element of an SVG document. title: says what it is to those who do not see it."""
    picture = Picture(trace)
    height = ROW * len(picture.lanes)
    across, down = WIDTH / max(picture.width - LEFT, 1), ROW / LANE

    def x(at: float) -> int:
        return round((at - LEFT) * across)

    def y(at: float) -> int:
        return round((at - TOP) * down + ROW / 2)

    drawn: dict[tuple[tuple[str, object], ...], dict[str, None]] = {}
    for piece in picture.pieces:
        for mark in _marks(piece.element) if piece.sites else ():  # one of no site is of the axis
            x1, y1, x2, y2 = x(mark.x1), y(mark.y1), x(mark.x2), y(mark.y2)
            line = f"M{x1} {y1}H{max(x2, x1 + 1)}V{y2}H{x1}z" if mark.is_area else f"M{x1} {y1}L{x2} {y2}"
            drawn.setdefault(mark.look, {})[line] = None
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", width=WIDTH,
                   height=height, role="img")  # fmt: skip
    root.add("title", title)
    root.add("rect", width=WIDTH, height=height, fill="#ffffff")
    for look, lines in drawn.items():
        root.add("path", d="".join(lines), **dict(look))
    return root


def _marks(element: Element) -> Iterator[_Mark]:
    """What is left of a part of the timeline."""
    has = element.attributes
    if element.name == "rect":
        yield _Mark(
            (("fill", has["fill"]),), has["x"], has["y"], has["x"] + has["width"], has["y"] + has["height"], True
        )
    elif element.name == "line":
        yield _line(element, has["stroke"], has["stroke_width"] / 2)
    elif element.name == "g":  # a message, and its end
        yield from (_line(each, has["stroke"], 0.7) for each in element.content
                    if isinstance(each, Element) and each.name == "line")  # fmt: skip
    elif element.name == "text" and has.get("font_weight"):  # a site goes down
        left, top = has["x"], has["y"] - _CROSS
        look = (("stroke", has["fill"]), ("stroke_width", 1.5))
        yield _Mark(look, left, top, left + _CROSS, top + 2 * _CROSS)
        yield _Mark(look, left, top + 2 * _CROSS, left + _CROSS, top)


def _line(line: Element, stroke: object, width: float) -> _Mark:
    has = line.attributes
    look = (("stroke", stroke), ("stroke_width", width), ("stroke_dasharray", has.get("stroke_dasharray")))
    return _Mark(look, has["x1"], has["y1"], has["x2"], has["y2"])
