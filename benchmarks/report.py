"""Rounds into medians, ratios and a Markdown table."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Point(NamedTuple):
    """One thing measured on both sides, a value per round."""

    name: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    target: float | None = None  # ours / theirs: at least this, or at most this where less is better
    less_is_better: bool = False
    peer: str = "apache"  # what `theirs` was measured on
    ceiling: float | None = None  # what the median of ours may be at most, in the point's unit


def ratio(point: Point) -> float:
    return median(point.ours) / median(point.theirs)


def spread(values: Sequence[float]) -> float:
    """Half the range of the rounds, as a share of their median: 0.1 reads as "within 10 %"."""
    return (max(values) - min(values)) / 2 / median(values)


def is_equal(point: Point) -> bool:
    """Whether the two ranges of rounds touch, so that the difference of the medians may be noise."""
    return min(point.ours) <= max(point.theirs) and min(point.theirs) <= max(point.ours)


def verdict(point: Point) -> str:
    """`met`, `missed`, or nothing without a target. A difference inside the spread counts as the ratio 1."""
    if point.target is None:
        return ""
    reached = 1.0 if is_equal(point) else ratio(point)
    above_ceiling = point.ceiling is not None and median(point.ours) > point.ceiling
    enough = reached <= point.target if point.less_is_better else reached >= point.target
    return "met" if enough and not above_ceiling else "missed"


def table(points: Sequence[Point]) -> str:
    head = ("point", "unit", "ours", "peer", "ratio", "target", "")
    rows = [head, tuple("-" * len(word) for word in head), *map(_row, points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def line(point: Point) -> str:
    """A row by itself."""
    return " ".join(filter(None, _row(point)))


def _row(point: Point) -> tuple[str, ...]:
    shown = f"{ratio(point):.2f}"
    if is_equal(point):
        shown = f"equal ({shown})"
    sign = "<=" if point.less_is_better else ">="
    target = "" if point.target is None else f"{sign} {point.target:g}"
    if point.ceiling is not None:
        target += f", <= {point.ceiling:g} {point.unit}"
    peer = f"{_figure(point.theirs)} {point.peer}"
    return point.name, point.unit, _figure(point.ours), peer, shown, target, verdict(point)


def _figure(values: Sequence[float]) -> str:
    middle = median(values)
    digits = 0 if middle >= 100 else 2
    noise = f" ±{spread(values):.0%}" if len(values) > 1 else ""
    return f"{middle:,.{digits}f}{noise}"
