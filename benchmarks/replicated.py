"""Three servers of ours against three of Apache's and three of etcd."""

from collections.abc import Sequence
from functools import partial
from statistics import median
from time import monotonic

from benchmarks import whole
from benchmarks.comparison import Comparison, Part, Side, note
from benchmarks.ensemble import Ensemble
from benchmarks.failover import failover_ms
from benchmarks.load import HOT, Load
from benchmarks.products import products
from benchmarks.report import Point

SIZE = 3
LOADS = (
    Load("set", 8, 64, target=2.0),
    Load("create", 8, 64, target=2.0),
    Load("get", 8, 64, target=8.0),
    Load("mixed", 8, 64, target=4.0),
    Load("set", 64, 1, target=1.5),
    Load("get", 64, 1),
    Load("set", 1, 1, at="leader", target=1.2),
    Load("set", 1, 1, at="follower"),
    Load("lock", 64, 1, target=2.0),
)
WATCHERS, IDLE = 1_000, 2_000
FAN_OUT = f"watch fan-out, {WATCHERS:,} watchers"
IDLE_CPU, IDLE_MEMORY = f"CPU of the leader, {IDLE:,} idle sessions", f"resident leader, {IDLE:,} idle sessions"
FAILOVER, WORST_FAILOVER = "fail-over, p50", "fail-over, max"
P50_CEILING_MS = 400.0


def _wire(comparison: Comparison) -> list[Point]:
    names = [*(load.name for load in LOADS), FAN_OUT, IDLE_CPU, IDLE_MEMORY]
    if not any(map(comparison.wanted, names)):
        return []
    with comparison.all_running(SIZE) as ensembles:
        comparison.warm(ensembles, HOT)
        points = comparison.loads(LOADS, ensembles)
        points += _fan_out(comparison, ensembles)
        return points + _idle(comparison, ensembles)


def _fan_out(comparison: Comparison, ensembles: dict[Side, Ensemble]) -> list[Point]:
    def milliseconds(side: Side) -> float:
        return comparison.generator.fan_out_ms(ensembles[side], WATCHERS, comparison.effort.seconds)

    return comparison.row(FAN_OUT, "ms", milliseconds, 1.0, less_is_better=True)


def _idle(comparison: Comparison, ensembles: dict[Side, Ensemble]) -> list[Point]:
    """etcd has no sessions that ping, so it is left out."""
    if not any(map(comparison.wanted, (IDLE_CPU, IDLE_MEMORY))):
        return []
    note(f"  {IDLE_CPU}")

    def cost(side: Side) -> tuple[float, float]:
        leader = ensembles[side].leader()
        samples = comparison.generator.idle(
            ensembles[side], IDLE, comparison.effort.idle_seconds, lambda: (monotonic(), leader.cpu_seconds)
        )
        (begun, used_then), (ended, used) = samples
        return (used - used_then) * 60 / (ended - begun), leader.resident_mb

    sides = [side for side in comparison.sides if side.kind != "etcd"]
    rounds = comparison.alternate(cost, sides)
    cpu, resident = ([[value[index] for value in side] for side in rounds] for index in (0, 1))
    return [
        *comparison.pair(IDLE_CPU, "CPU s/min", cpu, less_is_better=True, sides=sides),
        *comparison.pair(IDLE_MEMORY, "MiB", resident, less_is_better=True, sides=sides),
    ]


def _failover(comparison: Comparison) -> list[Point]:
    if not any(map(comparison.wanted, (FAILOVER, WORST_FAILOVER))):
        return []
    kills = comparison.effort.kills
    with comparison.all_running(SIZE) as ensembles:
        comparison.warm(ensembles, HOT)
        rounds = comparison.alternate(lambda side: [failover_ms(ensembles[side], number) for number in range(kills)])
    return failover_points(comparison, rounds)


def failover_points(comparison: Comparison, rounds: Sequence[Sequence[Sequence[float]]]) -> list[Point]:
    """rounds: for each side and round the time of each kill, in ms.

    Sides are compared by rounds, as everything is; over all kills there is one value a side, and so no spread.
    """
    p50, worst = ([[of(times) for times in side] for side in rounds] for of in (median, max))
    every = [[took for times in side for took in times] for side in rounds]
    for side, times in zip(comparison.sides, every, strict=True):
        note(f"    {side.kind}: {' '.join(f'{took:.0f}' for took in sorted(times))}")
    kills = f"of all {len(every[0])}"
    return [
        *comparison.pair(FAILOVER, "ms", p50, 1.0, less_is_better=True, ceiling=P50_CEILING_MS),
        *comparison.pair(WORST_FAILOVER, "ms", worst, 1.0, less_is_better=True),
        *comparison.pair(f"{FAILOVER} {kills}", "ms", [[median(times)] for times in every], less_is_better=True),
        *comparison.pair(f"{WORST_FAILOVER} {kills}", "ms", [[max(times)] for times in every], less_is_better=True),
    ]


PARTS: dict[str, Part] = {
    "wire": _wire,
    "start": partial(whole.start, size=SIZE, target=0.5),
    "memory": partial(whole.memory, size=SIZE, empty_target=0.5, full_target=0.5),
    "failover": _failover,
    "products": partial(products, size=SIZE),
}
