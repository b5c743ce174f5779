"""The events of a trace that a reader wants to jump to, by kind. Read from kinds and roles that all protocols share."""

from collections.abc import Iterable, Mapping

from recipes.lab.expectations import follow_state
from recipes.lab.timeline import LEADING
from recipes.lab.trace import Event, Trace

FAULTS = frozenset({"crash", "power", "pause", "fault"})
_SEEKING = frozenset({"candidate", "looking", "preparing", *LEADING})
# What a site shows, or writes, once something is decided.
_DECIDED = frozenset({"committed", "applied", "executed", "chosen", "decision"})


def jump_targets(trace: Trace, broken: Iterable[int]) -> dict[str, list[int]]:
    """Numbers of events by kind, each list ascending.

    message: each send. election: a site begins to seek votes, or to lead, or to ask for votes. commit: a site takes
    something for decided. fault, note, violation: as named; `broken` has the events at which a check broke.
    phase: where the run enters another part: calls and answers, faults and what ends them, elections.
    """
    found: dict[str, list[int]] = {
        "message": [], "phase": [], "election": [], "commit": [], "fault": [], "note": [],
        "violation": sorted(set(broken)),
    }  # fmt: skip
    states: dict[str, dict[str, object]] = {}
    started: set[str] = set()
    votes: set[tuple[str, str]] = set()
    for event in trace.events:
        before = states.get(event["n"], {})
        follow_state(states, event)
        kind, number = event["k"], event["i"]
        elects = _elects(event, before, votes)
        if kind == "send":
            found["message"].append(number)
        if elects:
            found["election"].append(number)
        if _decides(event):
            found["commit"].append(number)
        if kind in FAULTS:
            found["fault"].append(number)
        if kind == "note":
            found["note"].append(number)
        again = kind == "start" and event["n"] in started
        if kind == "start":
            started.add(event["n"])
        if elects or again or kind in FAULTS or kind in ("heal", "resume", "call", "reply", "note"):
            found["phase"].append(number)
    return found


def _elects(event: Event, before: Mapping[str, object], votes: set[tuple[str, str]]) -> bool:
    if event["k"] == "state":
        return event.get("role") in _SEEKING and event.get("role") != before.get("role")
    if event["k"] == "send" and event["role"] == "vote":
        asked = (event["n"], str(event["fields"]))  # the same question to each of the others is one
        new = asked not in votes
        votes.add(asked)
        return new
    return False


def _decides(event: Event) -> bool:
    if event["k"] == "state":
        return any(event.get(name) not in (None, 0, [], {}) for name in _DECIDED)
    return event["k"] == "write" and event["what"].partition(":")[0] in _DECIDED
