"""Election ports on loopback sockets: who dials, what is sent again, who is refused."""

import asyncio
import socket
import struct
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from recipes.core.jute.votes import FOLLOWING, LOOKING, Notification, encode_greeting, encode_notification
from recipes.core.server import election_connection, strangers
from recipes.core.server.election_port import ElectionPort
from recipes.core.server.peer_sockets import PeerSockets

PLAIN = PeerSockets("127.0.0.1", 4000)


def vote(number: int, config: bytes = b"") -> Notification:
    return Notification(LOOKING, number, 7, 1, 0, config)


class Server:
    def __init__(
        self, sid: int, addresses: dict[int, tuple[str, int]], sockets: PeerSockets = PLAIN, others=None
    ) -> None:
        self.heard: list[tuple[int, Notification]] = []
        self.unreachable: list[tuple[int, bool]] = []
        self.changed = asyncio.Event()
        self.port = ElectionPort(
            sid,
            addresses,
            sockets,
            heard=lambda other, note: self._note(self.heard, (other, note)),
            unreachable=lambda other, whether: self._note(self.unreachable, (other, whether)),
            others=others,
        )

    def _note(self, kept, what) -> None:
        kept.append(what)
        self.changed.set()

    async def until_known(self, address: str) -> None:
        """Until the names of the servers are looked up."""
        async with asyncio.timeout(60):
            while not self.port.sockets.is_server(address):
                await asyncio.sleep(0)

    async def until(self, holds) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await self.changed.wait()
                self.changed.clear()


@asynccontextmanager
async def serving(sid, addresses, sockets=PLAIN, others=None):
    server = Server(sid, addresses, sockets, others)
    await server.port.start()
    try:
        yield server
    finally:
        await server.port.close()


class Raw:
    """Another server's socket, byte by byte."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(60):
            return await self.reader.readexactly(size)

    async def ended(self) -> bool:
        async with asyncio.timeout(60):
            try:
                return not await self.reader.read(1)
            except ConnectionError:
                return True

    async def note(self) -> bytes:
        (size,) = struct.unpack(">i", await self.read(4))
        return struct.pack(">i", size) + await self.read(size)

    async def close(self) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


@asynccontextmanager
async def calling(address):
    raw = Raw(*await asyncio.open_connection(*address))
    try:
        yield raw
    finally:
        await raw.close()


@asynccontextmanager
async def listening(address):
    """A bare listener; its connections come out of the queue."""
    callers: asyncio.Queue[Raw] = asyncio.Queue()
    kept = []

    def accept(reader, writer):
        raw = Raw(reader, writer)
        kept.append(raw)
        callers.put_nowait(raw)

    server = await asyncio.start_server(accept, *address)
    try:
        yield callers
    finally:
        server.close()
        for raw in kept:
            await raw.close()


async def next_of(callers) -> Raw:
    async with asyncio.timeout(60):
        return await callers.get()


def greeting(sid: int, addresses) -> bytes:
    host, port = addresses[sid]
    return encode_greeting(sid, f"{host}:{port}")


@pytest.mark.asyncio
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
async def test_everybody_hears_everybody_whoever_starts_first(addresses, order):
    async with AsyncExitStack() as stack:
        servers = {}
        for sid in order:
            servers[sid] = await stack.enter_async_context(serving(sid, addresses))
            for other in addresses:
                if other != sid:
                    servers[sid].port.send(other, vote(sid))
        for sid, server in servers.items():
            others = {(other, vote(other)) for other in addresses if other != sid}
            await server.until(lambda server=server, others=others: set(server.heard) >= others)


@pytest.mark.asyncio
@pytest.mark.parametrize("first_is_down", [True, False])
async def test_a_server_is_reached_at_any_of_its_addresses(addresses, first_is_down, caplog):
    others = {1: [("127.0.0.2", addresses[1][1])]}
    seen_by_2 = dict(addresses)
    if first_is_down:
        seen_by_2[1] = ("127.0.0.3", addresses[1][1])  # nobody listens there
    else:
        addresses[1] = ("192.0.2.1", addresses[1][1])  # server 1 does not have it any more
        seen_by_2 = addresses
    async with (
        serving(1, addresses, PeerSockets(addresses[1][0], 4000), others) as one,
        serving(2, seen_by_2, PeerSockets("127.0.0.1", 4000), others if first_is_down else {1: others[1]}) as two,
    ):
        two.port.send(1, vote(2))
        await one.until(lambda: (2, vote(2)) in one.heard)
        one.port.send(2, vote(1))
        await two.until(lambda: (1, vote(1)) in two.heard)
    warned = [text for text in caplog.messages if "one of this server's addresses cannot be opened" in text]
    assert len(warned) == (0 if first_is_down else 1)


@pytest.mark.asyncio
async def test_the_larger_sid_dials_and_greets_in_one_piece(addresses):
    async with listening(addresses[1]) as callers, serving(2, addresses) as two:
        raw = await next_of(callers)
        expected = greeting(2, addresses)
        assert await raw.read(len(expected)) == expected
        raw.writer.write(encode_notification(vote(1)))
        await two.until(lambda: two.heard == [(1, vote(1))])
        two.port.send(1, vote(9))
        assert await raw.note() == encode_notification(vote(9))


@pytest.mark.asyncio
async def test_the_smaller_sid_knocks_only_when_it_has_something_to_say(addresses):
    async with listening(addresses[3]) as callers, serving(2, addresses) as two:
        two.port.send(3, vote(2))
        raw = await next_of(callers)
        expected = greeting(2, addresses)
        assert await raw.read(len(expected)) == expected
        assert await raw.ended()
        async with calling(addresses[2]) as back:
            back.writer.write(greeting(3, addresses))
            assert await back.note() == encode_notification(vote(2))
            assert (3, True) not in two.unreachable


@pytest.mark.asyncio
async def test_f6_a_knock_ends_no_connection_that_works(addresses):
    async with listening(addresses[1]) as callers, serving(2, addresses) as two:
        old = await next_of(callers)
        await old.read(len(greeting(2, addresses)))
        two.port.send(1, vote(4))
        assert await old.note() == encode_notification(vote(4))
        async with calling(addresses[2]) as knock:
            knock.writer.write(greeting(1, addresses))
            assert await knock.ended()
        assert await old.note() == encode_notification(vote(4))  # a connection that is dead would break of it
        two.port.send(1, vote(5))
        assert await old.note() == encode_notification(vote(5))
        await old.close()
        raw = await next_of(callers)
        assert await raw.read(len(greeting(2, addresses))) == greeting(2, addresses)


@pytest.mark.asyncio
async def test_the_last_message_is_sent_again_on_a_new_connection(addresses):
    async with serving(1, addresses) as one:
        one.port.send(2, vote(1))
        for _ in range(2):
            async with calling(addresses[1]) as raw:
                raw.writer.write(greeting(2, addresses))
                assert await raw.note() == encode_notification(vote(1))


@pytest.mark.asyncio
async def test_f6_a_new_connection_waits_until_the_old_one_is_closed(addresses):
    async with serving(1, addresses) as one, calling(addresses[1]) as old:
        old.writer.write(greeting(2, addresses) + encode_notification(vote(2)))
        await one.until(lambda: one.heard)
        one.port.send(2, vote(4))
        assert await old.note() == encode_notification(vote(4))
        async with calling(addresses[1]) as stranger, calling(addresses[1]) as new:
            stranger.writer.write(greeting(2, addresses))
            assert await old.note() == encode_notification(vote(4))  # the old one is alive
            new.writer.write(greeting(2, addresses) + encode_notification(vote(3)) + encode_notification(vote(8)))
            assert await stranger.ended()  # one may wait
            one.port.send(2, vote(5))
            while await old.note() != encode_notification(vote(5)):
                pass
            assert one.heard == [(2, vote(2))]
            await old.close()
            assert await new.note() == encode_notification(vote(5))  # it may have been lost with the old one
            await one.until(lambda: (2, vote(8)) in one.heard)
            assert one.heard == [(2, vote(2)), (2, vote(8))]


@pytest.mark.asyncio
async def test_f6_a_new_connection_is_refused_where_the_old_one_lives_on(addresses, monkeypatch):
    monkeypatch.setattr(PeerSockets, "silence_s", -1)  # how long the old one may take to break, less a second
    async with serving(1, addresses) as one, calling(addresses[1]) as old:
        old.writer.write(greeting(2, addresses) + encode_notification(vote(2)))
        await one.until(lambda: one.heard)
        one.port.send(2, vote(4))
        for _ in range(2):
            async with calling(addresses[1]) as new:
                new.writer.write(greeting(2, addresses))
                assert await new.ended()
        old.writer.write(encode_notification(vote(6)))
        await one.until(lambda: (2, vote(6)) in one.heard)


@pytest.mark.asyncio
async def test_of_what_waits_only_the_newest_is_sent(addresses):
    big = b"x" * 20_000
    async with serving(1, addresses) as one, calling(addresses[1]) as raw:
        raw.writer.write(greeting(2, addresses) + encode_notification(vote(2)))
        await one.until(lambda: one.heard)
        other = one.port._servers[2]
        sent = 0
        while not other._connection.busy:  # until the socket takes no more
            sent += 1
            one.port.send(2, vote(sent, big))
            await asyncio.sleep(0)
        assert other._connection._transport.get_write_buffer_size() < 21_000  # of the last one only
        for number in range(10_000, 10_100):
            one.port.send(2, vote(number))
        for number in range(1, sent + 1):
            assert await raw.note() == encode_notification(vote(number, big))
        assert await raw.note() == encode_notification(vote(10_099))
        one.port.send(2, vote(20_000))
        assert await raw.note() == encode_notification(vote(20_000))


@pytest.mark.asyncio
async def test_before_there_is_a_connection_only_the_newest_waits(addresses):
    async with serving(1, addresses) as one:
        for number in range(5):
            one.port.send(2, vote(number))
        async with calling(addresses[1]) as raw:
            raw.writer.write(greeting(2, addresses))
            assert await raw.note() == encode_notification(vote(4))
            one.port.send(2, vote(7))
            assert await raw.note() == encode_notification(vote(7))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "first",
    [
        encode_greeting(9, "127.0.0.1:1"),
        encode_greeting(1, "127.0.0.1:1"),  # our own
        struct.pack(">qqi", -65536, 2, 2049),
        struct.pack(">qqi", -65536, 2, 0),
        struct.pack(">q", -7),
        encode_greeting(2, "127.0.0.1:1") + struct.pack(">i", 512 * 1024 + 1),
        encode_greeting(2, "127.0.0.1:1") + struct.pack(">i", -1),
    ],
)
async def test_strangers_and_what_is_out_of_bounds_are_hung_up_on(addresses, first):
    async with serving(1, addresses) as one, calling(addresses[1]) as raw:
        raw.writer.write(first)
        assert await raw.ended()
        assert one.heard == []


@pytest.mark.asyncio
async def test_a_notification_to_be_dropped_costs_nothing_else(addresses):
    async with serving(1, addresses) as one, calling(addresses[1]) as raw:
        data = greeting(2, addresses) + struct.pack(">i", 5) + b"short" + encode_notification(vote(3))
        for at in range(len(data)):
            raw.writer.write(data[at : at + 1])
            await asyncio.sleep(0)
        await one.until(lambda: one.heard == [(2, vote(3))])


@pytest.mark.asyncio
async def test_who_says_nothing_is_hung_up_on(addresses, monkeypatch):
    monkeypatch.setattr(election_connection, "_GREETING_TIMEOUT_S", 0.05)
    async with serving(1, addresses), calling(addresses[1]) as raw:
        assert await raw.ended()


@pytest.mark.asyncio
async def test_f5_the_oldest_stranger_gives_way(addresses, monkeypatch):
    monkeypatch.setattr(strangers, "MOST_FROM_SERVERS", 2)
    async with serving(1, addresses) as one, AsyncExitStack() as stack:
        await one.until_known("127.0.0.1")
        raws = [await stack.enter_async_context(calling(addresses[1])) for _ in range(3)]
        assert await raws[0].ended()
        raws[1].writer.write(greeting(2, addresses) + encode_notification(vote(2)))
        await one.until(lambda: one.heard)


@pytest.mark.asyncio
async def test_f5_strangers_from_elsewhere_take_no_place_of_a_server(addresses, monkeypatch):
    monkeypatch.setattr(strangers, "MOST_FROM_ELSEWHERE", 1)
    async with serving(1, addresses, PeerSockets(None, 4000)) as one, AsyncExitStack() as stack:
        await one.until_known("127.0.0.1")
        server = await stack.enter_async_context(calling(addresses[1]))
        far = []
        for _ in range(5):
            far.append(Raw(*await asyncio.open_connection(*addresses[1], local_addr=("127.0.0.2", 0))))
            stack.push_async_callback(far[-1].close)
        for raw in far[:-1]:
            assert await raw.ended()
        server.writer.write(greeting(2, addresses) + encode_notification(vote(2)))
        await one.until(lambda: one.heard)


@pytest.mark.asyncio
@pytest.mark.parametrize("sid", [1, 3])
async def test_a_server_that_cannot_be_reached_is_reported_and_found_again(addresses, sid):
    other = 2
    async with serving(sid, addresses) as here:
        here.port.send(other, vote(sid))
        await here.until(lambda: (other, True) in here.unreachable)
        async with serving(other, addresses) as there:
            there.port.send(sid, vote(other))
            await there.until(lambda: (sid, vote(sid)) in there.heard)
            await here.until(lambda: (other, False) in here.unreachable and here.heard)
        here.unreachable.clear()
        here.port.send(other, Notification(FOLLOWING, 1, 1, 1, 1, b""))
        await here.until(lambda: (other, True) in here.unreachable)


@pytest.mark.asyncio
async def test_a_connection_that_breaks_is_made_again(addresses):
    async with listening(addresses[1]) as callers, serving(2, addresses) as two:
        two.port.send(1, vote(4))
        for _ in range(3):
            raw = await next_of(callers)
            await raw.read(len(greeting(2, addresses)))
            assert await raw.note() == encode_notification(vote(4))
            await raw.close()


@pytest.mark.asyncio
async def test_a_name_is_looked_up_at_each_attempt(addresses, monkeypatch):
    addresses[1] = ("one.example", addresses[1][1])
    loop = asyncio.get_running_loop()
    real, known, asked = loop.getaddrinfo, [], asyncio.Event()

    async def getaddrinfo(host, port, **settings):
        if host == "one.example":
            asked.set()
            if not known:
                raise socket.gaierror("not known")
            host = known[0]
        return await real(host, port, **settings)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with serving(2, addresses) as two:
        await two.until(lambda: two.unreachable == [(1, True), (3, True)] or two.unreachable == [(1, True)])
        assert asked.is_set()
        async with listening(("127.0.0.1", addresses[1][1])) as callers:
            known.append("127.0.0.1")
            raw = await next_of(callers)
            await raw.read(len(greeting(2, addresses)))


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_an_error(addresses):
    async with serving(1, addresses):
        with pytest.raises(OSError, match="in use"):
            await Server(1, addresses).port.start()
