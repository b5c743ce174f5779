"""The two ways in which a leader dies in the middle of a write, with real servers: what a quorum has logged survives,
and what nobody but the dead leader has is discarded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chaos.cluster import CutOffEnsemble
from tests.chaos.proxy import Network
from tests.wire import OPEN_ACL, Wire


@asynccontextmanager
async def cut_off_ensemble(directory) -> AsyncIterator[tuple[CutOffEnsemble, Network, int, list[int]]]:
    """Three servers, the leader, and the followers; /before has been written."""
    ensemble, network = CutOffEnsemble(directory, 3), Network()
    try:
        await ensemble.connect(network)
        await asyncio.to_thread(ensemble.start)
        leader = await asyncio.to_thread(ensemble.leader)
        await asyncio.to_thread(write, ensemble, leader, "/before")
        await asyncio.to_thread(ensemble.wait_synced)
        yield ensemble, network, leader, [sid for sid in ensemble.servers if sid != leader]
    finally:
        await network.close()
        ensemble.close()


def write(ensemble: CutOffEnsemble, sid: int, path: str) -> None:
    client = Wire(ensemble.port(sid))
    assert client.create(path, b"x") == 0
    client.close_session()


def exists(ensemble: CutOffEnsemble, sid: int, path: str) -> bool:
    client = Wire(ensemble.port(sid))
    client.call(9, client.text(path))
    error, _ = client.call(3, client.text(path) + b"\0")
    client.close_session()
    return error == 0


async def wait_logged(ensemble: CutOffEnsemble, sid: int, zxid: int) -> None:
    await asyncio.to_thread(ensemble.wait_for, lambda: zxid in ensemble.logged(sid), f"{sid} has logged 0x{zxid:x}")


async def bury(ensemble: CutOffEnsemble, network: Network, leader: int) -> None:
    """Kill the leader; what it had sent and was held on the way is lost."""
    await asyncio.to_thread(ensemble.kill, leader)
    for sid in ensemble.servers:
        network.reset(leader, sid)
    network.heal()


async def committed_before_any_commit_left(directory) -> None:
    async with cut_off_ensemble(directory) as (ensemble, network, leader, (witness, other)):
        client = await asyncio.to_thread(Wire, ensemble.port(leader))  # its session is made while all is well
        zxid = await asyncio.to_thread(ensemble.wait_synced) + 1
        network.cut([leader], [other])
        network.cut([witness], [leader])  # the proposal passes, its ACK does not
        client.post(1, client.text("/kept") + client.text("x") + OPEN_ACL + bytes(4))
        await wait_logged(ensemble, witness, zxid)
        network.cut([leader], [witness])  # COMMIT does not pass
        network.open(witness, leader)
        _, replied_zxid, error, _ = await asyncio.to_thread(client.reply)
        assert (replied_zxid, error) == (zxid, 0)  # committed, and known by the leader and its client only
        assert zxid not in ensemble.logged(other)
        assert ensemble.zxid(witness) < zxid
        client.close()
        await bury(ensemble, network, leader)
        assert await asyncio.to_thread(ensemble.wait_leader) == witness
        await asyncio.to_thread(ensemble.wait_serving)
        for sid in (witness, other):
            assert await asyncio.to_thread(exists, ensemble, sid, "/kept")
        await asyncio.to_thread(ensemble.start, leader)
        assert await asyncio.to_thread(exists, ensemble, leader, "/kept")
        assert zxid in ensemble.logged(leader) and zxid in ensemble.logged(other)


async def logged_and_never_sent(directory) -> None:
    async with cut_off_ensemble(directory) as (ensemble, network, leader, followers):
        client = await asyncio.to_thread(Wire, ensemble.port(leader))
        zxid = await asyncio.to_thread(ensemble.wait_synced) + 1
        network.cut([leader], followers)
        client.post(1, client.text("/lost") + client.text("x") + OPEN_ACL + bytes(4))
        await wait_logged(ensemble, leader, zxid)
        client.close()
        await bury(ensemble, network, leader)
        await asyncio.to_thread(ensemble.wait_serving)
        await asyncio.to_thread(write, ensemble, await asyncio.to_thread(ensemble.leader), "/after")
        assert zxid in ensemble.logged(leader)
        await asyncio.to_thread(ensemble.start, leader)
        await asyncio.to_thread(ensemble.wait_synced)
        assert zxid not in ensemble.logged(leader)  # it has been told to truncate
        for sid in ensemble.servers:
            assert zxid not in ensemble.logged(sid)
            assert not await asyncio.to_thread(exists, ensemble, sid, "/lost")
            assert await asyncio.to_thread(exists, ensemble, sid, "/before")
            assert await asyncio.to_thread(exists, ensemble, sid, "/after")
        assert not list(ensemble.version_dir(leader).glob("superseded-*"))  # it was not sent everything instead


def test_an_entry_committed_by_a_leader_that_died_before_any_commit_left_survives(tmp_path):
    asyncio.run(committed_before_any_commit_left(tmp_path))


def test_an_entry_logged_by_a_leader_that_died_before_sending_it_is_discarded_and_truncated(tmp_path):
    asyncio.run(logged_and_never_sent(tmp_path))
