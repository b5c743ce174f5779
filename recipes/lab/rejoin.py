"""What it takes until a site that was away has caught up, from a trace alone. Only sites that apply a log have one."""

from typing import Any, NamedTuple

from recipes.lab.expectations import follow_state
from recipes.lab.figures import HEARTBEATS
from recipes.lab.trace import Event, Trace

_AWAY = {"start": ("crash", "power"), "resume": ("pause",)}  # what ends an absence, and what began it
_SEEKING = frozenset({"looking", "candidate", "preparing"})


class Rejoin(NamedTuple):
    """The first site that comes back, from then until it has applied what all others together had applied.

    messages, bytes: to it and from it, without heartbeats. fsyncs: at its disk. missed: entries that it wrote. cut:
    entries that it deleted, which nobody else has. ms: virtual.
    """

    site: str
    messages: int
    bytes: int
    fsyncs: int
    missed: int
    cut: int
    ms: float


def rejoin(trace: Trace) -> Rejoin | None:
    """The first one of a run; None if nobody comes back, or does not catch up."""
    states: dict[str, dict[str, Any]] = {}
    away: dict[str, str] = {}
    back: Event | None = None
    for event in trace.events:
        kind, site = event["k"], event["n"]
        if kind in ("crash", "power", "pause"):
            away[site] = kind
        follow_state(states, event)
        if kind in _AWAY and away.pop(site, None) in _AWAY[kind]:
            back = event
            break
    if back is None:
        return None
    site = back["n"]
    wanted = max((applied_of(state) for name, state in states.items() if name != site and name not in away), default=-1)
    if wanted < 0:
        return None
    for event in trace.events[back["i"] :]:
        follow_state(states, event)
        state = states.get(site, {})
        if event["n"] == site and state.get("role") not in _SEEKING and applied_of(state) >= wanted:
            return _counted(trace, back, event)
    return None


def _counted(trace: Trace, back: Event, done: Event) -> Rejoin:
    site, messages, size, syncs, missed, cut = back["n"], 0, 0, 0, 0, 0
    for event in trace.events[back["i"] : done["i"] + 1]:
        kind = event["k"]
        if kind == "send" and event["role"] not in HEARTBEATS and site in (event["n"], event["to"]):
            messages += 1
            size += event.get("bytes", 0)
        elif event["n"] == site and kind == "fsync" and event["at"] == "begin":
            syncs += 1
        elif event["n"] == site and kind == "write" and event["what"].partition(":")[0] in ("log", "accepted"):
            cut += event.get("value") is None
            missed += event.get("value") is not None
    return Rejoin(site, messages, size, syncs, missed, cut, round((done["t"] - back["t"]) / 1000, 3))


def applied_of(state: dict[str, Any]) -> int:
    """How far a site has applied its log: a number, or a zxid; -1 if it does not say."""
    applied = state.get("applied")
    if isinstance(applied, str) and applied.startswith("0x"):
        return int(applied, 16)
    return applied if isinstance(applied, int) else -1
