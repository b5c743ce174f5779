"""Three real servers that are restarted again and again under a steady load: nothing grows, and nothing is lost.

`pytest -m soak tests/chaos/test_restarts.py --minutes 60` restarts all of them every minute and prints its figures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests.chaos.episode import Episode

SNAP_COUNT = 500
# Three snapshots and the logs behind them are kept at a start, and what a minute adds comes on top. Without a purge at
# each start, an hour leaves more than a hundred snapshots.
MOST_SNAPSHOTS = 20
MOST_DISK_BYTES = 24 << 20
MOST_MEMORY_BYTES = 160 << 20
MOST_START_S = 30.0
_LOOK_S = 2.0


@dataclass
class Figures:
    """What restarts have cost. Bytes are those of one server."""

    rounds: int = 0
    starts: int = 0
    start_s: list[float] = field(default_factory=list)  # from the start of a process until it takes clients
    serve_s: list[float] = field(default_factory=list)  # from the start of a process until it serves in the ensemble
    disk_bytes: list[int] = field(default_factory=list)  # the largest data directory in each round
    snapshots: list[int] = field(default_factory=list)  # the most snapshots in each round
    memory_bytes: list[int] = field(default_factory=list)  # the largest process in each round


class Restarts(Episode):
    """Restarts everything in each round: one server after the other, or all at once; by SIGTERM, or by SIGKILL."""

    def __init__(self, directory: Path, every_s: float, rounds: int | None = None, until: float = 0.0) -> None:
        super().__init__(
            directory, 3, 1, 0.0, "zab", pace=20.0, snapCount=SNAP_COUNT, preAllocSize=256,
            **{"autopurge.purgeInterval": 24, "autopurge.snapRetainCount": 3},
        )  # fmt: skip
        self.figures = Figures()
        self._every_s = every_s
        self._rounds = rounds
        self._until = until

    async def _torment(self, faults: list[str], until: float) -> None:
        looking = asyncio.create_task(self._look())
        kinds = (self._stop_each, self._kill_all, self._kill_each, self._stop_all)
        try:
            while self.figures.rounds < self._rounds if self._rounds is not None else time.monotonic() < self._until:
                began = time.monotonic()
                for figures in (self.figures.disk_bytes, self.figures.snapshots, self.figures.memory_bytes):
                    figures.append(0)
                await asyncio.to_thread(kinds[self.figures.rounds % len(kinds)])
                self._load.check()
                await asyncio.sleep(max(2 * _LOOK_S, began + self._every_s - time.monotonic()))
                self.figures.rounds += 1
        finally:
            looking.cancel()

    def _stop_each(self) -> None:
        self._each(self._ensemble.stop)

    def _kill_each(self) -> None:
        self._each(self._ensemble.kill)

    def _each(self, end: Callable[[int], None]) -> None:
        for sid in self._ensemble.servers:
            end(sid)
            self._start([sid])

    def _kill_all(self) -> None:
        self._all(self._ensemble.kill)

    def _stop_all(self) -> None:
        self._all(self._ensemble.stop)

    def _all(self, end: Callable[[int], None]) -> None:
        for sid in self._ensemble.servers:
            end(sid)
        self._start(self._ensemble.servers)

    def _start(self, sids: Iterable[int]) -> None:
        sids, began = list(sids), time.monotonic()
        self._ensemble.launch(*sids)
        for sid in sids:
            self._ensemble.servers[sid].await_start()
            self.figures.start_s.append(round(time.monotonic() - began, 2))
        self._ensemble.wait_serving()
        self.figures.serve_s.append(round(time.monotonic() - began, 2))
        self.figures.starts += len(sids)

    async def _look(self) -> None:
        """Keep the logs before a purge takes them, and note how large everything is."""
        figures = self.figures
        while True:
            await asyncio.to_thread(self._ensemble.save_logs)
            for sid, server in self._ensemble.servers.items():
                sizes = _sizes(self._ensemble.version_dir(sid))
                figures.disk_bytes[-1] = max(figures.disk_bytes[-1], sum(sizes.values()))
                count = sum(name.startswith("snapshot.") for name in sizes)
                figures.snapshots[-1] = max(figures.snapshots[-1], count)
                process = server.process
                if process is not None:
                    figures.memory_bytes[-1] = max(figures.memory_bytes[-1], _resident_bytes(process.pid))
            await asyncio.sleep(_LOOK_S)


def _sizes(directory: Path) -> dict[str, int]:
    """The files, by what they take on the disk; files come and go meanwhile."""
    sizes: dict[str, int] = {}
    for path in directory.iterdir():
        try:
            sizes[path.name] = path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return sizes


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:")), 0)


def run(restarts: Restarts) -> None:
    """Run it, print its figures, and check them."""
    report, figures = asyncio.run(restarts.run([], 0.0)), restarts.figures
    sys.stdout.write(f"\n{json.dumps(asdict(figures))}\n{json.dumps(asdict(report))}\n")
    assert report.violations == []
    assert report.unjudged == ""
    assert report.operations["granted"] > 0
    assert figures.rounds > 0 and report.operations["ok"] > 20 * figures.rounds
    assert max(figures.start_s) < MOST_START_S, figures.start_s
    assert max(figures.snapshots) <= MOST_SNAPSHOTS, figures.snapshots
    assert max(figures.disk_bytes) <= MOST_DISK_BYTES, figures.disk_bytes
    assert max(figures.memory_bytes) <= MOST_MEMORY_BYTES, figures.memory_bytes


@pytest.mark.thorough
def test_servers_3_restarts_lose_nothing_and_leave_nothing_behind(tmp_path):
    run(Restarts(tmp_path, 0.0, rounds=4))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_soak_of_restarts(tmp_path, pytestconfig, capsys):
    minutes = pytestconfig.getoption("--minutes")
    with capsys.disabled():
        run(Restarts(tmp_path, 60.0, until=time.monotonic() + 60 * minutes))
