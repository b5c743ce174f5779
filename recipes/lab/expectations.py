"""What a scenario expects of its trace. Each expectation is a small table; see docs/lab.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from recipes.core.errors import BadArguments
from recipes.lab.trace import Event, Trace

_COUNTS = ("is", "at_least", "at_most")


def misses(trace: Trace, expects: tuple[Mapping[str, Any], ...]) -> list[str]:
    """A sentence for each expectation that the trace does not fulfil."""
    return [why for expected in expects if (why := _missed(trace, expected))]


def _missed(trace: Trace, expected: Mapping[str, Any]) -> str:
    if "reply" in expected:
        return _reply(trace, expected)
    if "events" in expected:
        return _events(trace, expected)
    if "shown" in expected:
        return _shown(trace, expected)
    if "same" in expected or "differ" in expected:
        return _compared(trace, expected)
    raise BadArguments("", f"expect {dict(expected)}: no such expectation")


def _reply(trace: Trace, expected: Mapping[str, Any]) -> str:
    label = expected["reply"]
    call = next((event["call"] for event in trace.events if event["k"] == "call" and event.get("label") == label), None)
    if call is None:
        return f"call {label} was never made"
    reply = next((event for event in trace.events if event["k"] == "reply" and event["call"] == call), None)
    if reply is None:
        return f"call {label} was never answered"
    for key in ("outcome", "value"):
        if key in expected and reply[key] != expected[key]:
            return f"call {label}: {key} is {reply[key]!r}, expected {expected[key]!r}"
    return ""


def _events(trace: Trace, expected: Mapping[str, Any]) -> str:
    wanted = expected["events"]
    after = first(trace, expected["after"]) if "after" in expected else -1
    before = first(trace, expected["before"]) if "before" in expected else len(trace.events)
    if after is None or before is None:
        return f"no event is {dict(expected['after' if after is None else 'before'])}"
    count = sum(1 for number in _matching(trace, wanted) if after < number < before)
    asked = {key: _number(trace, expected[key]) for key in _COUNTS if key in expected} or {"at_least": 1}
    if (
        asked.get("is", count) == count
        and count >= asked.get("at_least", count)
        and count <= asked.get("at_most", count)
    ):
        return ""
    return f"{count} events are {dict(wanted)}, expected {asked}"


def _number(trace: Trace, wanted: Any) -> int:
    """A number; or as many times the servers (`per_site`), or the other servers (`per_other`), as a table says."""
    if isinstance(wanted, dict):
        kind = next(iter(trace.sites.values()))
        count = len(trace.of_kind(kind))
        return int(wanted.get("per_site", 0) * count + wanted.get("per_other", 0) * (count - 1))
    return int(wanted)


def _shown(trace: Trace, expected: Mapping[str, Any]) -> str:
    state = final_states(trace).get(expected["site"], {})
    for key, value in expected["shown"].items():
        if state.get(key) != value:
            return f"{expected['site']} shows {key} = {state.get(key)!r}, expected {value!r}"
    return ""


def _compared(trace: Trace, expected: Mapping[str, Any]) -> str:
    key = expected.get("same", expected.get("differ"))
    states = final_states(trace)
    values = [states.get(site, {}).get(key) for site in expected["sites"]]
    same = all(value == values[0] for value in values)
    if same != ("same" in expected):
        wanted = "the same" if "same" in expected else "different ones"
        return f"{key} at {', '.join(expected['sites'])} is {values}, expected {wanted}"
    return ""


def final_states(trace: Trace) -> dict[str, dict[str, Any]]:
    """What each site says of itself at the end, or said before it went down."""
    states: dict[str, dict[str, Any]] = {}
    for event in trace.events:
        follow_state(states, event)
    return states


def follow_state(states: dict[str, dict[str, Any]], event: Event) -> None:
    """Take in an event that may change what a site says of itself."""
    if event["k"] == "start":
        states[event["n"]] = {}
    elif event["k"] == "state":
        changes = {key: value for key, value in event.items() if key not in ("i", "t", "n", "k", "cause")}
        states[event["n"]] = states.get(event["n"], {}) | changes


def first(trace: Trace, wanted: Mapping[str, Any]) -> int | None:
    """The number of the first event that has all that is wanted; None if there is none."""
    return next(_matching(trace, wanted), None)


def _matching(trace: Trace, wanted: Mapping[str, Any]) -> Iterator[int]:
    """The numbers of the events that have all that is wanted; of a state, as it is then; of a delivery, its message."""
    states: dict[str, dict[str, Any]] = {}
    nth, seen = wanted.get("nth"), 0
    labels: dict[int, Any] = {}
    for event in trace.events:
        follow_state(states, event)
        if event["k"] == "call":
            labels[event["call"]] = event.get("label")
        facts: Mapping[str, Any] = event
        if event["k"] == "state":
            facts = states[event["n"]] | {"n": event["n"], "k": "state"}
        elif event["k"] in ("deliver", "lost"):
            sent = trace.events[event["id"]]
            facts = {**sent, "from": sent["n"], **event}
        elif event["k"] == "reply":
            facts = {**event, "label": labels.get(event["call"])}
        if all(_is(trace, key, facts.get(key), value) for key, value in wanted.items() if key != "nth"):
            seen += 1
            if nth is None or seen == nth:
                yield event["i"]


def _is(trace: Trace, key: str, found: Any, wanted: Any) -> bool:
    if key in ("n", "to", "from") and isinstance(wanted, str) and wanted not in trace.sites:
        return trace.sites.get(found) == wanted
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(found.get(name) == value for name, value in wanted.items())
    return bool(found == wanted)
