"""Rows that need fresh servers each time: start, memory, the worst pause. The same for one server and for three."""

from statistics import mean
from time import perf_counter

from benchmarks.comparison import Comparison, Side
from benchmarks.ensemble import running
from benchmarks.load import COLD, Load
from benchmarks.report import Point

PAUSE_ZNODES = 500_000


def start(comparison: Comparison, size: int, target: float) -> list[Point]:
    """Fresh processes on empty directories, to the first acknowledged create."""

    def seconds(side: Side) -> float:
        begun = perf_counter()
        with running(side.kind, side.directory, size) as ensemble:
            comparison.generator.first_write(ensemble)
            return perf_counter() - begun

    return comparison.row("start to first write", "s", seconds, target, less_is_better=True)


def memory(comparison: Comparison, size: int, empty_target: float, full_target: float) -> list[Point]:
    """Mean resident memory of a server: after the first write, and with 100,000 znodes of 100 bytes."""
    names = "resident, empty", f"resident, {COLD:,} znodes"
    if not any(map(comparison.wanted, names)):
        return []

    def resident(side: Side) -> tuple[float, float]:
        with running(side.kind, side.directory, size) as ensemble:
            comparison.generator.first_write(ensemble)
            ensemble.leader()
            empty = mean(server.resident_mb for server in ensemble.servers)
            comparison.generator.fill(ensemble, COLD)
            return empty, mean(server.resident_mb for server in ensemble.servers)

    rounds = comparison.alternate(resident)
    empty, full = ([[value[index] for value in side] for side in rounds] for index in (0, 1))
    return [
        *comparison.pair(names[0], "MiB", empty, empty_target, less_is_better=True),
        *comparison.pair(names[1], "MiB", full, full_target, less_is_better=True),
    ]


def pause(comparison: Comparison) -> list[Point]:
    """The slowest reply to one sequential creator beside 500,000 znodes."""

    def worst_ms(side: Side) -> float:
        with running(side.kind, side.directory) as ensemble:
            comparison.generator.first_write(ensemble)
            comparison.generator.fill(ensemble, PAUSE_ZNODES)
            load = Load("create", 1, 1, PAUSE_ZNODES)
            return comparison.generator.run(ensemble, load, comparison.effort.seconds)["max_us"] / 1000

    return comparison.row(f"worst pause, {PAUSE_ZNODES:,} znodes", "ms", worst_ms, less_is_better=True)
