"""One run: an ensemble, a load, faults, then heal, wait, compare."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from recipes.core.disk.disk import RealDisk
from recipes.core.disk.store import Store
from recipes.core.errors import InvariantBroken, StoreError
from recipes.core.jute import opcodes as op
from recipes.core.tree.tree import DataTree
from recipes.core.zab.protocol import ZAB
from tests.chaos.clients import Load, SessionOver, read, sync
from tests.chaos.cluster import CutOffEnsemble
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis
from tests.chaos.proxy import Network

TICK_MS = 500
SETTLE_SECONDS = 40.0


@dataclass
class Report:
    """What a run did and found."""

    size: int
    seed: int
    faults: dict[str, int] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)
    snapshots_sent: int = 0
    txns: int = 0
    seconds: float = 0.0
    gaps_s: dict[str, float] = field(default_factory=dict)  # by fault: the longest time without an acknowledged write
    violations: list[str] = field(default_factory=list)
    unjudged: str = ""


def run_episode(
    directory: Path,
    size: int,
    seed: int,
    faults: Sequence[str] = (),
    seconds: float = 0.0,
    pause_s: float = 0.3,
    protocol: str = "zab",
) -> Report:
    """Run an ensemble of `size` in `directory` through these faults, or, for so long, through all of them in turn."""
    return asyncio.run(Episode(directory, size, seed, pause_s, protocol).run(list(faults), seconds))


class Episode:
    """One run, which a test may give other faults and limits by a subclass.

    pace: how many times longer the load pauses between requests. settings: more lines for every zoo.cfg.
    """

    def __init__(
        self,
        directory: Path,
        size: int,
        seed: int,
        pause_s: float,
        protocol: str,
        pace: float = 1.0,
        **settings: object,
    ) -> None:
        self._random = Random(seed)
        self._pause_s = pause_s
        self._report = Report(size, seed)
        self._history = History()
        limits: dict[str, object] = {"initLimit": 10, "syncLimit": 4, "preAllocSize": 1024, "snapCount": 20_000}
        self._ensemble = CutOffEnsemble(directory, size, tickTime=TICK_MS, protocol=protocol, **(limits | settings))
        self._network = Network()
        ports = list(self._ensemble.client_ports.values())
        self._load = Load(self._history, ports, Random(seed + 1), TICK_MS, pace)
        self._nemesis = Nemesis(self._ensemble, self._network, self._load, self._random)

    async def run(self, faults: list[str], seconds: float) -> Report:
        began = time.monotonic()
        try:
            await self._ensemble.connect(self._network)
            await asyncio.to_thread(self._ensemble.start)
            await self._load.prepare()
            self._load.start()
            await self._torment(faults, began + seconds)
            await self._settle()
        finally:
            self._load.cancel()
            await self._network.close()
            self._ensemble.close()
        report, history = self._report, self._history
        report.seconds = round(time.monotonic() - began, 1)
        report.faults = dict(self._nemesis.done)
        report.snapshots_sent = self._nemesis.snapshots_sent
        report.operations = dict(history.counts)
        report.violations += history.violations
        return report

    async def _torment(self, faults: list[str], until: float) -> None:
        if faults:
            for name in faults:
                await self._one(name)
            return
        while time.monotonic() < until:
            names = list(self._nemesis.faults)
            self._random.shuffle(names)
            for name in names:
                if time.monotonic() < until:
                    await self._one(name)

    async def _one(self, name: str) -> None:
        self._history.longest_gap_s = 0.0
        await self._nemesis.do(name)
        self._load.check()
        await asyncio.sleep(self._random.random() * self._pause_s)
        gaps = self._report.gaps_s
        gaps[name] = round(max(gaps.get(name, 0.0), self._history.gap_s()), 2)

    async def _settle(self) -> None:
        ensemble, load = self._ensemble, self._load
        await self._nemesis.heal()
        await load.stop()
        await self._check_ephemerals()
        await load.release()
        await asyncio.to_thread(ensemble.wait_synced)
        for sid in ensemble.servers:
            await asyncio.to_thread(ensemble.stop, sid)
        await asyncio.to_thread(ensemble.save_logs)
        await asyncio.to_thread(self._judge)

    async def _check_ephemerals(self) -> None:
        """Those of the dead go, on every server; those of the living are there, on every server."""
        load, violations = self._load, self._report.violations
        deadline = time.monotonic() + SETTLE_SECONDS
        for sid, port in self._ensemble.client_ports.items():
            client = load.client()
            client.use(port)
            while True:
                try:
                    answers = await client.batch(sync(b"/e"), read(b"/e", op.GET_CHILDREN2))
                except SessionOver:
                    client = load.client()
                    client.use(port)
                    continue
                if answers[1] is not None:
                    names = {b"/e/" + name for name in answers[1].names}
                    if not names & set(load.mortals.values()):
                        break
                    if time.monotonic() > deadline:
                        violations.append(f"E2 ephemerals of dead sessions stay on server {sid}: {sorted(names)}")
                        break
                await asyncio.sleep(0.1)
            lost = {path for _, path in load.holders.values()} - names
            if lost:
                violations.append(f"E4 ephemerals of living sessions are gone on server {sid}: {sorted(lost)}")
            await client.close()

    def _judge(self) -> None:
        report, ensemble = self._report, self._ensemble
        try:
            trees = {sid: self._recover(sid) for sid in ensemble.servers}
            # While one after the other was stopped, those that were left may have ended a session.
            last_zxid = max(tree.last_zxid for tree in trees.values())
            reference = self._history.judge(ensemble.logs, last_zxid)
            report.txns = len(reference.order)
            for sid, tree in trees.items():
                if tree.last_zxid == last_zxid:
                    reference.compare(sid, tree)
                elif reference.digests.get(tree.last_zxid) != tree.digest:
                    report.violations.append(f"Z13 server {sid} is not what was committed up to 0x{tree.last_zxid:x}")
        except LookupError as error:
            report.unjudged = str(error)
        except (InvariantBroken, AssertionError, StoreError) as error:
            report.violations.append(str(error))

    def _recover(self, sid: int) -> DataTree:
        """What a server's disk holds, all of its log applied: everything is committed by now."""
        disk, tree = RealDisk(self._ensemble.version_dir(sid)), DataTree()
        try:
            found = Store(disk, disk, 1 << 20, protocol=ZAB).recover(tree)
        finally:
            disk.close()
        if found.unsure or found.mismatches:
            raise InvariantBroken(f"Z14 the disk of server {sid}: {found.unsure or found.mismatches}")
        return tree
