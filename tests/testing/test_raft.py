"""Ensembles in this process that run raft."""

import anyio
import pytest

from recipes import BadArguments, Lock, connect
from recipes.testing import Ensemble

SECONDS = 60


@pytest.mark.asyncio
async def test_writes_and_locks_survive_the_leader():
    with anyio.fail_after(SECONDS):
        async with Ensemble(3, protocol="raft") as ensemble, connect(ensemble.hosts, session_timeout=20) as client:
            async with Lock(client, "/lock") as grant:
                await client.create("/a", b"x")
                leader = await ensemble.leader()
                await ensemble.kill(leader)
                assert await ensemble.leader() != leader
                await client.sync("/")
                assert (await client.get("/a"))[0] == b"x"
                assert not grant.ended.is_set()
            await ensemble.restart(leader)
            await ensemble.settled()
            async with connect(ensemble.host(leader)) as other:
                await other.sync("/")
                assert (await other.get("/a"))[0] == b"x"


def test_an_unknown_protocol_is_refused():
    with pytest.raises(BadArguments, match="protocol 'paxos': expected zab or raft"):
        Ensemble(3, protocol="paxos")
