"""Makes a random scenario that breaks something as short as it can be and break the same, as a file that can be run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recipes.lab.run import Outcome, run
from recipes.lab.scenario import Scenario
from recipes.lab.steps import Step

_MOST_RUNS = 400


def shrink(scenario: Scenario, plant: str | None = None) -> Scenario:
    """The same with fewer steps: without any that is left, it breaks nothing that it broke, or enough runs were made.

    If no check breaks, the run fails some other way, such as with a call that is never answered.
    """
    first = run(scenario, plant=plant)
    steps: list[Step] = list(scenario.steps)
    runs, size = 0, max(len(steps) // 2, 1)
    while size and runs < _MOST_RUNS:
        at, before = 0, len(steps)
        while at < len(steps) and runs < _MOST_RUNS:
            fewer = steps[:at] + steps[at + size :]
            runs += 1
            if _fails_alike(first, run(replace(scenario, steps=tuple(fewer)), plant=plant)):
                steps = fewer
            else:
                at += size
        if size > 1 or len(steps) == before:
            size //= 2
    found = replace(scenario, steps=tuple(steps))
    return expecting(found, run(found, plant=plant), plant)


def expecting(scenario: Scenario, outcome: Outcome, plant: str | None) -> Scenario:
    """A scenario that goes as expected if it breaks what this run of it has broken."""
    broken = tuple(sorted(outcome.broken))
    return replace(scenario, plant=plant, breaks=broken, expects=() if broken else scenario.expects)


def _fails_alike(first: Outcome, other: Outcome) -> bool:
    if first.broken:
        return bool(first.broken.keys() & other.broken.keys())
    return bool(other.wrong) and not other.broken


def toml(scenario: Scenario) -> str:
    """A scenario of a hunt as a file: what a hunt sets, and no more."""
    lines = [
        f"protocol = {_value(scenario.protocols[0])}",
        f"title = {_value(scenario.title)}",
        f"story = {_value(scenario.story)}",
        f"seed = {scenario.seed}",
    ]
    lines += [f"plant = {_value(scenario.plant)}"] if scenario.plant else []
    lines += [f"breaks = {_value(list(scenario.breaks))}"] if scenario.breaks else []
    lines += [
        f"sites = {_value(scenario.sites)}",
        f"settings = {_value(scenario.settings)}",
        f"net = {_value({'delay_us': list(scenario.delay_us)})}",
        f"disk = {_value({'sync_us': list(scenario.sync_us)})}",
        "run = " + _value({name: getattr(scenario, name) for name in ("limit_ms", "linger_ms", "call_timeout_ms")}),
    ]
    for name, tables in (("do", scenario.steps), ("expect", scenario.expects)):
        for table in tables:
            lines += ["", f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # numbers, true, false and texts are the same in both
