"""What is measured, and how one value of it is taken."""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.servers import Running, running

SOURCE = Path(__file__).with_name("loadgen.c")
HOT, COLD = 1_000, 100_000  # znodes of 100 bytes that requests choose from
RAMP_SECONDS = 0.3


class Load(NamedTuple):
    """One load of the wire: `connections` with `outstanding` requests each."""

    operation: str
    connections: int
    outstanding: int
    keys: int = HOT
    target: float | None = None

    @property
    def name(self) -> str:
        kept = {"create": "", "get": " hot", "set": " hot", "mixed": " hot"}[self.operation]
        return f"{self.operation} {self.connections}x{self.outstanding}{' cold' if self.keys == COLD else kept}"


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
    """Our Lock on `ours_on` against `their_kind` on `theirs_on`, `workers` tasks or threads, each with its own path."""

    workers: int
    ours_on: str
    their_kind: str
    theirs_on: str
    target: float | None = None

    @property
    def name(self) -> str:
        return f"Lock {self.workers} worker(s), {self.workers} path(s), ours on {self.ours_on}"


LOCKS = (
    LockPair(1, "apache", "kazoo", "apache", target=2.0),
    LockPair(16, "apache", "kazoo", "apache", target=2.0),
    LockPair(1, "ours", "ours", "apache"),
    LockPair(16, "ours", "ours", "apache"),
)


class LoadGenerator:
    """benchmarks/loadgen.c, built with gcc into `directory`."""

    def __init__(self, directory: Path) -> None:
        self._program = directory / "loadgen"
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(self._program), str(SOURCE)], check=True)

    def run(self, server: Running, load: Load, seconds: float, warm_up: float = RAMP_SECONDS) -> dict[str, float]:
        words = [server.port, *load[:4], seconds, warm_up]
        return _json_of([str(self._program), *map(str, words)])

    def fill(self, server: Running, znodes: int) -> None:
        """Make sure `znodes` znodes of 100 bytes are there."""
        self.run(server, Load("fill", 4, 64, znodes), 0, 0)

    def first_write(self, server: Running) -> None:
        """Return once `server` has acknowledged a create."""
        self.run(server, Load("first", 1, 1), 0, 0)

    def warm(self, server: Running, seconds: float) -> None:
        """All three operations for `seconds` together, nothing measured."""
        for operation in ("get", "set", "create"):
            self.run(server, Load(operation, 8, 64), seconds / 3)


def lock_rate(kind: str, server: Running, workers: int, seconds: float) -> float:
    """Acquire + release per second by `kind` ("ours" or "kazoo")."""
    words = [server.port, workers, seconds]
    return _json_of([sys.executable, "-m", "benchmarks.locks", kind, *map(str, words)])["ops_per_s"]


def start_seconds(name: str, directory: Path, generator: LoadGenerator) -> float:
    """A fresh process on an empty directory, to its first acknowledged create."""
    begun = perf_counter()
    with running(name, directory) as server:
        generator.first_write(server)
        return perf_counter() - begun


def memory_mb(name: str, directory: Path, generator: LoadGenerator) -> tuple[float, float]:
    """Resident MiB after the first write, and after 100,000 znodes of 100 bytes."""
    with running(name, directory) as server:
        generator.first_write(server)
        empty = server.resident_mb
        generator.fill(server, COLD)
        return empty, server.resident_mb


def worst_pause_ms(name: str, directory: Path, generator: LoadGenerator, znodes: int, seconds: float) -> float:
    """The slowest reply of one sequential creator beside `znodes` znodes."""
    with running(name, directory) as server:
        generator.fill(server, znodes)
        return generator.run(server, Load("create", 1, 1, znodes), seconds)["max_us"] / 1000


def _json_of(words: list[str]) -> dict[str, float]:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer
