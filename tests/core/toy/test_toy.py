"""A protocol of two pages runs under the real Member: in the simulator, and over real sockets."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from recipes import Client, ConnectionLoss, NodeExists, connect
from recipes.core.replication import ReplicationProtocol
from recipes.core.server import server as server_module
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.plan import FAULTS, draw_plan
from recipes.core.sim.protocols import SimulatedProtocol
from recipes.core.sim.rules import Rules
from recipes.testing import Ensemble as RealEnsemble
from tests.core.toy.replica import TOY
from tests.seeds import seeds
from tests.simulation.conftest import sources_of

# It has no way to restore a server whose disk has lost data.
KINDS = [kind for kind in FAULTS if kind not in ("rot", "wipe", "reset of votes")]


@pytest.mark.parametrize("seed", seeds(100, quick=6))
def test_in_the_simulator(seed: int):
    plan = draw_plan(sources_of(seed), 3, kinds=KINDS)._replace(snap_count=1 << 30)  # it has no snapshots to send
    ensemble = Ensemble(plan, sources_of(seed), SimulatedProtocol(TOY, lambda *_: Rules()))
    ensemble.run()
    assert all(ensemble.counts.get(what) for what in ("Cell", "role leader", "role follower"))


async def written(client: Client, path: str) -> None:
    with anyio.fail_after(60):
        while True:
            with suppress(ConnectionLoss, NodeExists):
                await client.create(path)
            if await client.exists(path):
                return


@pytest.mark.anyio
async def test_over_real_sockets(monkeypatch: pytest.MonkeyPatch):
    """Writes through every server, a follower that is away for some of them, and a leader that is started again."""

    def find(name: str) -> ReplicationProtocol:
        return TOY

    monkeypatch.setattr(server_module, "find_protocol", find)
    async with RealEnsemble(3) as ensemble:
        assert await ensemble.leader() == 1
        for sid in (1, 2, 3):
            async with connect(ensemble.host(sid)) as client:
                await client.create(f"/through-{sid}", b"it")
        await ensemble.kill(3)
        async with connect(ensemble.host(2), session_timeout=10) as client:
            await client.create("/while-3-was-away", b"")
            await ensemble.restart(3)
            await ensemble.settled()
            await ensemble.kill(1)
            await ensemble.restart(1)
            await ensemble.settled()
            await written(client, "/behind-a-restart")
        async with connect(ensemble.host(3)) as client:
            await client.sync("/")
            assert len(await client.children("/")) == 6
