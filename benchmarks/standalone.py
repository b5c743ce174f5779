"""One server of ours against one of Apache's."""

from functools import partial
from typing import NamedTuple

from benchmarks import whole
from benchmarks.barriers import rate as barrier_rate
from benchmarks.comparison import Comparison, Part, note
from benchmarks.load import COLD, HOT, Load
from benchmarks.locks import in_process
from benchmarks.products import products
from benchmarks.queues import rates
from benchmarks.report import Point, line

LOADS = (
    Load("get", 8, 64, target=4.0),
    Load("get", 8, 64, COLD, target=4.0),
    Load("set", 8, 64, target=1.5),
    Load("set", 8, 64, COLD, target=1.5),
    Load("create", 8, 64, target=1.1),
    Load("mixed", 8, 64),
    Load("get", 64, 1, target=1.1),
    Load("set", 64, 1, target=1.1),
    Load("get", 1, 1, target=1.1),
    Load("set", 1, 1, target=1.1),
)


class LockPair(NamedTuple):
    """Our Lock on `ours_on` against `their_kind` on Apache; see `benchmarks.locks` for what is measured."""

    what: str
    workers: int
    ours_on: str
    our_kind: str
    their_kind: str
    target: float | None = None
    cpu_target: float | None = None

    @property
    def name(self) -> str:
        who = {"rate": "worker(s), as many paths", "handover": "waiters at one path", "leaving": "sessions, one leaves"}
        how = ", confirm=False" if self.our_kind == "unconfirmed" else ""
        return f"Lock {self.workers} {who[self.what]}, ours on {self.ours_on}{how}"


LOCKS = (
    LockPair("rate", 1, "apache", "ours", "kazoo", target=2.5),
    LockPair("rate", 1, "apache", "unconfirmed", "kazoo", target=2.5),
    LockPair("rate", 16, "apache", "ours", "kazoo", target=5.0),
    LockPair("rate", 16, "apache", "unconfirmed", "kazoo", target=5.0),
    LockPair("handover", 10, "apache", "ours", "kazoo", target=1.0, cpu_target=0.5),
    LockPair("leaving", 2, "apache", "ours", "kazoo", target=0.5),
    LockPair("rate", 1, "ours", "ours", "ours"),
    LockPair("rate", 16, "ours", "ours", "ours"),
)


class QueueRow(NamedTuple):
    """Our Queue against kazoo's LockingQueue on one Apache: `workers` processes put `items`, then as many take them."""

    kind: str  # of ours: "ours" consumes as a stream, "receive" one by one
    workers: int
    items: int
    target: float

    @property
    def name(self) -> str:
        how = "consume" if self.kind == "ours" else "receive"
        return f"Queue {how} {self.workers}x{self.workers}, {self.items:,} items, ours on apache"


QUEUES = (
    QueueRow("ours", 1, 1_000, 15.0),
    QueueRow("ours", 1, 10_000, 15.0),
    QueueRow("ours", 4, 1_000, 30.0),
    QueueRow("ours", 4, 10_000, 30.0),
    QueueRow("receive", 1, 1_000, 1.0),
)


class BarrierRow(NamedTuple):
    """Our DoubleBarrier against kazoo's on one Apache: ten parties, each with a client of its own."""

    processes: int
    rounds: int
    target: float

    @property
    def name(self) -> str:
        return f"Barrier {PARTIES} parties in {self.processes} process(es), ours on apache"


PARTIES = 10
BARRIERS = (BarrierRow(1, 40, 4.0), BarrierRow(10, 40, 4.0))


def _wire(comparison: Comparison) -> list[Point]:
    if not any(comparison.wanted(load.name) for load in LOADS):
        return []
    with comparison.all_running() as ensembles:
        comparison.warm(ensembles, COLD)
        return comparison.loads(LOADS, ensembles)


def _locks(comparison: Comparison) -> list[Point]:
    pairs = [pair for pair in LOCKS if comparison.wanted(pair.name)]
    if not pairs:
        return []
    with comparison.all_running() as ensembles:
        comparison.warm(ensembles, HOT)
        ours, apache = list(ensembles.values())[:2]
        for kind in ("ours", "kazoo"):  # a JVM has yet to compile the way of a lock
            for ensemble in (ours, apache):
                in_process(kind, "rate", ensemble.ports[0], 16, comparison.effort.warm_seconds / 2)
        points = []
        for pair in pairs:
            note(f"  {pair.name}")
            on = apache if pair.ours_on == "apache" else ours
            values: list[list[dict[str, float]]] = [[], []]
            turns = [(values[0], pair.our_kind, on), (values[1], pair.their_kind, apache)]
            for number in range(comparison.effort.rounds):
                for found, kind, ensemble in turns if number % 2 == 0 else reversed(turns):
                    found.append(
                        in_process(kind, pair.what, ensemble.ports[0], pair.workers, comparison.effort.seconds)
                    )
            points += _points(pair, *values)
        return points


def _points(pair: LockPair, ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> list[Point]:
    """The row of a pair, and where there is a target for it that of the CPU time."""
    peer = f"{pair.their_kind} on apache"

    def both(key: str) -> tuple[list[float], list[float]]:
        return [each[key] for each in ours], [each[key] for each in theirs]

    unit, key = ("ms", "ms") if pair.what == "leaving" else ("acquire+release/s", "ops_per_s")
    rows = [Point(pair.name, unit, *both(key), pair.target, less_is_better=key == "ms", peer=peer)]
    if pair.cpu_target is not None:
        name = f"{pair.name}: CPU of the client"
        rows.append(Point(name, "us each", *both("cpu_us_per_op"), pair.cpu_target, less_is_better=True, peer=peer))
    return rows


def _queues(comparison: Comparison) -> list[Point]:
    rows = [row for row in QUEUES if comparison.wanted(row.name)]
    if not rows:
        return []
    with comparison.all_running() as ensembles:
        comparison.warm(ensembles, HOT)
        apache = list(ensembles.values())[1]
        points = []
        for number, row in enumerate(rows):
            note(f"  {row.name}")
            values: dict[str, list[list[float]]] = {"put": [[], []], "consumed": [[], []]}
            for turn in range(comparison.effort.rounds):
                sides = [(0, row.kind), (1, "kazoo")]
                for side, kind in sides if turn % 2 == 0 else reversed(sides):
                    path = f"/queues/{number}-{turn}-{kind}"
                    found = rates(kind, apache.ports[0], path, row.workers, row.items, comparison.effort.seconds * 4)
                    for what, rate in zip(values, found, strict=True):
                        values[what][side].append(rate)
            for what, (ours, theirs) in values.items():
                target = row.target if what == "consumed" else None
                points.append(Point(f"{row.name}: {what}", "items/s", ours, theirs, target, peer="kazoo on apache"))
                note(f"    {line(points[-1])}")
        return points


def _barriers(comparison: Comparison) -> list[Point]:
    rows = [row for row in BARRIERS if comparison.wanted(row.name)]
    if not rows:
        return []
    with comparison.all_running() as ensembles:
        comparison.warm(ensembles, HOT)
        apache = list(ensembles.values())[1].ports[0]
        points = []
        for row in rows:
            note(f"  {row.name}")
            values: dict[str, list[float]] = {"ours": [], "kazoo": []}
            for turn in range(comparison.effort.rounds):
                for kind, found in values.items() if turn % 2 == 0 else reversed(values.items()):
                    path = f"/barriers/{row.processes}-{turn}-{kind}"
                    found.append(barrier_rate(kind, apache, path, PARTIES, row.processes, row.rounds))
            target = row.target
            points.append(Point(row.name, "rounds/s", values["ours"], values["kazoo"], target, peer="kazoo on apache"))
            note(f"    {line(points[-1])}")
        return points


PARTS: dict[str, Part] = {
    "wire": _wire,
    "locks": _locks,
    "queues": _queues,
    "barriers": _barriers,
    "products": partial(products, size=1),
    "start": partial(whole.start, size=1, target=0.8),
    "memory": partial(whole.memory, size=1, empty_target=0.7, full_target=0.5),
    "pause": whole.pause,
}
