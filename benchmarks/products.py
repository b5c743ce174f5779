"""Whole products: our recipes on our servers, kazoo on Apache's, redis-py on one redis-server."""

from benchmarks import barriers, redis_py
from benchmarks.comparison import Comparison, note
from benchmarks.locks import rate as lock_rate
from benchmarks.queues import rates as queue_rates
from benchmarks.report import Point, line

LOCK = "Lock, 1 worker, confirmed release, whole products"
UNCONFIRMED = "Lock, 1 worker, confirm=False, whole products"  # ours; the others wait for the answer to their release
QUEUE, BARRIER = "Queue 4x4, whole products", "Barrier, whole products"
LOCKS = {LOCK: "ours", UNCONFIRMED: "unconfirmed"}
ITEMS, PARTIES, ROUNDS = 2_000, 10, 40


def products(comparison: Comparison, size: int) -> list[Point]:
    """Rows against kazoo on Apache, and against redis where it is installed."""
    wanted = [row for row in (*LOCKS, QUEUE, BARRIER) if comparison.wanted(row)]
    if not wanted:
        return []
    missing = redis_py.why_missing()
    if missing:
        note(f"  without redis: {missing}")
    with comparison.all_running(size) as ensembles:
        ours, apache = [ensemble.ports[0] for ensemble in list(ensembles.values())[:2]]
        points = []
        for row in wanted:
            note(f"  {row}")
            points += _row(comparison, row, ours, apache, redis=missing is None)
        return points


def _row(comparison: Comparison, row: str, ours: int, apache: int, *, redis: bool) -> list[Point]:
    seconds, rounds = comparison.effort.seconds, comparison.effort.rounds
    found: list[list[float]] = [[], [], []]
    for turn in range(rounds + 1):
        path = f"/products/{row.split()[0]}-{turn}"
        for at, kind, port in ((0, "ours", ours), (1, "kazoo", apache)):
            if row in LOCKS:
                found[at].append(lock_rate(LOCKS[row] if kind == "ours" else kind, port, 1, seconds))
            elif row == QUEUE:
                found[at].append(queue_rates(kind, port, path, 4, ITEMS, seconds * 4)[1])
            else:
                found[at].append(barriers.rate(kind, port, path, PARTIES, 1, ROUNDS))
        if redis and row != BARRIER:
            with redis_py.running(comparison.sides[0].directory) as port:
                if row in LOCKS:
                    found[2].append(redis_py.lock_rate(port, 1, seconds))
                else:
                    found[2].append(redis_py.queue_rates(port, 4, ITEMS, seconds * 4)[1])
    found = [side[1:] for side in found]  # the first turn was to warm both sides: a JVM has yet to compile
    unit, target = {
        LOCK: ("acquire+release/s", 4.0),
        UNCONFIRMED: ("acquire+release/s", 4.0),
        QUEUE: ("items/s", 60.0),
        BARRIER: ("rounds/s", None),
    }[row]
    points = [Point(row, unit, found[0], found[1], target, peer="kazoo on apache")]
    if found[2]:
        points.append(Point(row, unit, found[0], found[2], peer="redis"))
    for point in points:
        note(f"    {line(point)}")
    return points
