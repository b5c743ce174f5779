"""A trace as text: a line per event that a reader wants to see. Heartbeats, syncs and timers are left out."""

from collections.abc import Iterator
from typing import Any

from recipes.lab.figures import HEARTBEATS
from recipes.lab.trace import Event, Trace

_FRAME = ("i", "t", "n", "k", "cause")


def transcript(trace: Trace, *, heartbeats: bool = False) -> str:
    """The events in words, one a line."""
    return "".join(f"{line}\n" for _, line in spoken(trace, heartbeats=heartbeats))


def spoken(trace: Trace, *, heartbeats: bool = False) -> Iterator[tuple[Event, str]]:
    """Each of these events, and its line."""
    for event in trace.events:
        said = _said(trace, event, heartbeats)
        if said:
            yield event, f"{event['t'] / 1000:10.3f} ms  {event['n'] or '-':<4} {said}"


def brief(value: Any) -> str:
    """A value in few characters: an epoch [3, "p1"] as 3.p1, a list without quotes."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], int) and isinstance(value[1], str):
        return f"{value[0]}.{value[1]}" if value[1] else str(value[0])
    if isinstance(value, list):
        return "[" + " ".join(map(brief, value)) + "]"
    if isinstance(value, dict):
        return "{" + " ".join(f"{key}={brief(each)}" for key, each in value.items()) + "}"
    return "-" if value is None else str(value)


def said(trace: Trace, event: Event) -> str:
    """One event in words, whatever its kind."""
    return _said(trace, event, True) or _said_of_site(event)


def _said_of_site(event: Event) -> str:
    """What a transcript leaves out: syncs, timers, and what a site says of itself."""
    kind = event["k"]
    if kind == "fsync":
        return "begins a sync" if event["at"] == "begin" else f"has synced up to write {event['number']}"
    if kind == "timer":
        return f"timer {event['name']} runs out"
    if kind == "state":
        return "shows " + " ".join(f"{name}={brief(value)}" for name, value in event.items() if name not in _FRAME)
    return str(kind)


def _said(trace: Trace, event: Event, heartbeats: bool) -> str:
    kind = event["k"]
    if kind in ("send", "deliver", "lost"):
        sent = event if kind == "send" else trace.events[event["id"]]
        if sent["role"] in HEARTBEATS and not heartbeats:
            return ""
        fields = " ".join(f"{name}={brief(value)}" for name, value in sent["fields"].items() if value is not None)
        if kind == "send":
            return f"--> {event['to']:<4} {event['role']:<13} {event['real']} {fields}".rstrip()
        from_whom = f"{sent['n']:<4} {sent['role']:<13} {sent['real']}"
        return f"<-- {from_whom}" if kind == "deliver" else f"x-- {from_whom} lost: {event['why']}"
    if kind == "write":
        return f"writes {event['what']} = {brief(event.get('value'))}"
    if kind in ("crash", "power", "start", "pause", "resume"):
        return {
            "crash": "crashes",
            "power": "loses power",
            "start": "starts",
            "pause": "stands still",
            "resume": "goes on",
        }[kind]
    if kind in ("fault", "heal"):
        return f"{kind}: {event.get('what', '')} {' '.join(map(str, event.get('directions') or []))}".rstrip()
    if kind == "note":
        return f"note: {event.get('text', '')}"
    if kind == "call":
        return f"call {event['call']} of {event['client']}: {brief(event['op'])}"
    if kind == "reply":
        return f"call {event['call']} is answered: {event['outcome']} {brief(event.get('value'))}"
    return ""
