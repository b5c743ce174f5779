"""The client when the server, or the network, does not do what it should."""

import socket

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.client.session import ConnectionState, EventType
from recipes.core.errors import ConnectionLoss, NoAuth, SessionError
from recipes.core.jute.records import ACL, Id
from tests.core.client.scripted import scripted

pytestmark = pytest.mark.anyio

SECONDS = 60


async def test_a_session_lost_by_the_local_clock_is_not_kept_alive_on_the_server():
    async with scripted(timeout_ms=4000) as server, connect(server.hosts, session_timeout=4.0) as client:
        await server.until(lambda: server.open == 1)
        with anyio.fail_after(SECONDS):
            while not client.session.lost_event.is_set():
                client.session.expires_at = client.clock() - 1  # as after a loop that was blocked too long
                await anyio.sleep(0.01)  # an answer that is under way just then sets it anew
        await server.until(lambda: server.open == 0)  # so nobody pings: its ephemerals go
        assert client.state is ConnectionState.LOST


async def test_a_server_that_stops_reading_costs_the_connection_not_the_session():
    async with scripted(timeout_ms=6000) as server, connect(server.hosts, session_timeout=6.0) as client:
        server.reads = False
        lost = []

        async def write():
            try:
                await client.set("/a", bytes(1_000_000))
            except SessionError as error:
                lost.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(write)
            await server.until(lambda: server.connections == 2 or client.session.lost)
            assert not client.session.lost
            server.reads = True
            server.note()
        assert all(isinstance(error, ConnectionLoss) and error.maybe_applied for error in lost)


async def test_a_silent_server_does_not_use_up_the_time_for_the_others(hosts):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        both = f"127.0.0.1:{silent.getsockname()[1]},{hosts}"
        for _ in range(4):  # the order of hosts is random
            async with connect(both, session_timeout=4.0) as client:
                await client.exists("/")


async def names(monkeypatch, answers):
    """Let the name server answer with these addresses, one list after the other."""

    async def look_up(host, port, **kind):
        assert host == "zk.example.org"
        return [(None, None, None, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr("recipes.core.client.connector.anyio.getaddrinfo", look_up)


async def test_every_address_of_a_name_is_tried(monkeypatch):
    async with scripted() as server:
        with socket.socket() as silent:
            silent.bind(("127.0.0.2", server.port))
            silent.listen()
            await names(monkeypatch, [["127.0.0.3", "127.0.0.2", "127.0.0.1"]])
            async with connect(f"zk.example.org:{server.port}", session_timeout=6.0) as client:
                await client.sync()


async def test_a_name_is_looked_up_again_when_the_connection_is_lost(monkeypatch):
    async with scripted(timeout_ms=8000) as first:
        async with scripted(address="127.0.0.2", port=first.port, timeout_ms=8000) as second:
            await names(monkeypatch, [["127.0.0.1"], ["127.0.0.2"]])
            async with connect(f"zk.example.org:{first.port}", session_timeout=8.0) as client:
                await client.sync()
                first.hang_up()
                await second.until(lambda: second.open == 1)
                await client.sync()


async def test_p24_leaving_a_stream_of_events_leaves_other_watches_alone(hosts, root):
    async with connect(hosts, session_timeout=5) as client:
        await client.create(root)
        _, _, watch = await client.get_watch(root)
        async with client.watch(root):
            pass
        await client.set(root, b"x")
        with anyio.fail_after(SECONDS):
            assert (await watch.wait()).type is EventType.DATA_CHANGED


async def test_a_delete_that_is_not_permitted_does_not_end_the_client(hosts, root, caplog):
    async with connect(hosts, session_timeout=5) as client:
        await client.create(root, acl=[ACL(1 | 4, Id("world", "anyone"))])
        await client.create(f"{root}/a")
        client.delete_later(f"{root}/a")
        await client.sync(root)
        await client.sync(root)
        with pytest.raises(NoAuth):
            await client.delete(f"{root}/a")
        assert not client.session.lost
    assert f"the servers refuse to delete a znode, so it stays: The ACL does not permit this: {root}/a" in caplog.text


async def test_parents_that_exist_need_no_permission(hosts, root):
    async with connect(hosts, session_timeout=5) as client:
        await client.create(root)
        await client.create(f"{root}/a")
        await client.create(f"{root}/a/b")
        await client.set_acl(root, [ACL(1, Id("world", "anyone"))])
        await client.ensure_path(f"{root}/a/b/c")
        assert await client.exists(f"{root}/a/b/c") is not None


async def test_nobody_listening_names_the_reason(silent_port):
    with pytest.raises(ConnectionLoss, match="Connection refused") as caught:
        async with connect(f"127.0.0.1:{silent_port}", session_timeout=1.5):
            pass
    assert "\n" not in str(caught.value)
