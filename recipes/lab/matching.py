"""Finds the message that a server got among those that another one sent: by their order, and by checksums.

A connection keeps the order, so the n-th message that comes out of it is the n-th that went in. Which connection of one
server is which of the other is found by what went over it. Notifications of the election port may be lost, or come
twice; which one came is found by what it says, and by the clocks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from recipes.lab.parts import Life
from recipes.lab.trace import Event

_OVER_LINKS = ("send", "deliver", "gone")
Place = tuple[int, int]  # an event: the number of its life, and its own in that


@dataclass
class End:
    """One end of a connection, as its server saw it. gone: the event at which it had ended; None if it had not."""

    life: int
    peer: str
    sent: list[Event] = field(default_factory=list)
    received: list[Event] = field(default_factory=list)
    gone: Event | None = None

    @property
    def since_us(self) -> int:
        """When something first went over it."""
        return min((each["t"] for each in (*self.sent[:1], *self.received[:1])), default=0)


class Connection(NamedTuple):
    """Both ends of a connection; None if the other server has not seen it."""

    one: End
    other: End | None


def ends_of(lives: Sequence[Life]) -> dict[tuple[str, str], list[End]]:
    """The ends of all connections, by the server and the one at the other end, in the order in which they were made."""
    found: dict[tuple[int, int], End] = {}
    for number, life in enumerate(lives):
        for event in life.events:
            if event["k"] not in _OVER_LINKS or event["link"] == 0:
                continue
            end = found.setdefault((number, event["link"]), End(number, event.get("to") or event["from"]))
            if event["k"] == "gone":
                end.gone = event
            else:
                (end.sent if event["k"] == "send" else end.received).append(event)
    ends: dict[tuple[str, str], list[End]] = {}
    for end in found.values():
        ends.setdefault((lives[end.life].site, end.peer), []).append(end)
    return ends


def connections(lives: Sequence[Life], sites: Iterable[str]) -> Iterator[Connection]:
    """All connections of these servers."""
    ends = ends_of(lives)
    for one, other in combinations(sites, 2):
        yield from _paired(ends.get((one, other), []), ends.get((other, one), []))


def _paired(ones: Sequence[End], others: Sequence[End]) -> Iterator[Connection]:
    """Of all ways to pair them in order, the one with the most messages that agree; of these, the nearest in time."""
    best = [[(0, 0)] * (len(others) + 1) for _ in range(len(ones) + 1)]
    for row, one in enumerate(ones, 1):
        for column, other in enumerate(others, 1):
            agree = _agree(one, other)
            count, near = best[row - 1][column - 1]
            paired = (count + agree, near - abs(one.since_us - other.since_us)) if agree else (-1, 0)
            best[row][column] = max(best[row - 1][column], best[row][column - 1], paired)
    row, column = len(ones), len(others)
    pairs: list[tuple[int, int]] = []
    while row and column:
        if best[row][column] == best[row - 1][column]:
            row -= 1
        elif best[row][column] == best[row][column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    yield from (Connection(ones[row], others[column]) for row, column in reversed(pairs))
    yield from (Connection(end, None) for at, end in enumerate(ones) if at not in {row for row, _ in pairs})
    yield from (Connection(end, None) for at, end in enumerate(others) if at not in {column for _, column in pairs})


def _agree(one: End, other: End) -> int:
    """How many messages are in both; 0 if what came out of one end is not what went in at the other."""
    number = 0
    for sent, received in ((one.sent, other.received), (other.sent, one.received)):
        both = min(len(sent), len(received))
        if both and sent[both - 1]["sum"] != received[both - 1]["sum"]:
            return 0
        number += both
    return number


def over_connections(found: Iterable[Connection]) -> dict[Place, Place]:
    """For each message that came over a connection, where it was sent."""
    matched: dict[Place, Place] = {}
    for one, other in found:
        for here, there in ((one, other), (other, one)) if other is not None else ():
            if here is not None and there is not None:
                for sent, received in zip(here.sent, there.received, strict=False):
                    matched[there.life, received["i"]] = here.life, sent["i"]
    return matched


class Note(NamedTuple):
    """A notification that was sent, or came. at_us: when."""

    place: Place
    at_us: float


def notifications(lives: Sequence[Life], at_us: Callable[[int, int], float]) -> dict[Place, Place]:
    """For each notification that came, where it was sent. at_us: the common time of a life's own."""
    sent: dict[tuple[str, str, int], list[Note]] = {}
    came: dict[tuple[str, str, int], list[Note]] = {}
    for number, life in enumerate(lives):
        for event in life.events:
            if event["k"] not in ("send", "deliver") or event["link"] != 0:
                continue
            note = Note((number, event["i"]), at_us(number, event["t"]))
            if event["k"] == "send":
                sent.setdefault((life.site, event["to"], event["sum"]), []).append(note)
            else:
                came.setdefault((event["from"], life.site, event["sum"]), []).append(note)
    matched: dict[Place, Place] = {}
    for key, notes in came.items():
        left = sorted(sent.get(key, []), key=lambda each: each.at_us)
        for note in sorted(notes, key=lambda each: -each.at_us):
            while len(left) > 1 and left[-1].at_us > note.at_us:
                left.pop()
            if left:  # the last one stays: a server may say the same again
                matched[note.place] = (left.pop() if len(left) > 1 else left[0]).place
    return matched
