"""Where two traces begin to differ."""

from typing import NamedTuple

from recipes.lab.trace import Event, Trace


class Difference(NamedTuple):
    """The first event that is not the same in both; None on the side that has no more events."""

    event: int
    one: Event | None
    other: Event | None


def first_difference(one: Trace, other: Trace) -> Difference | None:
    """The first difference of two traces, None if their events are the same."""
    for number in range(max(len(one.events), len(other.events))):
        pair = [trace.events[number] if number < len(trace.events) else None for trace in (one, other)]
        if pair[0] != pair[1]:
            return Difference(number, *pair)
    return None
