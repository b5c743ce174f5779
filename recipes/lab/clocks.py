"""Aligns the clocks of servers by the messages between them.

A message takes longer than nothing. So one from a to b says that b's clock is ahead of a's by at most its time of
arrival less its time of leaving; one from b to a says by how much at least. The truth lies between, and the middle is
taken, as NTP does and Cristian proposed (Probabilistic clock synchronization, 1989): there the shortest message takes
equally long both ways. Clocks that run at different rates make both limits lines (Duda, Harrus, Haddad and Bernard,
Estimating global time in distributed systems, 1987): of all lines the one with the most room is taken, and a level one
if it fits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MOST_DRIFT: Final = 1e-3  # clocks of machines differ by at most some 100 µs in a second
_STEPS = 80  # of the search: each leaves two thirds of what is possible

Point = tuple[int, int]  # a time by the clock of a; a limit of how far b's clock is ahead of it then; both in µs


@dataclass
class Limits:
    """What messages say of how far the clock of b is ahead of that of a. most: from those from a to b; least: from b
    to a."""

    most: list[Point] = field(default_factory=list)
    least: list[Point] = field(default_factory=list)


class Line(NamedTuple):
    """How far the clock of b is ahead: by `ahead_us` when that of a shows `since_us`, and by `drift` more for each µs.

    room_us: between the limits, where they are nearest. Less than 0: the clocks do not run evenly.
    """

    since_us: int
    ahead_us: float
    drift: float
    room_us: float


class Clock(NamedTuple):
    """Tells the common time: `common_us` when this clock shows `own_us`, and from then on `rate` for each of its µs."""

    own_us: float
    common_us: float
    rate: float

    def at(self, own_us: int) -> float:
        """The common time when this clock shows `own_us`."""
        return self.common_us + (own_us - self.own_us) * self.rate


def line_between(limits: Limits) -> Line:
    """The line with the most room below `most` and above `least`."""
    most, least = limits.most, limits.least
    since_us = min(each[0] for each in (*most[:1], *least[:1]))
    upper = _hull([(x - since_us, y) for x, y in most], 1)
    lower = _hull([(x - since_us, y) for x, y in least], -1)
    if not upper or not lower:
        return Line(since_us, _ahead(upper, lower, 0.0), 0.0, float("inf"))
    drift = 0.0
    if _room(upper, lower, drift) < 0:
        low, high = -MOST_DRIFT, MOST_DRIFT
        for _ in range(_STEPS):  # the room first grows with the drift, and then shrinks
            one, other = low + (high - low) / 3, high - (high - low) / 3
            if _room(upper, lower, one) < _room(upper, lower, other):
                low = one
            else:
                high = other
        drift = (low + high) / 2
    return Line(since_us, _ahead(upper, lower, drift), drift, _room(upper, lower, drift))


def _most(upper: Sequence[Point], drift: float) -> float:
    return min(y - drift * x for x, y in upper)


def _least(lower: Sequence[Point], drift: float) -> float:
    return max(y - drift * x for x, y in lower)


def _room(upper: Sequence[Point], lower: Sequence[Point], drift: float) -> float:
    return _most(upper, drift) - _least(lower, drift)


def _ahead(upper: Sequence[Point], lower: Sequence[Point], drift: float) -> float:
    if not lower:
        return _most(upper, drift)
    if not upper:
        return _least(lower, drift)
    return (_most(upper, drift) + _least(lower, drift)) / 2


def _hull(points: Iterable[Point], side: int) -> list[Point]:
    """The points that a line may touch: from below, or from above where `side` is -1."""
    hull: list[Point] = []
    for x, y in sorted(points):
        while len(hull) > 1:
            (x1, y1), (x2, y2) = hull[-2:]
            if side * ((y2 - y1) * (x - x1) - (y - y1) * (x2 - x1)) < 0:
                break
            hull.pop()
        hull.append((x, y))
    return hull


def align(count: int, limits: Mapping[tuple[int, int], Limits], first: int) -> tuple[list[Clock | None], list[float]]:
    """The clocks numbered from 0 to `count` - 1, and how far off each may be in µs; the common time is that of `first`.

    Each is compared with the one that says most of it. A clock that no messages reach is None.
    """
    lines = {pair: line_between(each) for pair, each in limits.items() if each.most or each.least}
    clocks: list[Clock | None] = [None] * count
    off_us = [0.0] * count
    clocks[first] = Clock(0, 0, 1.0)
    while True:
        ways = [
            (abs(line.room_us), one, other)
            for (one, other), line in lines.items()
            if (clocks[one] is None) != (clocks[other] is None)
        ]
        if not ways:
            return clocks, off_us
        _, one, other = min(ways)
        line = lines[one, other]
        ahead = line.since_us + line.ahead_us  # what the other's clock shows at since_us
        if (known := clocks[one]) is not None:
            clocks[other] = Clock(ahead, known.at(line.since_us), known.rate / (1 + line.drift))
            off_us[other] = off_us[one] + abs(line.room_us) / 2
        elif (known := clocks[other]) is not None:
            common_us = known.common_us + (ahead - known.own_us) * known.rate
            clocks[one] = Clock(line.since_us, common_us, known.rate * (1 + line.drift))
            off_us[one] = off_us[other] + abs(line.room_us) / 2
