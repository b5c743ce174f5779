"""Quorum links on loopback sockets: dialling, listening, order of what is sent, dumps, and who does not read."""

import asyncio
import itertools
import socket
from contextlib import asynccontextmanager

import pytest

from recipes.core.server import quorum_port as module
from recipes.core.server.client_port import read_buffer
from recipes.core.server.peer_sockets import PeerSockets
from recipes.core.server.quorum_port import QuorumPort

PLAIN = PeerSockets("127.0.0.1", 4000)


class Link:
    keys = itertools.count(1)

    def __init__(self, peer) -> None:
        self.key = next(Link.keys)
        self.peer = peer
        self.out = []
        self.wants_close = False
        self.farewell = b""
        self.received = bytearray()  # of bytes, each piece of a dump would copy all before it
        self.is_lost = False

    def receive(self, data: bytes) -> None:
        if self.peer.breaks:
            raise ValueError("broken")
        self.received += data
        self.peer.changed.set()

    def lost(self) -> None:
        self.is_lost = True
        self.peer.changed.set()


class Peer:
    """Stands in for a ZabPeer, with its port."""

    def __init__(self, sid: int, addresses, sockets=PLAIN, patience_ms=20_000) -> None:
        self.changed = asyncio.Event()
        self.links: list[Link] = []
        self.wanted = True
        self.failed: list[int] = []
        self.errors: list[BaseException] = []
        self.turns = 0
        self.breaks = False
        self.port = QuorumPort(
            sid,
            addresses,
            sockets,
            self,
            buffer=read_buffer(),
            patience_ms=patience_ms,
            schedule=self._schedule,
            fail=self._fail,
        )

    def _schedule(self) -> None:
        self.turns += 1

    def _fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self.changed.set()

    def accept(self) -> Link | None:
        return self._link()

    def dialled(self, sid: int) -> Link | None:
        return self._link()

    def dial_failed(self, sid: int) -> None:
        self.failed.append(sid)
        self.changed.set()

    def _link(self) -> Link | None:
        self.changed.set()
        if not self.wanted:
            return None
        self.links.append(Link(self))
        return self.links[-1]

    async def until(self, holds) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await self.changed.wait()
                self.changed.clear()


@asynccontextmanager
async def having(sid, addresses, sockets=PLAIN, **settings):
    peer = Peer(sid, addresses, sockets, **settings)
    try:
        yield peer
    finally:
        await peer.port.close()


async def connected(address):
    """A bare connection to a port that is about to be opened; its reader takes little ahead of need."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncio.open_connection(*address, limit=1000)
            except ConnectionRefusedError:
                await asyncio.sleep(0)


@asynccontextmanager
async def joined(addresses, sockets=PLAIN):
    """A leader with one learner: both peers, both links."""
    async with having(3, addresses, sockets) as leader, having(1, addresses, sockets) as learner:
        leader.port.listen(True)
        learner.port.dial(3)
        await learner.until(lambda: learner.links)
        await leader.until(lambda: leader.links)
        yield leader, learner, leader.links[0], learner.links[0]


@pytest.mark.asyncio
async def test_bytes_go_both_ways_in_order(addresses):
    async with joined(addresses) as (leader, learner, to_learner, to_leader):
        to_learner.out += [b"one ", b"two"]
        leader.port.flush([to_learner])
        assert to_learner.out == []
        to_leader.out.append(b"three")
        learner.port.flush([to_leader])
        await learner.until(lambda: to_leader.received == b"one two")
        await leader.until(lambda: to_learner.received == b"three")
        assert leader.turns


@pytest.mark.asyncio
async def test_a_learner_waits_a_little_for_its_leader(addresses):
    async with having(3, addresses) as leader, having(1, addresses) as learner:
        learner.port.dial(3)
        await asyncio.sleep(0.05)
        leader.port.listen(True)
        await learner.until(lambda: learner.links)
        assert learner.failed == []


@pytest.mark.asyncio
async def test_a_leader_that_is_not_there_is_told_of(addresses):
    async with having(1, addresses) as learner:
        learner.port.dial(3)
        await learner.until(lambda: learner.failed == [3])
        assert learner.links == []
        assert learner.turns


@pytest.mark.asyncio
async def test_a_new_leader_takes_the_place_of_one_still_dialled(addresses):
    async with having(2, addresses) as leader, having(1, addresses) as learner:
        leader.port.listen(True)
        learner.port.dial(3)
        learner.port.dial(2)
        await leader.until(lambda: leader.links)
        await learner.until(lambda: learner.links)
        assert learner.failed == []


@pytest.mark.asyncio
async def test_a_dial_given_up_behind_its_connection_loses_the_link(addresses):
    async with having(3, addresses) as leader, having(1, addresses) as learner:
        leader.port.listen(True)
        _, writer = await connected(addresses[3])
        writer.transport.abort()
        learner.port.dial(3)
        asked = learner.dialled

        def dialled(sid: int) -> Link | None:
            learner.port.dial(2)  # before the attempt has heard of its success
            learner.dialled = asked
            return asked(sid)

        learner.dialled = dialled
        await learner.until(lambda: learner.links and learner.links[0].is_lost)
        await learner.until(lambda: learner.failed == [2])


@pytest.mark.asyncio
async def test_a_connection_no_longer_wanted_is_closed(addresses):
    async with having(3, addresses) as leader, having(1, addresses) as learner:
        leader.port.listen(True)
        learner.wanted = False
        learner.port.dial(3)
        await leader.until(lambda: leader.links and leader.links[0].is_lost)
        assert learner.failed == []


@pytest.mark.asyncio
async def test_who_is_not_accepted_is_hung_up_on(addresses):
    async with having(3, addresses) as leader:
        leader.wanted = False
        leader.port.listen(True)
        reader, writer = await connected(addresses[3])
        async with asyncio.timeout(60):
            assert not await reader.read()
        writer.transport.abort()


@pytest.mark.asyncio
async def test_only_a_leader_listens(addresses):
    async with having(3, addresses) as leader, having(1, addresses) as learner:
        leader.port.listen(True)
        leader.port.listen(True)
        learner.port.dial(3)
        await learner.until(lambda: learner.links)
        leader.port.listen(False)
        learner.port.dial(3)
        await learner.until(lambda: learner.failed == [3])
        leader.port.listen(True)
        learner.port.dial(3)
        await learner.until(lambda: len(learner.links) == 2)


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_waited_for(addresses):
    async with having(3, addresses) as first, having(3, addresses) as second, having(1, addresses) as learner:
        first.port.listen(True)
        learner.port.dial(3)
        await first.until(lambda: first.links)
        second.port.listen(True)
        await asyncio.sleep(0.05)
        first.port.listen(False)
        async with asyncio.timeout(60):
            while not second.links:
                learner.port.dial(3)
                await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_but_not_for_ever(addresses, monkeypatch):
    monkeypatch.setattr(module, "_LISTEN_AGAIN_S", 0.01)
    with socket.create_server(addresses[3]):
        async with having(3, addresses, patience_ms=50) as leader:
            leader.port.listen(True)
            await leader.until(lambda: leader.errors)
        with pytest.raises(OSError, match="this server leads and cannot open its quorum port: cannot listen on port"):
            raise leader.errors[0]


@pytest.mark.asyncio
async def test_a_port_can_be_tried_without_accepting_anybody(addresses):
    async with having(3, addresses) as first, having(3, addresses) as second, having(1, addresses) as learner:
        await second.port.check()
        first.port.listen(True)
        learner.port.dial(3)
        await first.until(lambda: first.links)
        with pytest.raises(OSError, match="in use"):
            await second.port.check()
    assert second.links == []


@pytest.mark.asyncio
async def test_a_link_that_wants_to_close_is_closed_at_once(addresses):
    async with joined(addresses) as (leader, learner, to_learner, to_leader):
        to_learner.out.append(b"never sent")
        to_learner.wants_close = True
        leader.port.flush([to_learner])
        await learner.until(lambda: to_leader.is_lost)
        await leader.until(lambda: to_learner.is_lost)
        assert to_leader.received == b""
        leader.port.flush([to_learner])  # of a link that is gone


@pytest.mark.asyncio
async def test_interop_1_a_farewell_is_the_last_that_is_sent(addresses):
    async with having(1, addresses) as one:
        one.port.listen(True)
        reader, writer = await connected(addresses[1])
        await one.until(lambda: one.links)
        (link,) = one.links
        link.out.append(b"what nobody waits for")
        link.farewell, link.wants_close = b"why", True
        one.port.flush([link])
        async with asyncio.timeout(60):
            assert await reader.read() == b"why"
        await one.until(lambda: link.is_lost)
        writer.close()


@pytest.mark.asyncio
async def test_an_error_in_the_peer_ends_the_server(addresses):
    async with joined(addresses) as (leader, learner, _, to_leader):
        leader.breaks = True
        to_leader.out.append(b"x")
        learner.port.flush([to_leader])
        await leader.until(lambda: leader.errors)
        assert isinstance(leader.errors[0], ValueError)


@pytest.mark.asyncio
async def test_what_is_behind_a_dump_waits_for_its_end(addresses):
    async with joined(addresses) as (leader, learner, to_learner, to_leader):
        slices = [bytes([number]) * 100_000 for number in range(80)]
        to_learner.out += [b"before", iter(slices), b"after"]
        leader.port.flush([to_learner])
        to_learner.out += [b" and", iter([b" again"]), b" end"]
        leader.port.flush([to_learner])
        expected = b"before" + b"".join(slices) + b"after and again end"
        await learner.until(lambda: len(to_leader.received) == len(expected))
        assert to_leader.received == expected
        assert to_learner.out == []


@pytest.mark.asyncio
async def test_a_dump_is_made_only_as_fast_as_it_is_read(addresses, monkeypatch):
    monkeypatch.setattr(module, "_READY_BYTES", 100_000)
    async with having(3, addresses) as leader:
        leader.port.listen(True)
        reader, writer = await connected(addresses[3])
        await leader.until(lambda: leader.links)
        link = leader.links[0]
        made = 0

        def slices():
            nonlocal made
            for _ in range(1000):
                made += 1
                yield bytes(100_000)

        link.out += [slices(), b"behind"]
        leader.port.flush([link])
        protocol = leader.port._protocols[link.key]
        async with asyncio.timeout(60):
            while not protocol._unwritable:
                await asyncio.sleep(0)
        held = made
        for _ in range(100):
            leader.port.flush([link])
            await asyncio.sleep(0)
        assert made == held < 1000
        async with asyncio.timeout(60):
            assert len(await reader.readexactly(100_000_006)) == 100_000_006
        assert made == 1000
        writer.transport.abort()


@pytest.mark.asyncio
async def test_dumps_share_the_turns_and_leave_some_to_others(addresses, monkeypatch):
    monkeypatch.setattr(module, "_SLICE_LIMIT_S", 0.0)
    async with having(3, addresses) as leader, having(1, addresses) as one, having(2, addresses) as two:
        leader.port.listen(True)
        one.port.dial(3)
        two.port.dial(3)
        await leader.until(lambda: len(leader.links) == 2)
        order, turns = [], 0

        def slices(name):
            for _ in range(20):
                order.append((turns, name))
                yield b"x"

        def turn():
            nonlocal turns
            turns += 1
            if len(order) < 40:
                asyncio.get_running_loop().call_soon(turn)

        for name, link in enumerate(leader.links):
            link.out.append(slices(name))
        turn()
        leader.port.flush(leader.links)
        await one.until(lambda: one.links and len(one.links[0].received) == 20)
        await two.until(lambda: two.links and len(two.links[0].received) == 20)
        per_turn = [sum(at == number for at, _ in order) for number in range(turns + 1)]
        assert max(per_turn) == 1
        assert {name for _, name in order[:2]} == {0, 1}


@pytest.mark.asyncio
@pytest.mark.parametrize("dump", [False, True])
async def test_a_learner_that_does_not_read_is_cut_off(addresses, monkeypatch, dump):
    monkeypatch.setattr(module, "_READY_BYTES", 100_000)
    monkeypatch.setattr(module, "_MOST_UNSENT_BYTES", 20_000_000)
    async with having(3, addresses) as leader:
        leader.port.listen(True)
        _, writer = await connected(addresses[3])
        await leader.until(lambda: leader.links)
        link = leader.links[0]
        if dump:
            link.out.append(bytes(100_000) for _ in range(10_000))
        sent = 0
        async with asyncio.timeout(60):
            while not link.is_lost:
                sent += 1
                if not link.wants_close:
                    link.out.append(bytes(1_000_000))
                leader.port.flush([link])
                await asyncio.sleep(0)
        assert 20 <= sent < 60
        writer.transport.abort()


@pytest.mark.asyncio
async def test_a_dump_that_breaks_ends_the_server(addresses):
    async with joined(addresses) as (leader, _, to_learner, _):
        to_learner.out.append(1 // number for number in (0,))
        leader.port.flush([to_learner])
        await leader.until(lambda: leader.errors)


@pytest.mark.asyncio
async def test_a_learner_lost_amid_a_dump_is_no_trouble_for_others(addresses):
    async with having(3, addresses) as leader, having(1, addresses) as one, having(2, addresses) as two:
        leader.port.listen(True)
        one.port.dial(3)
        await leader.until(lambda: leader.links)
        two.port.dial(3)
        await leader.until(lambda: len(leader.links) == 2)
        for link in leader.links:
            link.out += [(bytes(100_000) for _ in range(300)), b"end"]
        leader.port.flush(leader.links)
        await one.until(lambda: one.links)
        one.links[0].wants_close = True
        one.port.flush(one.links)
        await leader.until(lambda: leader.links[0].is_lost)
        await two.until(lambda: two.links and two.links[0].received.endswith(b"end"))
