"""The grammar of a scenario's steps: what a step can wait for, and what it can do."""

from collections.abc import Mapping
from typing import Any

from recipes.lab.grammar import is_number

Step = Mapping[str, Any]
MESSAGE_KEYS = frozenset({"role", "kind", "from", "to", "nth", "at"})
REPLY_KEYS = frozenset({"reply", "outcome"})
STATE_KEYS = frozenset({"state", "site"})
# An event by its number, as a run without the step has it: such a step is done beside the sequence of the others.
EVENT_KEYS = frozenset({"at_event"})
WHEN_KEYS = MESSAGE_KEYS | REPLY_KEYS | STATE_KEYS | EVENT_KEYS | {"at_ms"}
MOST_MS = 1 << 40
STAGES = ("sent", "arrives", "handled")
# What is done in the middle of an event, so that nothing comes between; all else is done as an event of its own.
OF_MESSAGE = frozenset({"drop", "hold", "delay", "duplicate"})  # done to the message that the step has waited for
AT_ONCE = OF_MESSAGE | {"crash", "power", "pause", "cut", "isolate"}
FAULTS = AT_ONCE | {"wipe", "expire", "loss", "disk", "clock", "deliver"}
ACTIONS = FAULTS | {"call", "start", "resume", "heal", "release", "note"}
UNSYNCED = ("kept", "lost", "chance")
WELL = "well"
DISKS = ("slow", "full", "failing", WELL)  # as they are from then on
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "call": ("target", "op"), "crash": ("target",), "power": ("target",), "start": ("target",), "wipe": ("target",),
    "pause": ("target",), "resume": ("target",), "isolate": ("target",), "expire": ("target", "timer"),
    "cut": ("from", "to"), "loss": ("probability",), "disk": ("target", "disk"), "clock": ("target", "by_ms"),
    "delay": ("by_ms",), "deliver": ("message",),
}  # fmt: skip
_EXAMPLES = {
    "op": ', such as ["propose", "a"]',
    "timer": ", the name of a timer",
    "probability": ", from 0 to 1",
    "disk": f": {', '.join(DISKS)}",
    "by_ms": ", a number of ms",
    "message": ", the number of the event at which it is sent",
}


def problem_of(step: Any) -> str:
    """What is wrong with a step, in words; "" if nothing is."""
    if not isinstance(step, dict):
        return f"{step!r}: expected a table"
    action = step.get("then")
    if not isinstance(action, str) or action not in ACTIONS:
        return f"then = {action!r}: expected one of {', '.join(sorted(ACTIONS))}"
    when = step.get("when", {})
    if not isinstance(when, dict):
        return f"when = {when!r}: expected a table"
    for name in _NEEDED.get(action, ()):
        if not step.get(name) and step.get(name) != 0:
            return f"{action} needs {'a target' if name == 'target' else name + _EXAMPLES.get(name, '')}"
    problem = next((why for name, value in step.items() if (why := _value(_STEP, name, value))), "")
    if action == "delay" and not problem and step["by_ms"] < 0:
        return f"by_ms = {step['by_ms']!r}: a message is delayed by a number from 0 on"
    return problem or _problem_of_when(when)


def _problem_of_when(when: Mapping[str, Any]) -> str:
    for name, value in when.items():
        if why := _value(_WHEN, name, value):
            return f"when: {why}"
    families = (MESSAGE_KEYS - {"nth"}, REPLY_KEYS, STATE_KEYS, EVENT_KEYS, {"at_ms"})
    if when and sum(1 for keys in families if when.keys() & keys) != 1:
        return "when: expected a message, a reply, a state, an event or a time, and only one of them"
    return ""


def _value(known: Mapping[str, str], name: str, value: Any) -> str:
    kind = known.get(name)
    if kind is None:
        return f"unknown key {name!r}"
    fits = {
        "sites": isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value)),
        "a text": isinstance(value, str),
        "a table": isinstance(value, dict),
        "words and numbers": isinstance(value, list) and all(isinstance(each, str | int) for each in value),
        "true or false": isinstance(value, bool),
        "a number from 0 on": is_number(value, int, 0),
        "a number from 1 on": is_number(value, int, 1),
        "the number of an event": is_number(value, int, 0),
        "a number from 0 to 1": is_number(value, int | float, 0, 1),
        "one of " + ", ".join(STAGES): value in STAGES,
        "one of " + ", ".join(UNSYNCED): value in UNSYNCED,
        "one of " + ", ".join(DISKS): value in DISKS,
        "a number of ms": is_number(value, int, -MOST_MS, MOST_MS),
    }
    return "" if fits[kind] else f"{name} = {value!r}: expected {'a site or several' if kind == 'sites' else kind}"


_STEP = {
    "then": "a text", "when": "a table", "target": "sites", "from": "sites", "to": "sites", "op": "words and numbers",
    "as": "a text", "client": "a text", "after_ms": "a number from 0 on", "one_way": "true or false",
    "unsynced": "one of " + ", ".join(UNSYNCED), "timer": "a text", "text": "a text",
    "probability": "a number from 0 to 1", "disk": "one of " + ", ".join(DISKS), "by_ms": "a number of ms",
    "message": "the number of an event",
}  # fmt: skip
_WHEN = {
    "role": "a text", "kind": "a text", "from": "sites", "to": "sites", "nth": "a number from 1 on",
    "at": "one of " + ", ".join(STAGES), "reply": "a text", "outcome": "a text", "state": "a table", "site": "sites",
    "at_event": "the number of an event", "at_ms": "a number from 0 on",
}  # fmt: skip
