"""The load generator, loadgen/*.c: what it is asked and what it answers."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.ensemble import Ensemble

T = TypeVar("T")
SOURCES = sorted(Path(__file__).with_name("loadgen").glob("*.c"))
HOT, COLD = 1_000, 100_000  # znodes of 100 bytes that requests choose from
RAMP_SECONDS = 0.3


class Load(NamedTuple):
    """`connections` with `outstanding` requests each, spread over all servers or all at one."""

    operation: str
    connections: int
    outstanding: int
    keys: int = HOT
    at: str = "all"  # or "leader", "follower"
    target: float | None = None

    @property
    def name(self) -> str:
        kept = " cold" if self.keys == COLD else " hot" if self.operation in ("get", "set", "mixed") else ""
        where = "" if self.at == "all" else f" at {self.at}"
        return f"{self.operation} {self.connections}x{self.outstanding}{kept}{where}"


class LoadGenerator:
    """Built with gcc into `directory`."""

    def __init__(self, directory: Path) -> None:
        self._program = directory / "loadgen"
        words = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(self._program), *map(str, SOURCES)]
        subprocess.run(words, check=True)

    def run(self, ensemble: Ensemble, load: Load, seconds: float, warm_up: float = RAMP_SECONDS) -> dict[str, float]:
        words = (load.operation, load.connections, load.outstanding, load.keys, seconds, warm_up)
        return self._answer(ensemble, load.at, *words)

    def rate(self, ensemble: Ensemble, load: Load, seconds: float) -> float:
        """Operations per second; a round of lock, children and delete is one."""
        return self.run(ensemble, load, seconds)["ops_per_s"]

    def fill(self, ensemble: Ensemble, znodes: int) -> None:
        """Make sure `znodes` znodes of 100 bytes are there, on every server; waits until all of them serve."""
        ensemble.leader()
        self.run(ensemble, Load("fill", 4, 64, znodes), 0, 0)

    def first_write(self, ensemble: Ensemble) -> None:
        """Return once a create is acknowledged, by whichever server is first."""
        self._answer(ensemble, "all", "first")

    def warm(self, ensemble: Ensemble, seconds: float) -> None:
        """All three operations for `seconds` together, nothing measured."""
        for operation in ("get", "set", "create"):
            self.run(ensemble, Load(operation, 8, 64), seconds / 3)

    def fan_out_ms(self, ensemble: Ensemble, watchers: int, seconds: float) -> float:
        """Median time from sending a change to the last of `watchers` events; the writer is at the leader."""
        return self._answer(ensemble, "leader first", "fan-out", watchers, seconds)["p50_ms"]

    def idle(self, ensemble: Ensemble, sessions: int, seconds: float, sample: Callable[[], T]) -> tuple[T, T]:
        """Hold sessions that only ping, for `seconds`. Returns a sample from when all are open and one from the end."""
        command = self._command(ensemble, "all", "idle", sessions, seconds)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            begun = sample()
            process.stdout.readline()
            ended = sample()  # the sessions are closed when standard input is, which costs more than they did
            _, said = process.communicate()
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=said)
        return begun, ended

    def _answer(self, ensemble: Ensemble, at: str, *words: object) -> dict[str, float]:
        try:
            done = subprocess.run(self._command(ensemble, at, *words), check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            error.stderr = f"against {ensemble.kind}: {error.stderr}"
            raise
        answer: dict[str, float] = json.loads(done.stdout)
        return answer

    def _command(self, ensemble: Ensemble, at: str, *words: object) -> list[str]:
        ports = ensemble.ports
        if at == "leader first":
            leader = ensemble.leader().port
            ports = sorted(ports, key=lambda port: port != leader)
        elif at != "all":
            ports = [(ensemble.leader() if at == "leader" else ensemble.follower()).port]
        return [str(self._program), ensemble.protocol, ",".join(map(str, ports)), *map(str, words)]
