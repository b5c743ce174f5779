"""Two Apache servers and our peer ports and data directory: votes both ways, their files ours, our files theirs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from recipes.core.disk.disk import RealDisk
from recipes.core.disk.snapshot import HEADER, write_snapshot
from recipes.core.disk.store import Store
from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, Notification
from recipes.core.replication import InstallSnapshot, Truncate
from recipes.core.server.election_port import ElectionPort
from recipes.core.server.peer_sockets import PeerSockets
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell
from recipes.core.zab.protocol import ZAB
from tests.core.disk.directory import epochs_of, read_epoch
from tests.ports import free_port

pytestmark = pytest.mark.apache


@pytest.fixture(scope="module")
def ensemble(start_server):
    """Apache servers 1 and 3 of three, serving, and the election ports of all."""
    quorum, election = ([free_port() for _ in range(3)] for _ in range(2))
    lines = {f"server.{sid}": f"127.0.0.1:{quorum[sid - 1]}:{election[sid - 1]}" for sid in (1, 2, 3)}
    servers = {}
    for sid in (1, 3):
        servers[sid] = start_server("apache", start=False, initLimit=20, syncLimit=10, **lines)
        (servers[sid].data_dir / "myid").write_text(f"{sid}\n")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda server: server.start(), servers.values()))
    return servers, {sid: ("127.0.0.1", port) for sid, port in enumerate(election, 1)}


@pytest.mark.asyncio
async def test_votes_go_both_ways_with_a_larger_and_a_smaller_sid(ensemble):
    _, addresses = ensemble
    states: dict[int, int] = {}
    heard = asyncio.Event()

    def hear(sid: int, note: Notification) -> None:
        states[sid] = note.state
        heard.set()

    config = (
        b"".join(b"server.%d=127.0.0.1:1:%d:participant\n" % (sid, port) for sid, (_, port) in addresses.items())
        + b"version=0"
    )
    for _ in range(2):  # the second time Apache's servers hold connections that are gone
        states.clear()
        port = ElectionPort(2, addresses, PeerSockets("127.0.0.1", 5000), heard=hear, unreachable=lambda *_: None)
        await port.start()
        try:
            async with asyncio.timeout(60):
                while sorted(states) != [1, 3] or set(states.values()) != {LEADING, FOLLOWING}:
                    for sid in (1, 3):
                        port.send(sid, Notification(LOOKING, 2, 0, 1, 0, config))
                    try:
                        async with asyncio.timeout(1):
                            await heard.wait()
                    except TimeoutError:
                        continue
                    heard.clear()
        finally:
            await port.close()
    assert states == {1: FOLLOWING, 3: LEADING}


@pytest.mark.thorough  # tests/integration/test_ensembles.py does it once each way, in an ensemble
def test_a_directory_goes_from_apaches_member_to_ours_and_back(ensemble, wire, start_server):
    servers, _ = ensemble
    client = wire(servers[1].port)
    for number in range(20):
        assert client.create(f"/m{number}", b"x" * number) == 0
    client.close_session()
    for server in servers.values():
        server.stop()

    directory = servers[1].data_dir / "version-2"
    disk, tree = RealDisk(directory), DataTree()
    store = Store(disk, disk, 0, protocol=ZAB)
    found = store.recover(tree)
    assert (*epochs_of(found), found.unsure, found.mismatches) == (1, 1, "", ())
    assert found.last_zxid >> 32 == 1
    assert found.history[0].zxid == (1 << 32) + 1
    assert found.history[-1].zxid == found.last_zxid
    assert found.history[-1].zxid - found.history[0].zxid == len(found.history) - 1
    assert {b"/m%d" % number for number in range(20)} <= set(dict(tree.items()))

    # Take back the close of the session and the last two creates; Apache's server reads what is left.
    cut = store.carry_out(Truncate(found.last_zxid - 3))
    store.close()
    disk.close()
    assert cut is not None
    alone = start_server("apache", servers[1].directory)
    client = wire(alone.port)
    assert client.call(3, client.text("/m17") + b"\0")[0] == 0
    assert client.call(3, client.text("/m18") + b"\0")[0] == -101
    client.close_session()
    alone.stop()

    # And a leader's snapshot, as ours writes it.
    disk = RealDisk(directory)
    store = Store(disk, disk, 0, protocol=ZAB)
    store.recover(tree)
    data = b"".join(write_snapshot(cut))
    store.carry_out(InstallSnapshot(5 << 32, data[len(HEADER) : -46]))
    store.carry_out(epoch_cell(ACCEPTED_EPOCH, 6))
    store.carry_out(epoch_cell(CURRENT_EPOCH, 5))
    store.close()
    assert (read_epoch(disk, ACCEPTED_EPOCH), read_epoch(disk, CURRENT_EPOCH)) == (6, 5)
    disk.close()
    alone.start()
    client = wire(alone.port)
    assert client.call(3, client.text("/m17") + b"\0")[0] == 0
    assert client.call(3, client.text("/m18") + b"\0")[0] == -101
    assert client.create("/later", b"") == 0
    client.close_session()
