"""How the cost of an operation grows with the number of servers, and with the number of znodes on one server."""

from functools import partial
from typing import NamedTuple

from benchmarks.comparison import Comparison, Part, Side, note
from benchmarks.ensemble import running
from benchmarks.load import HOT, Load
from benchmarks.report import Point

SIZES = (1, 3, 5)
ZNODES = (1_000, 100_000, 1_000_000)


class Step(NamedTuple):
    """One line of growth: gets and sets on `size` servers that hold `znodes`, all of which are asked for."""

    size: int
    znodes: int
    label: str

    @property
    def loads(self) -> dict[str, Load]:
        return {f"{op} 8x64, {self.label}": Load(op, 8, 64, self.znodes) for op in ("get", "set")}


BY_SERVERS = [Step(size, HOT, f"{size} server{'s' * (size > 1)}") for size in SIZES]
BY_ZNODES = [Step(1, znodes, f"{znodes:,} znodes") for znodes in ZNODES]


def _grow(comparison: Comparison, steps: list[Step]) -> list[Point]:
    """Microseconds per operation. Only one side runs at a time: five servers of each would not leave it room."""
    return [point for step in steps for point in _points(comparison, step)]


def _points(comparison: Comparison, step: Step) -> list[Point]:
    loads = {name: load for name, load in step.loads.items() if comparison.wanted(name)}
    if not loads:
        return []
    note(f"  {step.label}")

    def costs(side: Side) -> list[float]:
        with running(side.kind, side.directory, step.size) as ensemble:
            comparison.generator.first_write(ensemble)
            comparison.generator.fill(ensemble, step.znodes)
            comparison.generator.warm(ensemble, comparison.effort.warm_seconds)
            rates = [comparison.generator.rate(ensemble, load, comparison.effort.seconds) for load in loads.values()]
            return [1e6 / rate for rate in rates]

    rounds = comparison.alternate(costs)
    return [
        point
        for index, name in enumerate(loads)
        for point in comparison.pair(
            name, "us/op", [[cost[index] for cost in side] for side in rounds], less_is_better=True
        )
    ]


PARTS: dict[str, Part] = {"servers": partial(_grow, steps=BY_SERVERS), "znodes": partial(_grow, steps=BY_ZNODES)}
