"""Runs a plan and reports the result; shrinks a failing plan to a smaller one that fails in the same way."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from recipes.core.errors import InvariantBroken
from recipes.core.protocols import DEFAULT
from recipes.core.sim.chance import Sources
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.plan import Plan
from recipes.core.sim.protocols import find_simulated

T = TypeVar("T")


class Verdict(NamedTuple):
    """The result of a run.

    problem: the violation, beginning with the property's name; None without one.
    counts: how often each fault, packet, state and operation happened. at_us: virtual time at the end.
    recovered_us: how long recovery took once the faults were over; -1 if it did not end. notes: the last events.
    """

    problem: str | None
    counts: dict[str, int]
    events: int
    at_us: int
    recovered_us: int
    trace: str
    notes: list[str]

    @property
    def broken(self) -> str:
        """The name of the property that was broken, or of the error; empty without a violation."""
        return self.problem.split()[0] if self.problem else ""


def try_plan(plan: Plan, sources: Sources, protocol: str = DEFAULT) -> Verdict:
    """Run a plan to its end, or until a property is broken."""
    ensemble = Ensemble(plan, sources, find_simulated(protocol))
    problem = None
    try:
        ensemble.run()
    except InvariantBroken as error:
        problem = str(error)
    except Exception as error:  # an exception out of a server's code would have ended the server
        problem = f"{type(error).__name__} {error}"
    return Verdict(
        problem,
        ensemble.all_counts(),
        ensemble.events,
        ensemble.timeline.now_us,
        ensemble.recovered_us,
        ensemble.trace,
        list(ensemble.notes),
    )


def shrink(plan: Plan, sources: Sources, runs: int = 400, protocol: str = DEFAULT) -> tuple[Plan, Verdict]:
    """A smaller plan that breaks the same property, and its verdict.

    sources: makes new random sources for each run. runs: the most runs to try.

    Removes first whole kinds of faults, then everything after the failure, then single faults and operations, and at
    last clock drift, split packets and writes torn by sectors.
    """
    budget = [runs]
    best = try_plan(plan, sources, protocol)
    wanted = best.broken

    def fails(candidate: Plan) -> bool:
        nonlocal plan, best
        if budget[0] <= 0:
            return False
        budget[0] -= 1
        verdict = try_plan(candidate, sources, protocol)
        if verdict.broken != wanted:
            return False
        plan, best = candidate, verdict
        return True

    for kind in dict.fromkeys(fault.kind for fault in plan.faults):
        fails(plan._replace(faults=[fault for fault in plan.faults if fault.kind != kind]))
    end_us = best.at_us
    fails(
        plan._replace(
            faults=[fault for fault in plan.faults if fault.at_us <= end_us],
            operations=[operation for operation in plan.operations if operation.at_us <= end_us],
        )
    )
    _reduce(plan.faults, lambda faults: fails(plan._replace(faults=faults)))
    _reduce(plan.operations, lambda operations: fails(plan._replace(operations=operations)))
    fails(plan._replace(rates_pm=(1000,) * len(plan.rates_pm)))
    fails(plan._replace(cut_probability=0.0))
    fails(plan._replace(in_order=True))
    return plan, best


def _reduce(items: Sequence[T], fails: Callable[[list[T]], bool]) -> None:
    """Leave out as many items as possible: halves, then quarters, down to single items."""
    kept = list(items)
    size = max(1, len(kept) // 2)
    while kept:
        at = 0
        while at < len(kept):
            candidate = kept[:at] + kept[at + size :]
            if fails(candidate):
                kept = candidate
            else:
                at += size
        if size == 1:
            return
        size = max(1, size // 2)
