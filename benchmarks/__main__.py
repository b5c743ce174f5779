"""`python -m benchmarks --vs apache [--quick]`: both servers side by side, rounds alternating, a table of ratios."""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.points import (
    COLD,
    LOADS,
    LOCKS,
    Load,
    LoadGenerator,
    LockPair,
    lock_rate,
    memory_mb,
    start_seconds,
    worst_pause_ms,
)
from benchmarks.report import Point, table
from benchmarks.servers import JVM_FLAGS, Running, running

T = TypeVar("T")
Side = TypeVar("Side")
PAUSE_ZNODES = 500_000
PARTS = ("wire", "locks", "start", "memory", "pause")


class Effort(NamedTuple):
    rounds: int
    seconds: float  # of one measurement
    warm_seconds: float  # of each side, before the first


FULL, QUICK = Effort(5, 3.0, 30.0), Effort(2, 1.0, 3.0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--vs", choices=["apache", "self"], default="apache", help="self: Apache against itself, the noise"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two short rounds after 3 s of warming: a look, not a result"
    )
    parser.add_argument("--rounds", type=int, help="instead of 5 (2 with --quick)")
    parser.add_argument("--only", action="append", choices=PARTS, help="leave out the other parts; may be repeated")
    parser.add_argument("--pause", action="store_true", help="also the worst pause with 500,000 znodes")
    parser.add_argument(
        "--directory", type=Path, default=Path("build/benchmarks"), help="data, on the disk to be measured"
    )
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    effort = QUICK if asked.quick else FULL
    if asked.rounds:
        effort = effort._replace(rounds=asked.rounds)
    parts = asked.only or [part for part in PARTS if part != "pause" or asked.pause]
    directory = asked.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    ours = "apache" if asked.vs == "self" else "ours"

    _say(f"JVM flags: {' '.join(JVM_FLAGS)}")
    _say(f"{effort.rounds} alternating rounds of {effort.seconds:g} s, each side warmed for {effort.warm_seconds:g} s")
    bench = Bench(directory, effort, ours)
    points: list[Point] = []
    for part in parts:
        _note(part)
        try:
            points += getattr(bench, part)()
        except (RuntimeError, subprocess.CalledProcessError) as error:
            _note(f"{part} gave up: {error}\n{getattr(error, 'stderr', None) or ''}")
            bench.failed = True
    if points:
        _say(table(points))
    return 1 if bench.failed else 0


class Bench:
    """One method per part, each giving its rows of the table."""

    def __init__(self, directory: Path, effort: Effort, ours: str) -> None:
        self.failed = False
        self._directory = directory
        self._effort = effort
        self._ours = ours
        self._generator = LoadGenerator(directory)

    def wire(self) -> list[Point]:
        with running(self._ours, self._directory / "a") as ours, running("apache", self._directory / "b") as apache:
            self._warm(ours, apache)
            return [self._load(load, ours, apache) for load in LOADS]

    def _load(self, load: Load, ours: Running, apache: Running) -> Point:
        def rate(server: Running) -> float:
            return self._generator.run(server, load, self._effort.seconds)["ops_per_s"]

        _note(f"  {load.name}")
        return Point(load.name, "ops/s", *self._alternate(rate, ours, apache), load.target)

    def locks(self) -> list[Point]:
        with running(self._ours, self._directory / "a") as ours, running("apache", self._directory / "b") as apache:
            self._warm(ours, apache)
            for kind in ("ours", "kazoo"):  # a JVM has yet to compile the way of a lock
                for server in (ours, apache):
                    lock_rate(kind, server, 16, self._effort.warm_seconds / 2)
            return [self._lock(pair, {"ours": ours, "apache": apache}) for pair in LOCKS]

    def _lock(self, pair: LockPair, servers: dict[str, Running]) -> Point:
        def rate(side: tuple[str, str]) -> float:
            kind, server = side
            return lock_rate(kind, servers[server], pair.workers, self._effort.seconds)

        _note(f"  {pair.name}")
        values = self._alternate(rate, ("ours", pair.ours_on), (pair.their_kind, pair.theirs_on))
        peer = f"{pair.their_kind} on {pair.theirs_on}"
        return Point(pair.name, "acquire+release/s", *values, pair.target, peer=peer)

    def start(self) -> list[Point]:
        def seconds(name: str) -> float:
            return start_seconds(name, self._directory, self._generator)

        values = self._alternate(seconds, self._ours, "apache")
        return [Point("start to first write", "s", *values, 0.8, less_is_better=True)]

    def memory(self) -> list[Point]:
        def resident(name: str) -> tuple[float, float]:
            return memory_mb(name, self._directory, self._generator)

        ours, theirs = self._alternate(resident, self._ours, "apache")
        empty = [empty for empty, _ in ours], [empty for empty, _ in theirs]
        full = [full for _, full in ours], [full for _, full in theirs]
        return [
            Point("resident, empty", "MiB", *empty, 0.7, less_is_better=True),
            Point(f"resident, {COLD:,} znodes", "MiB", *full, 0.5, less_is_better=True),
        ]

    def pause(self) -> list[Point]:
        def worst(name: str) -> float:
            return worst_pause_ms(name, self._directory, self._generator, PAUSE_ZNODES, self._effort.seconds)

        values = self._alternate(worst, self._ours, "apache")
        return [Point(f"worst pause, {PAUSE_ZNODES:,} znodes", "ms", *values, less_is_better=True)]

    def _warm(self, *servers: Running) -> None:
        for server in servers:
            self._generator.fill(server, COLD)
            self._generator.warm(server, self._effort.warm_seconds)

    def _alternate(self, measure: Callable[[Side], T], ours: Side, theirs: Side) -> tuple[Sequence[T], Sequence[T]]:
        rounds = [(measure(ours), measure(theirs)) for _ in range(self._effort.rounds)]
        return [mine for mine, _ in rounds], [other for _, other in rounds]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
