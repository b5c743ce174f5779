"""The grammar of a scenario's tables, but for its steps: which keys there are, and what each of them has."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

Rule = tuple[str, Callable[[Any], bool]]  # what is expected, in words; whether a value is so

EXPECTED_KINDS = frozenset({"reply", "events", "shown", "same", "differ"})
_COUNTED = frozenset({"per_site", "per_other"})


def is_number(value: Any, kind: Any, lowest: float, highest: float = inf) -> bool:
    """Whether a value is a number of a kind, from `lowest` to `highest`; true and false are none."""
    return isinstance(value, kind) and not isinstance(value, bool) and lowest <= value <= highest


def is_range(value: Any) -> bool:
    """Whether a value is a number, or the lowest and the highest of some."""
    if isinstance(value, list):
        return len(value) == 2 and all(is_number(each, int, 0) for each in value) and value[0] <= value[1]
    return is_number(value, int, 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_count(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() <= _COUNTED and all(is_number(each, int | float, 0) for each in value.values())
    return is_number(value, int, 0)


_TABLE: Rule = ("a table", _is_table)
_TEXT: Rule = ("a text", _is_text)
_TEXTS: Rule = ("a list of texts", _are_texts)
_RANGE: Rule = ("a number of µs, or the lowest and the highest", is_range)
_WHOLE: Rule = ("a number from 0 on", lambda value: is_number(value, int, 0))
_COUNT: Rule = ("a number, or a table with per_site and per_other", _is_count)

_TOP: Mapping[str, Rule] = {
    "protocol": ("a name", _is_text), "protocols": ("a list of names", _are_texts), "plant": _TEXT, "inherits": _TEXT,
    "section": _TEXT, "title": _TABLE, "story": _TABLE, "sites": _TABLE, "settings": _TABLE, "net": _TABLE,
    "disk": _TABLE, "clocks_ms": _TABLE, "run": _TABLE, "breaks": _TEXTS,
    "seed": ("a number", lambda value: is_number(value, int, -inf)),
    "do": ("steps, each a [[do]]", lambda value: isinstance(value, list)),
    "expect": ("tables, each an [[expect]]", lambda value: isinstance(value, list)),
}  # fmt: skip
_INNER: Mapping[str, Mapping[str, Rule]] = {
    "net": {
        "delay_us": _RANGE, "links": _TABLE,
        "loss": ("a number from 0 to 1", lambda value: is_number(value, int | float, 0, 1)),
    },
    "disk": {"sync_us": _RANGE, "sites": _TABLE},
    "run": {"limit_ms": _WHOLE, "linger_ms": _WHOLE, "call_timeout_ms": _WHOLE},
}  # fmt: skip
_EXPECT: Mapping[str, Rule] = {
    "reply": _TEXT, "outcome": _TEXT, "value": ("a value", lambda value: True), "events": _TABLE, "is": _COUNT,
    "at_least": _COUNT, "at_most": _COUNT, "after": _TABLE, "before": _TABLE, "shown": _TABLE, "site": _TEXT,
    "same": _TEXT, "differ": _TEXT, "sites": _TEXTS,
}  # fmt: skip
_BESIDE = {"shown": "site", "same": "sites", "differ": "sites"}


def problem_of_tables(document: Mapping[str, Any]) -> str:
    """What is wrong with the tables of a scenario, in words; "" if nothing is. Steps, and texts, are not looked at."""
    problem = _problem(_TOP, document)
    for key, rules in _INNER.items():
        problem = problem or _within(key, _problem(rules, document.get(key, {})))
    for site, value in () if problem else document.get("clocks_ms", {}).items():
        if not is_number(value, int, -inf):
            problem = f"clocks_ms: {site} = {value!r}: expected a number of ms"
    return problem


def problem_of_expected(expected: Any) -> str:
    """What is wrong with an [[expect]], in words; "" if nothing is."""
    if not isinstance(expected, dict) or len(expected.keys() & EXPECTED_KINDS) != 1:
        return f"expected one of {', '.join(sorted(EXPECTED_KINDS))}"
    kind = next(iter(expected.keys() & EXPECTED_KINDS))
    beside = _BESIDE.get(kind)
    if beside is not None and not expected.get(beside):
        return f"{kind} needs {beside}"
    return _problem(_EXPECT, expected)


def _problem(rules: Mapping[str, Rule], table: Mapping[str, Any]) -> str:
    for key, value in table.items():
        if key not in rules:
            return f"unknown key {key!r}"
        wanted, fits = rules[key]
        if not fits(value):
            return f"{key} = {value!r}: expected {wanted}"
    return ""


def _within(key: str, problem: str) -> str:
    return problem and f"{key}: {problem}"
