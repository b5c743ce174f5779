"""All runs of a protocol with at most so many faults, with each fault at each place where it can make a difference.

A hunt draws faults by chance; this leaves out none. A run begins like one with a fault less, and then has one more: a
crash once its site has dealt with what it has got, or a message that is lost. A crash at another time, before its site
gets anything else, would be the same. Delays are those of one seed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from recipes.core.errors import BadArguments
from recipes.lab.figures import HEARTBEATS, start_of
from recipes.lab.hunt import HUNTING, calls_of, scenario_of
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import Scenario
from recipes.lab.steps import Step
from recipes.lab.trace import Event, Trace

_APART_MS = 15  # between two calls
_FAULTS_MS = 200  # how long after the last call faults may come
_QUIET_MS = 1000  # until one more call, which must succeed
_OVER = "no more faults"  # the note behind them
_DOWN_MS = 60  # how long a site is down
_CHANGES_NOTHING = ("state", "lost", "note", "fault", "heal", "crash", "power", "pause")


class Faults(NamedTuple):
    """How many of each kind a run may have. power_cuts: those after which unsynced writes are gone."""

    crashes: int = 0
    power_cuts: int = 0
    drops: int = 0


class Explored(NamedTuple):
    """One run, and the scenario that repeats it."""

    scenario: Scenario
    outcome: Outcome


def base_of(protocol: str, entries: int, sites: Mapping[str, int], plant: str | None = None) -> Scenario:
    """The run without faults: so many calls, and one more after all faults, which must succeed.

    Raises BadArguments for an unknown protocol.
    """
    if protocol not in HUNTING:
        raise BadArguments("", f"no protocol to explore is called {protocol!r}: expected one of {', '.join(HUNTING)}")
    hunted, hunting = scenario_of(protocol, 1, plant), HUNTING[protocol]
    sites = {**hunted.sites, **sites}
    steps: list[Step] = []
    for number, (target, operation) in enumerate(calls_of(protocol, entries, sites), 1):
        call = {"then": "call", "target": target, "op": operation, "when": {"at_ms": _APART_MS * number}}
        steps.append({**call, "client": f"c{target[1:]}"} if hunting.clients else call)
    over_ms = _APART_MS * entries + _FAULTS_MS
    steps.append({"then": "note", "text": _OVER, "when": {"at_ms": over_ms}})
    if hunting.last is not None:
        target, operation = hunting.last
        when = {"at_ms": over_ms + _QUIET_MS}
        steps.append({"then": "call", "target": target, "op": operation, "as": "last", "when": when})
    return replace(
        hunted, id=f"explore-{protocol}", section="hunt", sites=sites, steps=tuple(steps),
        title={"en": f"{protocol}, explored", "zh": f"{protocol}：逐一枚举"},
    )  # fmt: skip


def explore(base: Scenario, faults: Faults, make: Callable[[Scenario], Outcome] = run) -> Iterator[Explored]:
    """The run without faults, then all others: each before those that have more faults after its own.

    make: runs a scenario.
    """
    outcome = make(base)
    yield Explored(base, outcome)
    yield from _with_one_more(base, outcome, faults, start_of(outcome.trace), make)


def _with_one_more(
    scenario: Scenario, outcome: Outcome, faults: Faults, since: int, make: Callable[[Scenario], Outcome]
) -> Iterator[Explored]:
    if not any(faults):
        return
    ended: dict[tuple[str, str], int] = {}  # by kind of fault and site: its crash after an event was at this one
    for event in outcome.trace.events[since:]:
        if event["k"] == "note" and event["text"] == _OVER:
            return
        for left, steps in _faults_after(event, outcome.trace, faults):
            fault = steps[0]["then"], event["n"]
            if event["i"] < ended.get(fault, 0):
                continue  # of the same turn: the run would be the same
            longer = replace(scenario, steps=(*scenario.steps, *steps))
            found = make(longer)
            yield Explored(longer, found)
            later = found.trace.events[event["i"] + 1 :]
            ended[fault] = next((each["i"] for each in later if (each["k"], each["n"]) == fault), 0)
            yield from _with_one_more(longer, found, left, event["i"] + 1, make)


def _faults_after(event: Event, trace: Trace, faults: Faults) -> Iterator[tuple[Faults, tuple[Step, ...]]]:
    """The faults that may come right after an event, each with those that are left."""
    site, when = event["n"], {"at_event": event["i"]}
    beats = _is_heartbeat(event, trace)
    if trace.sites.get(site) in HUNTING[trace.protocol].faulty and event["k"] not in _CHANGES_NOTHING and not beats:
        back: Step = {"then": "start", "target": site, "when": when, "after_ms": _DOWN_MS}
        if faults.crashes:
            crash: Step = {"then": "crash", "target": site, "when": when}
            yield faults._replace(crashes=faults.crashes - 1), (crash, back)
        if faults.power_cuts:
            cut: Step = {"then": "power", "target": site, "unsynced": "lost", "when": when}
            yield faults._replace(power_cuts=faults.power_cuts - 1), (cut, back)
    if faults.drops and event["k"] == "send" and not beats:
        yield faults._replace(drops=faults.drops - 1), ({"then": "drop", "when": when},)


def _is_heartbeat(event: Event, trace: Trace) -> bool:
    if event["k"] not in ("send", "deliver"):
        return False
    return trace.events[event["id"]]["role"] in HEARTBEATS
