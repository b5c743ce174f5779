"""What is done to an ensemble under load, one fault after the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from random import Random

from tests.chaos.clients import Load, SessionOver, set_data
from tests.chaos.cluster import CutOffEnsemble
from tests.chaos.proxy import HOLD, REFUSE, Network

_FILL = 48 << 10  # bytes a write, under the limit of a packet
_MORE_THAN_HISTORY = 1100  # writes, so that no leader can bring a server up to date by the last ones
_NO_SPACE = "no space for the transaction log"


class Nemesis:
    """Faults in rotation: `faults` names all there are for an ensemble of this size.

    Each has ended when its method returns, though its traces may not have: a server that was killed is starting, one
    that was cut off is joining. done: how many of each have been. snapshots_sent: how many wiped servers were sent
    everything.
    """

    def __init__(self, ensemble: CutOffEnsemble, network: Network, load: Load, random: Random) -> None:
        self.done: Counter[str] = Counter()
        self.snapshots_sent = 0
        self._ensemble = ensemble
        self._network = network
        self._load = load
        self._random = random
        self.faults: dict[str, Callable[[], Awaitable[None]]] = {
            "kill leader": self._kill_leader,
            "pause leader": self._pause_leader,
            "isolate leader": self._isolate_leader,
            "kill follower": self._kill_follower,
            "leader cannot send": self._mute_leader,
            "wipe follower": self._wipe_follower,
            "leader cannot hear": self._deafen_leader,
            "reset peers": self._reset_peers,
            "full disk": self._fill_disk,
            "isolate follower": self._isolate_follower,
            "reset clients": self._reset_clients,
            "pause follower": self._pause_follower,
            "flap": self._flap,
            "kill quorum": self._kill_quorum,
            "rolling restart": self._roll,
        }
        if len(ensemble.servers) >= 5:
            self.faults["bridge"] = self._bridge
            self.faults["halves"] = self._halves

    async def do(self, name: str) -> None:
        """One fault, from its beginning to its end."""
        await asyncio.to_thread(self._ensemble.save_logs)
        try:
            await self.faults[name]()
        finally:
            self._network.heal()
        self.done[name] += 1

    async def heal(self) -> None:
        """Everything runs and reaches everything; return once all have the same."""
        self._network.heal()
        ensemble = self._ensemble
        for sid, server in ensemble.servers.items():
            ensemble.resume(sid)
            if server.process is None:
                await asyncio.to_thread(ensemble.launch, sid)
        await asyncio.to_thread(ensemble.wait_serving)
        await asyncio.to_thread(ensemble.save_logs)

    # Choices.

    async def _leader(self) -> int:
        return await asyncio.to_thread(self._ensemble.wait_leader)

    async def _follower(self) -> int:
        leader = await self._leader()
        return self._random.choice([sid for sid in self._ensemble.running if sid != leader])

    def _others(self, *sids: int) -> list[int]:
        return [sid for sid in self._ensemble.servers if sid not in sids]

    def _style(self) -> str:
        return self._random.choice((HOLD, HOLD, REFUSE))

    async def _pause(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._random.uniform(least_s, most_s))

    # Processes.

    async def _kill(self, sids: Iterable[int], down_s: float) -> None:
        ensemble = self._ensemble
        sids = [sid for sid in sids if sid in ensemble.running]
        for sid in sids:
            await asyncio.to_thread(ensemble.kill, sid)
        await self._pause(0, down_s)
        await asyncio.to_thread(ensemble.launch, *sids)

    async def _kill_leader(self) -> None:
        await self._kill([await self._leader()], 1.0)

    async def _kill_follower(self) -> None:
        await self._kill([await self._follower()], 1.0)

    async def _kill_quorum(self) -> None:
        await self._kill(self._random.sample(self._others(), len(self._ensemble.servers) // 2 + 1), 0.5)

    async def _stop_for(self, sid: int, least_s: float, most_s: float) -> None:
        self._ensemble.pause(sid)
        await self._pause(least_s, most_s)
        self._ensemble.resume(sid)

    async def _pause_leader(self) -> None:
        await self._stop_for(await self._leader(), 0.3, 3.0)

    async def _pause_follower(self) -> None:
        await self._stop_for(await self._follower(), 0.3, 2.5)

    async def _roll(self) -> None:
        ensemble = self._ensemble
        await self._serve()
        for sid in ensemble.servers:
            await asyncio.to_thread(ensemble.stop, sid)
            await asyncio.to_thread(ensemble.start, sid)

    async def _serve(self) -> None:
        await asyncio.to_thread(self._ensemble.wait_serving)

    async def _wipe_follower(self) -> None:
        # Only one disk is lost, and nothing else while it is: what two of three held, one may be all that has it.
        ensemble = self._ensemble
        await self._serve()
        sid = await self._follower()
        await asyncio.to_thread(ensemble.kill, sid)
        await asyncio.to_thread(ensemble.save_logs)
        await asyncio.to_thread(ensemble.wipe, sid)
        await self._write(_MORE_THAN_HISTORY)
        await asyncio.to_thread(ensemble.start, sid)
        self.snapshots_sent += any(path.name != "snapshot.0" for path in ensemble.version_dir(sid).glob("snapshot.*"))

    async def _write(self, count: int) -> None:
        client = self._load.client()
        while count > 0:
            with suppress(SessionOver):
                answers = await client.batch(*[set_data(b"/s", b"x")] * 100)
                count -= len(answers) - answers.count(None)
        client.hang_up()

    # The disk.

    async def _fill_disk(self) -> None:
        """No file of one server may grow. It stops taking part, or ends when what it had accepted does not fit."""
        ensemble = self._ensemble
        await self._serve()
        sid = self._random.choice(self._others())
        log = ensemble.servers[sid].log
        before = log.read_text().count(_NO_SPACE)
        ensemble.limit_files(sid, ensemble.log_size(sid) + _FILL)
        filler = self._load.client()
        try:
            async with asyncio.timeout(60):
                while log.read_text().count(_NO_SPACE) == before and not ensemble.has_ended(sid):
                    with suppress(SessionOver):
                        await filler.batch(*[set_data(b"/s", bytes(_FILL))] * 2)
            await self._pause(0.2, 1.0)
        finally:
            filler.hang_up()
            if ensemble.has_ended(sid):
                await asyncio.to_thread(ensemble.kill, sid)
                await asyncio.to_thread(ensemble.launch, sid)
            else:
                ensemble.limit_files(sid, None)

    # The network.

    async def _isolate(self, sid: int, most_s: float) -> None:
        self._network.split([sid], self._others(sid), style=self._style())
        await self._pause(0.5, most_s)

    async def _isolate_leader(self) -> None:
        await self._isolate(await self._leader(), 3.0)

    async def _isolate_follower(self) -> None:
        await self._isolate(await self._follower(), 2.0)

    async def _mute_leader(self) -> None:
        leader = await self._leader()
        self._network.cut([leader], self._others(leader), self._style())
        await self._pause(0.5, 3.0)

    async def _deafen_leader(self) -> None:
        leader = await self._leader()
        self._network.cut(self._others(leader), [leader], self._style())
        await self._pause(0.5, 3.0)

    async def _flap(self) -> None:
        leader = await self._leader()
        for _ in range(4):
            self._network.split([leader], self._others(leader), style=self._style())
            await self._pause(0.05, 0.4)
            self._network.heal()
            await self._pause(0.05, 0.4)

    async def _bridge(self) -> None:
        """Two halves that see each other only over one server in the middle."""
        sids = self._random.sample(self._others(), 5)
        self._network.split(sids[:2], sids[3:], style=self._style())
        await self._pause(0.5, 3.0)

    async def _halves(self) -> None:
        leader = await self._leader()
        friend, *rest = self._random.sample(self._others(leader), 4)
        self._network.split([leader, friend], rest, style=self._style())
        await self._pause(0.5, 3.0)

    async def _reset_peers(self) -> None:
        for one in self._others():
            for other in self._others(one):
                if self._random.random() < 0.5:
                    self._network.reset(one, other)
        await self._pause(0.1, 0.5)

    async def _reset_clients(self) -> None:
        self._load.reset_connections()
        for sid in self._others():
            self._network.reset("clients", sid)
        await self._pause(0.1, 0.5)
