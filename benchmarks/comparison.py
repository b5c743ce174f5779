"""Ours against each peer in one run: rounds alternate, and so does who goes first in a round."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.ensemble import Ensemble, running
from benchmarks.load import Load, LoadGenerator
from benchmarks.report import Point, line

T = TypeVar("T")


class Effort(NamedTuple):
    rounds: int
    seconds: float  # of one measurement
    warm_seconds: float  # of each side, before the first
    idle_seconds: float  # that idle sessions are watched
    kills: int  # of a leader, in each round


class Side(NamedTuple):
    """One column. kind: as `Server` has it. Two sides may be of one kind, so each has a directory."""

    kind: str
    directory: Path


Measure = Callable[[Side], T]


class Comparison:
    """kinds: ours first, then the peers."""

    def __init__(self, kinds: Sequence[str], directory: Path, effort: Effort) -> None:
        self.sides = [Side(kind, directory / str(index)) for index, kind in enumerate(kinds)]
        self.effort = effort
        self.generator = LoadGenerator(directory)
        self.failed = False
        self._only: Sequence[str] | None = None

    def choose(self, part: str, only: Sequence[str] | None) -> None:
        """From here on the rows of `part` are measured: all, when `only` is None or has the part's name."""
        self._only = None if only is None or part in only else only

    def give_up(self, name: str, error: Exception) -> None:
        """Say why `name` is missing from the table, and go on with the rest."""
        self.failed = True
        note(f"{name} gave up: {error}\n{getattr(error, 'stderr', None) or ''}")

    def wanted(self, row: str) -> bool:
        return self._only is None or any(name in row for name in self._only)

    def alternate(self, measure: Measure[T], sides: Sequence[Side] | None = None) -> list[list[T]]:
        """What `measure` gave in each round, a list for each side."""
        sides = self.sides if sides is None else sides
        values: list[list[T]] = [[] for _ in sides]
        for number in range(self.effort.rounds):
            order = list(enumerate(sides))
            for index, side in order if number % 2 == 0 else reversed(order):
                values[index].append(measure(side))
        return values

    def row(
        self,
        name: str,
        unit: str,
        measure: Measure[float],
        target: float | None = None,
        *,
        less_is_better: bool = False,
        sides: Sequence[Side] | None = None,
    ) -> list[Point]:
        """A row against each peer, none when it was not asked for or the load generator met an error."""
        if not self.wanted(name):
            return []
        note(f"  {name}")
        try:
            values = self.alternate(measure, sides)
        except subprocess.CalledProcessError as error:
            self.give_up(name, error)
            return []
        return self.pair(name, unit, values, target, less_is_better=less_is_better, sides=sides)

    def pair(
        self,
        name: str,
        unit: str,
        values: Sequence[Sequence[float]],
        target: float | None = None,
        *,
        less_is_better: bool = False,
        ceiling: float | None = None,
        sides: Sequence[Side] | None = None,
    ) -> list[Point]:
        """Values of each side into a row against each peer. Targets are set against Apache."""
        ours, *peers = zip(self.sides if sides is None else sides, values, strict=True)
        points = [
            Point(name, unit, ours[1], theirs, target, less_is_better, side.kind, ceiling)
            if side.kind == "apache"
            else Point(name, unit, ours[1], theirs, None, less_is_better, side.kind)
            for side, theirs in peers
        ]
        for point in points:
            note(f"    {line(point)}")  # a run that is cut short leaves what it had
        return points

    @contextmanager
    def all_running(self, size: int = 1) -> Iterator[dict[Side, Ensemble]]:
        """An ensemble of `size` for each side, all through the block."""
        with ExitStack() as stack:
            ensembles = {side: stack.enter_context(running(side.kind, side.directory, size)) for side in self.sides}
            for ensemble in ensembles.values():
                self.generator.first_write(ensemble)
                ensemble.leader()
            yield ensembles

    def warm(self, ensembles: dict[Side, Ensemble], znodes: int) -> None:
        for ensemble in ensembles.values():
            note(f"  warming {ensemble.kind}")
            self.generator.fill(ensemble, znodes)
            self.generator.warm(ensemble, self.effort.warm_seconds)

    def loads(self, loads: Sequence[Load], ensembles: dict[Side, Ensemble]) -> list[Point]:
        """A row for each load."""

        def measure_of(load: Load) -> Measure[float]:
            return lambda side: self.generator.rate(ensembles[side], load, self.effort.seconds)

        return [point for load in loads for point in self.row(load.name, "ops/s", measure_of(load), load.target)]


Part = Callable[[Comparison], list[Point]]


def note(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
