"""Figures of a run, from its trace alone: messages, bytes, syncs, answers. Times are virtual, never a machine's."""

from typing import Any

from recipes.lab.staleness import oldest_stale_ms
from recipes.lab.trace import Event, Trace

HEARTBEATS = frozenset({"heartbeat", "heartbeat-reply"})
READY = "ready"  # the note at which the servers serve


def figures(trace: Trace) -> dict[str, Any]:
    """What a run took.

    messages: without heartbeats; `roles` has each role's number. delays, fsyncs_on_path: the most messages and syncs,
    one after the other, between a call and its answer. revoted: slots that were proposed under more than one number.
    holes: the most slots that were not chosen below one that was, at one site. oldest_stale_ms: how long what a client
    read had been replaced.
    """
    roles: dict[str, int] = {}
    size = syncs = lost = 0
    outcomes = {"ok": 0, "fail": 0, "unknown": 0}
    counted = trace.events[start_of(trace) :]
    for event in counted:
        kind = event["k"]
        if kind == "send":
            roles[event["role"]] = roles.get(event["role"], 0) + 1
            size += event.get("bytes", 0)
        elif kind == "fsync" and event["at"] == "begin":
            syncs += 1
        elif kind == "lost":
            lost += 1
        elif kind == "reply":
            outcomes[event["outcome"]] = outcomes.get(event["outcome"], 0) + 1
    paths = [path_to(trace, event["i"]) for event in counted if event["k"] == "reply" and event["outcome"] == "ok"]
    return {
        "delays": max((delays for delays, _ in paths), default=0),
        "fsyncs_on_path": max((on_path for _, on_path in paths), default=0),
        "messages": sum(count for role, count in roles.items() if role not in HEARTBEATS),
        "heartbeats": sum(count for role, count in roles.items() if role in HEARTBEATS),
        "roles": dict(sorted(roles.items())),
        "lost": lost,
        "bytes": size,
        "fsyncs": syncs,
        **outcomes,
        "revoted": _revoted(counted),
        "holes": max((_holes(event.get("chosen")) for event in counted if event["k"] == "state"), default=0),
        "oldest_stale_ms": oldest_stale_ms(trace),
        "virtual_ms": round(trace.events[-1]["t"] / 1000, 3) if trace.events else 0.0,
    }


def _revoted(events: list[Event]) -> int:
    proposed: dict[str, set[str]] = {}
    for event in events:
        if event["k"] == "send" and event["role"] == "accept" and "slot" in event["fields"]:
            slot, number = event["fields"]["slot"], event["fields"].get("epoch")
            proposed.setdefault(str(slot), set()).add(str(number))
    return sum(1 for numbers in proposed.values() if len(numbers) > 1)


def _holes(chosen: Any) -> int:
    slots = [slot for slot in chosen if isinstance(slot, int)] if isinstance(chosen, list) else []
    return max(slots) - len(set(slots)) if slots else 0


def start_of(trace: Trace) -> int:
    """The event from which figures count: the one behind the note that the servers serve; else the first."""
    return next((each["i"] + 1 for each in trace.events if each["k"] == "note" and each.get("text") == READY), 0)


def path_to(trace: Trace, number: int | None) -> tuple[int, int]:
    """How many messages and syncs, one after the other, led to an event, back to the call that began it."""
    delays = syncs = 0
    while number is not None:
        event = trace.events[number]
        if event["k"] == "call":
            break
        if event["k"] == "deliver":
            delays += 1
            number = event["id"]
        elif event["k"] == "fsync" and event["at"] == "end":
            syncs += 1
            number = event.get("cause")
        else:
            number = event.get("cause")
    return delays, syncs
