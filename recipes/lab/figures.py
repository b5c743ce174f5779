"""Figures of a run, from its trace alone: messages, bytes, syncs, answers. Times are virtual, never a machine's."""

from typing import Any

from recipes.lab.trace import Trace

HEARTBEATS = frozenset({"heartbeat", "heartbeat-reply"})


def figures(trace: Trace) -> dict[str, Any]:
    """What a run took. messages: without heartbeats; `roles` has each role's number."""
    roles: dict[str, int] = {}
    size = syncs = lost = 0
    outcomes = {"ok": 0, "fail": 0, "unknown": 0}
    for event in trace.events:
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
    return {
        "messages": sum(count for role, count in roles.items() if role not in HEARTBEATS),
        "heartbeats": sum(count for role, count in roles.items() if role in HEARTBEATS),
        "roles": dict(sorted(roles.items())),
        "lost": lost,
        "bytes": size,
        "fsyncs": syncs,
        **outcomes,
        "virtual_ms": round(trace.events[-1]["t"] / 1000, 3) if trace.events else 0.0,
    }
