"""Traces: what happened in a run, as lines of JSON. All views, figures and checks are functions of a trace.

The first line is the header, with the version of the format. Each line after it is one event: its number `i`, its
virtual time `t` in µs, its site `n`, its kind `k`, and what belongs to that kind; `cause` is the number of the event
that led to it. The last line has the verdict, the figures and the sha256 of all lines before it. A trace may be cut
anywhere: what is left can be read, and is known to end early.

| kind | what it has |
|---|---|
| send | id (that of the event), to, role, real (the protocol's own name), bytes, fields |
| deliver, lost | id of the message; why it is lost |
| timer | name |
| write | number, what (the key), value, bytes |
| fsync | at: begin or end; number: all writes up to this one are durable at the end |
| start | stored: what is on the disk |
| crash, power, pause, resume | |
| fault, heal, note | what; text |
| state | what has changed in what the site says of itself |
| call, reply | call: its number; client, op, label; outcome: ok, fail or unknown, value |

What a site gets (a message, a call, a sync's end, a timer that runs out, its start, its resumption) may also have
`timers`: those that the site has set then, by name, with the virtual time in µs at which each runs out, or null if the
site has ended it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from recipes.core.errors import BadArguments

VERSION = "recipes-trace/1"
KINDS = frozenset({
    "send", "deliver", "lost", "timer", "write", "fsync", "crash", "power", "start", "pause", "resume", "fault", "heal",
    "state", "call", "reply", "check", "note",
})  # fmt: skip
NEEDED: Mapping[str, Mapping[str, type]] = {
    "send": {"id": int, "to": str, "role": str, "real": str, "fields": dict},
    "deliver": {"id": int},
    "lost": {"id": int, "why": str},
    "timer": {"name": str},
    "write": {"number": int, "what": str},
    "fsync": {"at": str, "number": int},
    "start": {"stored": dict},
    "call": {"call": int, "client": str, "op": list},
    "reply": {"call": int, "outcome": str},
}
_LATEST_US = 2**53  # what a page can count exactly
_NOT_DIGESTED = ("commit",)

Event = dict[str, Any]
_line = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True)
class Trace:
    """A trace in memory.

    header: scenario, protocol, seed, sites (name to kind), settings. end: the last line; None if the trace ends early.
    """

    header: Mapping[str, Any]
    events: list[Event]
    end: Mapping[str, Any] | None = None

    @property
    def protocol(self) -> str:
        """The protocol that ran."""
        return str(self.header["protocol"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the protocol."""
        settings: Mapping[str, Any] = self.header["settings"]
        return settings

    @property
    def sites(self) -> Mapping[str, str]:
        """The kind of each site, by name."""
        sites: Mapping[str, str] = self.header["sites"]
        return sites

    @property
    def unseen(self) -> list[str]:
        """The sites of which it does not have all: of real servers, where one ran without writing its part."""
        unseen = self.header.get("unseen")
        return list(map(str, unseen)) if isinstance(unseen, list) else []

    def of_kind(self, kind: str) -> list[str]:
        """The names of all sites of a kind."""
        return [name for name, each in self.sites.items() if each == kind]


def settled(header: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Trace:
    """A trace of these events as it would be read back: tuples have become lists."""
    return Trace(json.loads(_line(header)), [json.loads(_line(event)) for event in events])


def with_commit(trace: Trace, commit: str | None) -> Trace:
    """The trace with the commit of the program that made it in its header, where that is known."""
    return trace if commit is None else replace(trace, header={**trace.header, "commit": commit})


def digest(trace: Trace) -> str:
    """The sha256 of header and events; the header's `commit` is left out."""
    header = {key: value for key, value in trace.header.items() if key not in _NOT_DIGESTED}
    hashed = sha256(_bytes(header))
    for event in trace.events:
        hashed.update(b"\n" + _bytes(event))
    return hashed.hexdigest()


def dumps(trace: Trace) -> str:
    """The text of a trace file."""
    lines = [_line(trace.header), *map(_line, trace.events)]
    if trace.end is not None:
        lines.append(_line(trace.end))
    return "\n".join(lines) + "\n"


def loads(text: str) -> Trace:
    """Read a trace file, also one that was cut. Raises BadArguments if it is damaged or has another version."""
    lines = text.split("\n")
    whole, rest = lines[:-1], lines[-1]  # what is after the last newline was cut
    if not whole:
        raise BadArguments("", f"no trace: expected a first line with the version {VERSION}")
    header = read_object(1, whole[0])
    if header.get("version") != VERSION:
        said = str(header.get("version"))[:40]
        raise BadArguments("", f"a trace of version {said!r}: this program reads {VERSION}")
    for key, type_ in (("protocol", str), ("scenario", str), ("seed", int), ("sites", dict), ("settings", dict)):
        if not isinstance(header.get(key), type_):
            raise BadArguments("", f"trace, line 1: {key} = {header.get(key)!r}: expected {type_.__name__}")
    events: list[Event] = []
    end: Event | None = None
    sent: set[int] = set()
    following: list[str] = whole[1:] + ([rest] if rest else [])
    for number, line in enumerate(following, 2):
        try:
            event = read_object(number, line)
        except BadArguments:
            if number == len(lines) and rest:
                break  # cut in the middle of this line
            raise
        if end is not None:
            raise BadArguments("", f"trace, line {number}: something comes after the end")
        if event.get("k") == "end":
            end = event
            continue
        _check(number, event, len(events), header["sites"], sent)
        events.append(event)
    trace = Trace(header, events, end)
    if end is not None and end.get("sha256") != digest(trace):
        raise BadArguments("", "the trace was changed: its events do not have the sha256 of its last line")
    return trace


def read_object(number: int, line: str) -> Event:
    """The object in a line. Raises BadArguments, which names the line, if there is none."""
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadArguments("", f"trace, line {number}: no JSON") from None
    if not isinstance(found, dict):
        raise BadArguments("", f"trace, line {number}: expected an object")
    return found


def _bytes(value: Mapping[str, Any]) -> bytes:
    return _line(value).encode("utf-8", "surrogatepass")  # JSON may have half of a pair, as \\ud800


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and infinity are no JSON


def _check(number: int, event: Event, expected: int, sites: Mapping[str, Any], sent: set[int]) -> None:
    kind = event.get("k")
    if event.get("i") != expected or not is_time(event.get("t")):
        raise BadArguments("", f"trace, line {number}: expected event {expected}, with its time")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadArguments("", f"trace, line {number}: k = {kind!r}: no kind of event")
    for key, type_ in NEEDED.get(kind, {}).items():
        if not isinstance(event.get(key), type_):
            raise BadArguments("", f"trace, line {number}: {key} = {event.get(key)!r}: expected {type_.__name__}")
    if not isinstance(event.get("n"), str) or (event["n"] not in sites and event["n"]):
        raise BadArguments("", f"trace, line {number}: no site is called {event.get('n')!r}")
    if "cause" in event and not _is_number(event["cause"], expected):
        raise BadArguments("", f"trace, line {number}: cause = {event['cause']!r}: expected an earlier event")
    if not isinstance(event.get("bytes", 0), int):
        raise BadArguments("", f"trace, line {number}: bytes = {event['bytes']!r}: expected int")
    if not _are_timers(event.get("timers", {})):
        raise BadArguments("", f"trace, line {number}: timers = {event['timers']!r}: expected times by name")
    if kind == "send":
        if event["id"] != expected:
            raise BadArguments("", f"trace, line {number}: id = {event['id']}: expected {expected}, that of the event")
        sent.add(event["id"])
    elif kind in ("deliver", "lost") and event["id"] not in sent:
        raise BadArguments("", f"trace, line {number}: message {event['id']} was never sent")


def _are_timers(value: Any) -> bool:
    return isinstance(value, dict) and all(each is None or is_time(each) for each in value.values())


def is_time(value: Any) -> bool:
    """Whether this may be a time in a trace, in µs."""
    return _is_number(value, _LATEST_US)


def _is_number(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below
