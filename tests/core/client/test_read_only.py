"""The client with servers that are read-only: what it says to them, what it believes, and when it goes elsewhere."""

from __future__ import annotations

import struct
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from itertools import islice, pairwise
from random import Random

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.client.connector import _probe_pauses
from recipes.core.client.session import ConnectionState, Session
from recipes.core.errors import ConnectionLoss, NotReadOnly
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import ConnectResponse

pytestmark = pytest.mark.anyio

SECONDS = 60
PASSWORD = b"0123456789abcdef"
PROBE = 0x6973726F  # isro, read as a length


class Scripted:
    """A server that is "rw", "ro" or "null" as `mode` says.

    knows: the sessions it lets come back. new_id: the next one it gives. greetings: (session id, password, read-only)
    of every handshake. probes: how often it was asked for its mode; silent: and says nothing to that. polite:
    read-only, it hangs up on those that do not want that.
    """

    def __init__(self, mode, new_id):
        self.mode = mode
        self.new_id = new_id
        self.knows = set()
        self.greetings = []
        self.opcodes = []
        self.probes = self.open = 0
        self.silent = False
        self.polite = True
        self.scopes = []
        self.changed = anyio.Event()

    def note(self):
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    async def until(self, condition):
        with anyio.fail_after(SECONDS):
            while not condition():
                await self.changed.wait()

    def becomes(self, mode):
        self.mode = mode
        scopes, self.scopes = self.scopes, []
        for scope in scopes:
            scope.cancel()

    async def handle(self, stream):
        self.open += 1
        self.note()
        try:
            with anyio.CancelScope() as scope:
                self.scopes.append(scope)
                async with stream:
                    await self._talk(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            self.note()

    async def _talk(self, stream):
        data = await stream.receive()
        if struct.unpack_from(">i", data)[0] == PROBE:
            self.probes += 1
            self.note()
            await (stream.receive() if self.silent else stream.send(self.mode.encode()))
            return
        while len(data) < 49:
            data += await stream.receive()
        _, _, timeout_ms, session_id, _, password, read_only = struct.unpack_from(">iqiqi16s?", data, 4)
        self.greetings.append((session_id, password, read_only))
        self.note()
        only = self.mode == "ro"
        if self.mode == "null" or (only and self.polite and not read_only):
            return
        if session_id == 0:
            session_id, self.new_id = self.new_id, self.new_id + 1
            self.knows.add(session_id)
        over = session_id not in self.knows
        body = struct.pack(">iiqi16s?", 0, 0 if over else timeout_ms, session_id, 16, PASSWORD, only)
        await stream.send(struct.pack(">i", len(body)) + body)
        data = data[49:]
        while not over:
            while len(data) >= 4 and len(data) - 4 >= (size := struct.unpack_from(">i", data)[0]):
                xid, kind = struct.unpack_from(">ii", data, 4)
                data = data[4 + size :]
                self.opcodes.append(kind)
                self.note()
                refused = only and kind in (op.DELETE, op.SYNC)
                await stream.send(struct.pack(">iiqi", 16, xid, 1, -119 if refused else 0))
            data += await stream.receive()


@asynccontextmanager
async def scripted(*modes):
    """A server for each mode, on consecutive sessions ids 1000, 2000 ..., and what to connect to."""
    async with AsyncExitStack() as stack:
        servers = [Scripted(mode, 1000 * number) for number, mode in enumerate(modes, 1)]
        opened = [await anyio.create_tcp_listener(local_host="127.0.0.1") for _ in servers]
        listeners = [await stack.enter_async_context(listener) for listener in opened]
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        for server, listener in zip(servers, listeners, strict=True):
            tasks.start_soon(listener.serve, server.handle)
        ports = [listener.extra(anyio.abc.SocketAttribute.local_port) for listener in listeners]
        yield (*servers, ",".join(f"127.0.0.1:{port}" for port in ports))


async def state_of(client, wanted):
    with anyio.fail_after(SECONDS):
        async with aclosing(client.states()) as states:
            async for state in states:
                if state is wanted:
                    return
    pytest.fail(f"never {wanted}")


async def test_it_moves_to_a_server_that_takes_writes_with_a_new_session():
    async with scripted("ro", "null") as (one, two, hosts), connect(hosts, read_only=True) as client:
        assert client.state is ConnectionState.READ_ONLY
        session = client.session
        assert session.id == 1000
        with pytest.raises(NotReadOnly) as caught:
            await client.delete("/a")
        assert caught.value.path == "/a"
        with pytest.raises(NotReadOnly):
            await client.sync()
        await two.until(lambda: two.probes > 1)
        assert client.state is ConnectionState.READ_ONLY
        two.mode = "rw"
        await state_of(client, ConnectionState.CONNECTED)
        assert two.greetings[-1] == (0, bytes(16), True)
        assert client.session is session
        assert session.id == 2000
        assert not session.lost
        await client.delete("/a")
        await one.until(lambda: one.open == 0)
        probes = one.probes, two.probes
        await client.sync()
        assert (one.probes, two.probes) == probes


async def test_where_it_moved_to_it_is_as_any_other_client(monkeypatch):
    begun = []
    monkeypatch.setattr(
        "recipes.core.client.connector._probe_pauses", lambda random: begun.append(1) or _probe_pauses(random)
    )
    async with scripted("ro", "rw") as (one, two, hosts), connect(hosts, read_only=True) as client:
        await state_of(client, ConnectionState.CONNECTED)
        assert len(begun) == 2  # the next search does not go on from long pauses
        one.knows.add(2000)
        one.mode = "rw"
        two.becomes("null")
        await one.until(lambda: (2000, PASSWORD, False) in one.greetings)
        await state_of(client, ConnectionState.CONNECTED)
        assert client.session.id == 2000


async def test_when_its_server_finds_a_leader_the_session_is_a_new_one_there_too():
    async with scripted("ro") as (server, hosts), connect(hosts, read_only=True) as client:
        server.becomes("rw")
        await state_of(client, ConnectionState.CONNECTED)
        assert server.greetings == [(0, bytes(16), True), (0, bytes(16), True)]
        assert client.session.id == 1001


async def test_a_read_only_session_outlives_any_time_without_a_server():
    async with scripted("ro") as (server, hosts), connect(hosts, read_only=True, session_timeout=0.8) as client:
        server.becomes("null")
        await server.until(lambda: len(server.greetings) > 8)  # takes longer than the session's timeout
        assert client.session.expires_at == float("inf")
        assert not client.session.lost
        server.becomes("ro")
        await state_of(client, ConnectionState.READ_ONLY)
        assert client.session.id == 1001


async def test_a_session_with_a_leader_is_kept_over_a_read_only_server_that_says_it_is_over():
    async with scripted("rw") as (server, hosts), connect(hosts, read_only=True) as client:
        before = client.session.expires_at
        server.polite = False
        server.knows.clear()
        server.becomes("ro")
        await server.until(lambda: len(server.greetings) > 3)
        assert client.state is ConnectionState.SUSPENDED
        assert client.session.expires_at == before
        server.knows.add(1000)
        server.becomes("rw")
        await state_of(client, ConnectionState.CONNECTED)
        assert set(server.greetings[1:]) == {(1000, PASSWORD, False)}
        assert client.session.id == 1000


async def test_a_session_with_a_leader_is_not_served_by_a_read_only_server_and_loses_no_clean_up_there():
    async with scripted("rw", "null") as (one, two, hosts), connect(hosts, read_only=True) as client:
        one.polite = False  # it would take the session in
        one.becomes("ro")
        await one.until(lambda: len(one.greetings) > 2)
        assert client.state is ConnectionState.SUSPENDED
        client.delete_later("/lock/mine")
        two.knows.add(1000)
        two.mode = "rw"
        await state_of(client, ConnectionState.CONNECTED)
        assert (client.session.id, client.session.lost) == (1000, False)
        await two.until(lambda: op.DELETE in two.opcodes)
        assert op.DELETE not in one.opcodes


async def test_unless_asked_to_it_has_nothing_to_do_with_them():
    async with scripted("ro", "rw") as (one, two, hosts):
        for _ in range(6):  # the order of hosts is random
            async with connect(hosts) as client:
                assert client.state is ConnectionState.CONNECTED
        assert all(greeting == (0, bytes(16), False) for greeting in (*one.greetings, *two.greetings))
        assert one.probes == two.probes == 0
    async with scripted("ro") as (_, hosts):
        with pytest.raises(ConnectionLoss):
            async with connect(hosts, session_timeout=1.5):
                pass


async def test_a_server_that_says_it_is_read_only_unasked_is_left():
    async with scripted("rw") as (server, hosts), connect(hosts) as client:
        server.polite = False
        server.becomes("ro")
        await server.until(lambda: len(server.greetings) > 2)
        assert client.state is ConnectionState.SUSPENDED
        server.becomes("rw")
        await state_of(client, ConnectionState.CONNECTED)


async def test_it_can_be_closed_while_a_server_does_not_say_what_it_is():
    async with scripted("ro", "null") as (one, two, hosts):
        two.silent = True
        with anyio.fail_after(SECONDS):
            async with connect(hosts, read_only=True):
                await two.until(lambda: two.probes == 1)
            assert op.CLOSE_SESSION in one.opcodes
        await one.until(lambda: one.open == 0)
        await two.until(lambda: two.open == 0)


async def test_one_that_is_silent_does_not_hide_the_others():
    async with scripted("ro", "null", "null") as (_, two, three, hosts):
        async with connect(hosts, read_only=True, session_timeout=3.0) as client:
            two.silent = True
            three.mode = "rw"
            await state_of(client, ConnectionState.CONNECTED)
            assert client.session.id == 3000


def test_pauses_double_up_to_a_minute():
    class Longest(Random):
        def uniform(self, a, b):
            assert a == 0
            return b

    found = list(islice(_probe_pauses(Longest()), 14))
    assert found[0] == 0.1
    assert found[-1] == 60.0
    assert all(later == min(60.0, 2 * earlier) for earlier, later in pairwise(found))


async def test_only_a_session_that_a_read_only_server_made_is_replaced():
    session = Session(10.0)
    session.opened(ConnectResponse(4000, 5, PASSWORD, True), 1.0)
    assert (session.read_only, session.expires_at) == (True, float("inf"))
    assert session.greeting(True)[2:5] == (0, bytes(16), True)
    session.opened(ConnectResponse(4000, 6, PASSWORD, True), 2.0)
    assert session.read_only
    session.opened(ConnectResponse(4000, 7, PASSWORD), 3.0)
    assert (session.read_only, session.expires_at) == (False, 6.8)
    assert session.greeting(True)[2:5] == (7, PASSWORD, False)
