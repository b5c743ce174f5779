"""What a client is told: the end of its watches, what they may have missed, and where it stands."""

import logging
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest

from recipes import BadArguments, ClientClosed, ConnectionLoss, NoNode, SessionExpired, connect
from recipes.core.client.session import ConnectionState, EventType, WatchEvent
from recipes.testing import Ensemble
from tests.cable import cabled
from tests.core.client.scripted import SECONDS, scripted

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one():
    async with Ensemble(1) as ensemble:
        yield ensemble


async def reconnected(client, ensemble):
    """Return once the client has lost its connection and has one again."""
    seen = anyio.Event()

    async def look():
        async with aclosing(client.states()) as states:
            async for state in states:
                if state is ConnectionState.SUSPENDED:
                    seen.set()
                elif seen.is_set() and state is ConnectionState.CONNECTED:
                    return

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await ensemble.kill(1)
            await seen.wait()
            await ensemble.restart(1)


async def test_newcomer_2_a_stream_of_events_raises_when_its_session_is_over(one):
    async with connect(one.hosts) as client, connect(one.hosts) as other:
        async with client.watch("/") as events:
            await other.create("/a")
            assert (await anext(events)).type is EventType.CHILDREN_CHANGED
            await other.create("/b")
            await client.sync()
            await one.expire(client)
            with anyio.fail_after(SECONDS):
                await client.session.lost_event.wait()
                assert (await anext(events)).type is EventType.CHILDREN_CHANGED  # it came before
                for _ in range(2):
                    with pytest.raises(SessionExpired) as caught:
                        await anext(events)
                    assert caught.value.path == "/"
            with pytest.raises(SessionExpired):
                async for _ in events:
                    pytest.fail("an event")


async def test_newcomer_2_a_task_that_waits_for_an_event_hears_of_the_end(one):
    async with connect(one.hosts) as client:
        with anyio.fail_after(SECONDS), pytest.raises(SessionExpired):
            async with client.watch("/", recursive=True) as events:
                await one.expire(client)
                await anext(events)


async def test_review_4_a_watch_raises_when_its_session_is_over(one):
    async with connect(one.hosts) as client, connect(one.hosts) as closed:
        _, watch = await client.exists_watch("/a")
        _, late = await closed.exists_watch("/a")
        await one.expire(client)
        for _ in range(2):
            with anyio.fail_after(SECONDS), pytest.raises(SessionExpired) as caught:
                await watch.wait()
            assert caught.value.path == "/a"
    with pytest.raises(ClientClosed):
        await late.wait()


async def test_review_4_a_watch_that_fired_before_the_end_gives_its_event(one):
    async with connect(one.hosts) as client:
        _, watch = await client.exists_watch("/a")
        await client.create("/a")
        await client.sync()
    assert await watch.wait() == (EventType.CREATED, "/a")


async def test_newcomer_3_after_a_reconnect_a_stream_says_that_it_may_have_missed_changes(one):
    async with connect(f"{one.hosts}", session_timeout=20) as client:
        await client.create("/a")
        await client.create("/a/b")
        async with client.watch("/a", recursive=True) as below, client.watch("/a") as there:
            await reconnected(client, one)
            for events in (below, there):
                with anyio.fail_after(SECONDS):
                    assert await anext(events) == WatchEvent(EventType.RESYNC, "/a")
            await client.set("/a/b", b"x")
            await client.set("/a", b"x")
            with anyio.fail_after(SECONDS):
                assert [await anext(below), await anext(there)] == [
                    (EventType.DATA_CHANGED, "/a/b"),
                    (EventType.DATA_CHANGED, "/a"),
                ]
            await reconnected(client, one)
            await reconnected(client, one)
            with anyio.fail_after(SECONDS):
                assert await anext(there) == (EventType.RESYNC, "/a")  # once for both
            await client.delete("/a/b")
            with anyio.fail_after(SECONDS):
                assert (await anext(there)).type is EventType.CHILDREN_CHANGED


async def test_newcomer_3_p24_what_a_watch_that_fires_once_missed_is_given(one):
    async with connect(one.hosts, session_timeout=20) as client:
        await client.create("/a")
        _, _, watch = await client.get_watch("/a")
        _, _, idle = await client.get_watch("/a")
        await reconnected(client, one)
        assert idle._seen is None
        await client.set("/a", b"x")
        with anyio.fail_after(SECONDS):
            assert await watch.wait() == (EventType.DATA_CHANGED, "/a")


async def test_a_stream_is_read_inside_its_block():
    async with scripted(timeout_ms=10_000) as server, connect(server.hosts) as client:
        events = client.watch("/a")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="inside `async with"):
                await anext(events)
            async with events:
                pass


async def test_two_tasks_may_wait_for_one_stream(our_server, root):
    async with connect(our_server.hosts) as client:
        await client.create(root)
        got = []
        async with client.watch(root) as events:

            async def take():
                got.append(await anext(events))

            with anyio.fail_after(SECONDS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(take)
                    tasks.start_soon(take)
                    await anyio.lowlevel.checkpoint()
                    await client.set(root, b"1")
                    await client.set(root, b"2")
        assert len(got) == 2


async def test_newcomer_12_changes_of_the_connection_are_logged_once_each(one, caplog):
    caplog.set_level(logging.INFO, "recipes.client")
    async with connect(one.hosts, session_timeout=20) as client:
        number = f"0x{client.session_id:x}"
        assert said(caplog) == [f"connected to {one.hosts}: session {number}, timeout 20 s"]
        caplog.clear()
        await reconnected(client, one)
        first, *between, last = said(caplog)
        assert first == f"suspended, the connection of session {number} broke: {one.hosts}: it hung up"
        assert last.startswith(f"connected to {one.hosts}: session {number}")
        assert len(between) <= 1  # that it cannot be had
        caplog.clear()
        await one.expire(client)
        with anyio.fail_after(SECONDS):
            async for _ in client.states():
                pass
        assert [line for line in said(caplog) if "is lost" in line] == [
            f"session {number} is lost: session expired, according to {one.hosts}"
        ]
        caplog.clear()
    assert said(caplog) == [f"session {number} is closed"]


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "recipes.client"]


async def test_newcomer_12_no_server_is_logged_once_while_it_lasts(silent_port, caplog):
    caplog.set_level(logging.INFO, "recipes.client")
    with pytest.raises(ConnectionLoss):
        async with connect(f"127.0.0.1:{silent_port}", session_timeout=1.5):
            pass
    assert said(caplog) == [f"no server can be reached, trying again: 127.0.0.1:{silent_port}: Connection refused"]


async def test_newcomer_14_a_client_says_where_it_stands():
    client = connect("127.0.0.1:1", session_timeout=2.0)
    assert repr(client) == "<Client not connected: hosts='127.0.0.1:1'>"
    assert (client.server, client.session_id, client.session_timeout) == (None, 0, 2.0)
    async with scripted(timeout_ms=6000) as server:
        async with connect(server.hosts, session_timeout=2.0) as client:
            assert (client.server, client.session_id, client.session_timeout) == (server.hosts, 7, 6.0)
            assert repr(client) == f"<Client connected to {server.hosts}, session 0x7, timeout 6 s>"
        assert client.server is None
        assert repr(client) == "<Client closed, session 0x7, timeout 6 s>"
    for secret in ("bob", "pw"):
        assert secret not in repr(connect("127.0.0.1:1", auth=[("digest", "bob:pw")]))


async def test_newcomer_13_with_alone_says_async_with():
    with pytest.raises(TypeError, match="use `async with connect"), connect("127.0.0.1:1"):
        pytest.fail("entered")


@pytest.mark.parametrize("stated", ["", "a:x", "a,,b"])
async def test_weak_27_hosts_of_the_environment_that_are_none_name_the_variable(stated, monkeypatch):
    monkeypatch.setenv("RECIPES_HOSTS", stated)
    with pytest.raises(BadArguments, match=f"RECIPES_HOSTS={stated!r}: .*expected HOST or HOST:PORT"):
        async with connect():
            pytest.fail("connected")


async def test_newcomer_30_a_host_that_refuses_is_named_with_its_port(monkeypatch):
    async def look_up(host, port, **kind):
        return [(None, None, None, "", ("127.0.0.1", 1))]  # nobody listens there

    monkeypatch.setattr("recipes.core.client.connector.anyio.getaddrinfo", look_up)
    with pytest.raises(ConnectionLoss, match=r"^no ZooKeeper server answers at localhost:2181: Connection refused$"):
        async with connect("localhost", session_timeout=1.5):
            pytest.fail("connected")


async def test_weak_28_one_client_too_many_hears_of_the_limit(start_server):
    server = start_server("ours", maxClientCnxns=1)
    async with connect(server.hosts, session_timeout=5):
        with pytest.raises(ConnectionLoss, match="too many clients from this address"):
            async with connect(server.hosts, session_timeout=1.5):
                pytest.fail("connected")


async def test_newcomer_7_a_plain_client_hears_that_a_server_speaks_tls():
    async with scripted(first_word=b"\x15\x03\x03\x00\x02\x02\x46") as server:
        with pytest.raises(ConnectionLoss, match="it speaks TLS, and this client does not"):
            async with connect(server.hosts, session_timeout=1.5):
                pytest.fail("connected")


async def test_review_1_a_multi_is_sent_once(our_server, root):
    async with connect(our_server.hosts) as client:
        await client.create(root)
        async with client.multi() as multi:
            multi.set(root, b"1")
            assert not hasattr(multi, "commit")
        assert (await client.exists(root)).version == 1
        with pytest.raises(RuntimeError, match="has been sent"):
            multi.set(root, b"2")
        with pytest.raises(RuntimeError, match="has been sent"):
            async with multi:
                pytest.fail("entered again")
        failed = client.multi()
        with pytest.raises(NoNode):
            async with failed:
                failed.delete(f"{root}/missing")
        with pytest.raises(RuntimeError, match="has been sent"):
            async with failed:
                pytest.fail("entered again")
        assert (await client.exists(root)).version == 1


async def test_review_18_a_misspelt_keyword_of_create_is_refused():
    async with scripted(timeout_ms=10_000) as server, connect(server.hosts) as client:
        with pytest.raises(TypeError, match="sequental"):
            await client.create("/a", sequental=True)
        assert server.opcodes == []


async def test_review_21_internals_are_no_public_names_of_the_client():
    public = {name for name in dir(connect("127.0.0.1:1")) if not name.startswith("_")}
    assert public.isdisjoint({"create_body", "set_body", "full", "shown", "transaction"})


async def test_a_creation_that_is_heard_of_after_a_reconnect_is_not_in_order_with_other_events(hosts, root):
    """What happened meanwhile is told at once, whatever came first."""
    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other:
            made = anyio.Event()
            watch = client.watch_creation(root, made.set)
            await client.sync(root)
            await cable.pull()
            await other.create(root)
            await cable.plug()
            await made.wait()
            assert watch.is_made and not watch.in_order
