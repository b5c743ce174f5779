"""Nothing is tried for ever without a pause, one bad request leaves the others alone, and no server is trusted."""

import gc
import logging
import struct
import time
from functools import partial
from itertools import pairwise

import anyio
import pytest

from recipes import ConnectionLoss, NodeExists, NoNode, SessionExpired, connect
from recipes.core.client.backoff import pauses
from recipes.core.client.call import Call
from recipes.core.client.connector import _reconnect_pauses
from recipes.core.client.namespace import Namespace
from recipes.core.client.operations import Operations
from recipes.core.client.session import SURE, ConnectionState, Session
from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import ConnectResponse
from tests.core.client.scripted import SECONDS, scripted

pytestmark = pytest.mark.anyio

PASSWORD = bytes(16)


def reply(xid, err=0):
    return struct.pack(">iqi", xid, 1, err)


async def test_f4_a_read_that_breaks_every_connection_fails_and_the_others_are_answered():
    async with scripted(timeout_ms=10_000, breaks_at=["/poison"]) as server, connect(server.hosts) as client:
        done = []

        async def read(path):
            try:
                await client.get(path)
                done.append(path)
            except ConnectionLoss as error:
                done.append(error)

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                for path in ("/before", "/poison", "/behind", "/last"):
                    tasks.start_soon(read, path)
        failed = [each for each in done if isinstance(each, ConnectionLoss)]
        assert [error.path for error in failed] == ["/poison"]
        assert not failed[0].maybe_applied
        assert set(done) - set(failed) == {"/before", "/behind", "/last"}
        # Each of three answers lets two more connections carry the bad read in company; then it breaks three alone.
        assert server.connections <= 2 + 3 * 2 + 3 + 1


async def test_f4_each_of_several_bad_reads_is_found():
    async with scripted(timeout_ms=10_000, breaks_at=["/bad"]) as server, connect(server.hosts) as client:
        calls = [client.start_children(path) for path in ("/bad1", "/a", "/bad2", "/b")]
        found = []
        with anyio.fail_after(SECONDS):
            for call in calls:
                try:
                    await call.result()
                except ConnectionLoss as error:
                    found.append(error.path)
        assert found == ["/bad1", "/bad2"]


def session_of(*calls):
    session = Session(10.0)
    session.unsent.extend(calls)
    return session


def test_one_broken_connection_is_no_reason_to_send_one_by_one():
    session = session_of(*(Call(op.GET_DATA, b"", reads=True) for _ in range(3)))
    whole = session.outgoing(1.0)
    session.disconnected()
    assert len(session.outgoing(2.0)) == len(whole)
    session.disconnected()
    assert len(session.outgoing(3.0)) == len(whole) / 3
    session.receive(reply(7))
    assert len(session.outgoing(4.0)) == len(whole) / 3 * 2  # it answers: all that is left goes out


def test_a_write_waits_its_turn_behind_reads_that_are_sent_alone():
    session = session_of(Call(op.GET_DATA, b"", reads=True))
    for moment in (1.0, 2.0):
        session.outgoing(moment)
        session.disconnected()
    write = Call(op.SET_DATA, b"")
    session.unsent.append(write)
    session.outgoing(3.0)
    session.disconnected()
    assert not write.done  # it was not sent, so it is not in doubt


def test_outages_without_a_request_under_way_count_for_nothing():
    session = session_of()
    for _ in range(10):
        session.disconnected()
    session.unsent.extend(Call(op.GET_DATA, b"", reads=True) for _ in range(2))
    assert len(session.outgoing(1.0)) == 2 * 12


async def test_f4_u16_a_server_that_greets_and_then_breaks_is_not_dialled_without_end():
    async with scripted(timeout_ms=10_000, breaks_at=["/"]) as server, connect(server.hosts) as client:
        client.random.uniform = lambda low, high: high
        with anyio.fail_after(SECONDS), pytest.raises(ConnectionLoss):
            await client.get("/a")
        await server.until(lambda: server.connections == 4)
        waits = [later - earlier for earlier, later in pairwise(server.dialled)]
        expected = [0.04, 0.06, 0.09]
        assert all(wait > 0.9 * limit for wait, limit in zip(waits, expected, strict=True))


def test_review_6_pauses_repeat_with_the_random_and_grow_to_their_limit():
    class Longest:
        def uniform(self, low, high):
            assert low == 0
            return high

    found = pauses(Longest(), shortest=1.0, longest=5.0, factor=2.0)
    assert [next(found) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    reconnects = _reconnect_pauses(Longest())
    assert [round(next(reconnects), 3) for _ in range(10)][::9] == [0.04, 1.0]
    drawn = [[next(each) for _ in range(5)] for each in (_reconnect_pauses(client.random) for client in seeded())]
    assert drawn[0] == drawn[1]


def seeded():
    for _ in range(2):
        client = connect("127.0.0.1:1")
        client.random.seed(7)
        yield client


async def test_f15_a_server_that_greets_and_then_says_nothing_keeps_no_call():
    async with scripted(timeout_ms=2000) as server, connect(server.hosts, session_timeout=2.0) as client:
        server.answers = False
        with anyio.fail_after(SECONDS), pytest.raises((ConnectionLoss, SessionExpired)):
            await client.get("/a")


@pytest.mark.thorough  # waits 18 s for a time limit; the other ways to say nothing are here
async def test_f15_a_server_that_answers_pings_alone_keeps_no_call():
    async with scripted(timeout_ms=4000, pongs=True) as server, connect(server.hosts, session_timeout=4.0) as client:
        server.answers = False
        with anyio.fail_after(SECONDS), pytest.raises(ConnectionLoss) as caught:
            await client.get("/a")
        assert caught.value.path == "/a"
        assert client.state is not ConnectionState.LOST


async def test_f15_a_granted_timeout_is_not_longer_than_asked_for_or_a_minute():
    granted = {}
    for asked in (2.0, 90.0):
        async with scripted(timeout_ms=0x7FFFFFFF) as server, connect(server.hosts, session_timeout=asked) as client:
            granted[asked] = client.session_timeout
            left = client.session.expires_at - client.clock()
            assert granted[asked] / 2 < left <= granted[asked] * SURE
    assert granted == {2.0: 60.0, 90.0: 90.0}


def test_a_granted_timeout_that_is_usual_is_taken_as_it_is():
    session = Session(2.0)
    session.opened(ConnectResponse(6000, 5, PASSWORD), 1.0)
    assert (session.timeout, session.expires_at) == (6.0, 1.0 + 6.0 * SURE)


async def test_f15_a_new_session_that_is_called_over_is_asked_for_again():
    async with scripted(timeout_ms=0) as server:
        with anyio.fail_after(SECONDS), pytest.raises(ConnectionLoss, match="it refused a new session"):
            async with connect(server.hosts, session_timeout=1.5):
                pytest.fail("connected")
        assert server.connections > 1


def test_watches_that_are_refused_again_and_again_end_the_session():
    session = Session(10.0)
    for _ in range(2):
        with pytest.raises(WireError, match="watches were not restored"):
            session.receive(reply(op.SET_WATCHES_XID, -127))
        assert not session.lost
    session.receive(reply(op.SET_WATCHES_XID))
    for _ in range(3):
        with pytest.raises(WireError, match="watches were not restored"):
            session.receive(reply(op.SET_WATCHES_XID, -102))
    assert session.lost
    assert "the watches could not be set again: The ACL does not permit this" in str(session.ending(path=""))


async def test_f15_a_connection_that_breaks_while_nobody_waits_says_nothing(caplog):
    """asyncio: Future exception was never retrieved."""
    caplog.set_level(logging.ERROR)
    async with scripted(timeout_ms=10_000, first_word=b"\xff\xff\xff\xff") as server:
        for delay in (0.0, 0.001, 0.002, 0.004, 0.008):
            with anyio.move_on_after(delay):
                async with connect(server.hosts, session_timeout=0.3):
                    pytest.fail("connected")
    gc.collect()
    assert caplog.records == []


async def test_f15_a_wire_that_broke_and_was_never_run_says_nothing(anyio_backend, caplog):
    if anyio_backend == "trio":
        return  # it has no futures
    import asyncio

    from recipes.core.client.wire import ProtocolWire

    caplog.set_level(logging.ERROR)
    wire = ProtocolWire(None, asyncio.get_running_loop())
    wire.connection_lost(OSError("gone"))
    del wire
    gc.collect()
    assert caplog.records == []


def test_weak_25_s13_the_local_deadline_goes_on_while_the_machine_sleeps():
    clock = connect("127.0.0.1:1").clock
    if not hasattr(time, "CLOCK_BOOTTIME"):
        assert clock is time.monotonic
        return
    assert isinstance(clock, partial)
    assert (clock.func, clock.args) == (time.clock_gettime, (time.CLOCK_BOOTTIME,))


async def test_a_watch_on_a_deletion_is_asked_for_again_when_its_request_was_given_up():
    errors = {op.EXISTS: -101}
    async with (
        scripted(timeout_ms=10_000, breaks_at=["/mine"], errors=errors) as server,
        connect(server.hosts) as client,
    ):
        gone = anyio.Event()
        client.watch_deletion("/mine", gone.set)
        await server.until(lambda: server.connections > 5)
        assert not gone.is_set()
        server.breaks_at = []
        with anyio.fail_after(SECONDS):
            await gone.wait()


async def test_credentials_that_break_every_connection_are_given_up():
    async with scripted(timeout_ms=10_000, breaks_at=["poison"]) as server, connect(server.hosts) as client:
        with anyio.fail_after(SECONDS), pytest.raises(ConnectionLoss, match="credentials were sent"):
            await client.add_auth("digest", "u:poison")
        await client.get("/a")


@pytest.mark.thorough  # waits 14 s for a time limit
async def test_credentials_that_are_never_answered_cost_the_connection():
    async with scripted(timeout_ms=3000, pongs=True) as server, connect(server.hosts, session_timeout=3.0) as client:
        server.answers = False
        with anyio.fail_after(SECONDS), pytest.raises(ConnectionLoss):
            await client.add_auth("digest", "u:p")


async def test_parents_that_a_server_denies_again_and_again_are_an_error():
    class Denies(Operations):
        def __init__(self):
            self._namespace = Namespace(Session(1.0), self._submit, 4096)
            self.asked = 0

        def _submit(self, call):
            self.asked += 1
            call.fail(NodeExists(call.path) if call.path.count("/") == 1 else NoNode(call.path))
            return call

    client = Denies()
    with pytest.raises(NoNode, match="were deleted each time"):
        await client.ensure_path("/a/b/c")
    assert client.asked < 30


async def test_an_ancestor_that_others_make_and_servers_reap_is_made_again():
    class Busy(Operations):
        """Another client makes the container that we have found missing; servers reap it before we use it, twice."""

        def __init__(self):
            self._namespace = Namespace(Session(1.0), self._submit, 4096)
            self.znodes, self.reaped = set(), 0

        def _submit(self, call):
            above = call.path.rpartition("/")[0]
            if above and above not in self.znodes:
                call.fail(NoNode(call.path))
                self.znodes.add(above)
            elif call.path in self.znodes:
                call.fail(NodeExists(call.path))
                if self.reaped < 2:
                    self.reaped += 1
                    self.znodes.remove(call.path)
            else:
                self.znodes.add(call.path)
                call.succeed((call.path, None))
            return call

    client = Busy()
    assert await client.create("/a/b", make_parents=True) == "/a/b"
    assert client.reaped == 2
