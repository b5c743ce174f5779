"""Clients that do not read, and connections that never get past their handshake: neither keeps places or memory."""

import asyncio
import socket
from contextlib import suppress

import pytest
import uvloop

from recipes.core.config import ServerConfig
from recipes.core.server import unread
from recipes.core.server.server import Server
from tests.core.server.test_server import HANDSHAKE, create, frame, get, header, session
from tests.core.server.test_tls import authority, config  # noqa: F401 - fixtures

LARGE = bytes(1 << 20)
FACTORIES = [asyncio.new_event_loop, uvloop.new_event_loop]


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def unread_client(server, requests):
    """A client that sends these requests and reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", server.client_port))
    await loop.sock_sendall(sock, HANDSHAKE + requests)
    return sock


def run(factory, main):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


@pytest.mark.parametrize("factory", FACTORIES)
def test_f3_a_client_that_reads_nothing_is_hung_up_on_and_held_to_a_few_mb(tmp_path, monkeypatch, caplog, factory):
    monkeypatch.setattr(unread, "PATIENCE_S", 0.5)

    async def main():
        async with Server(ServerConfig(data_dir=tmp_path, client_port=0, max_connections_per_ip=2)) as server:
            reader, writer = await session(server)
            writer.write(create(1, b"/large", LARGE[: 1 << 19]))
            assert header(await frame(reader)) == (1, 0)
            sock = await unread_client(server, b"".join(get(xid, b"/large") for xid in range(1, 101)))
            most = 0
            async with asyncio.timeout(60):
                while len(server.member.connections) < 2:
                    await asyncio.sleep(0)
                while len(server.member.connections) == 2:
                    for protocol in list(server._protocols.values()):
                        most = max(most, protocol.transport.get_write_buffer_size())
                    await asyncio.sleep(0.01)
            assert 0 < most < 8 << 20
            writer.write(get(2, b"/large"))  # it reads, and is served
            assert header(await frame(reader)) == (2, 0)
            again = await unread_client(server, b"")  # its place is free again
            await until(lambda: len(server.member.connections) == 2)
            for client in (sock, again):
                client.close()
            writer.close()

    run(factory, main)
    assert any("hung up on client 127.0.0.1:" in text and "has read nothing" in text for text in caplog.messages)


@pytest.mark.parametrize("factory", FACTORIES)
def test_f3_closing_does_not_wait_for_a_client_that_reads_nothing(tmp_path, monkeypatch, factory):
    monkeypatch.setattr(unread, "PATIENCE_S", 1000.0)
    monkeypatch.setattr(unread, "CLOSING_PATIENCE_S", 0.1)

    async def main():
        async with Server(ServerConfig(data_dir=tmp_path, client_port=0)) as server:
            reader, writer = await session(server)
            writer.write(create(1, b"/large", LARGE[: 1 << 19]))
            assert header(await frame(reader)) == (1, 0)
            sock = await unread_client(server, b"".join(get(xid, b"/large") for xid in range(1, 101)))
            await until(lambda: any(protocol._unwritable for protocol in server._protocols.values()))
            (stuck,) = (protocol for protocol in server._protocols.values() if protocol._unwritable)
            server.schedule()
            stuck.connection.close()  # as when its session has ended
            await until(lambda: stuck not in server._protocols.values())
            assert len(server.member.connections) == 1
            sock.close()
            writer.close()

    run(factory, main)


class FakeTransport:
    def __init__(self, unsent):
        self.unsent = unsent
        self.aborted = False

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.aborted = True


@pytest.mark.asyncio
async def test_f3_slow_progress_is_progress_but_closing_ends(monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s)
    transport, said = FakeTransport(100), []
    watched = unread.Unread(transport, said.append)
    for size in (99, 150, 149, 148):  # 52 were added, so that 150 is progress, too
        now_s += unread.PATIENCE_S - 1
        if size == 150:
            watched.added(52)
        transport.unsent = size
        watched._look()
    assert not transport.aborted
    watched.closing()
    now_s += unread.LONGEST_CLOSING_S
    transport.unsent -= 1
    watched._look()
    assert transport.aborted
    assert said == ["it has not read everything within 30 s"]
    watched.stop()


@pytest.mark.asyncio
async def test_f3_events_for_a_client_that_reads_nothing_are_limited():
    transport, said = FakeTransport(100), []
    watched = unread.Unread(transport, said.append)
    for _ in range(9):
        transport.unsent += 1 << 20
        watched.added(1 << 20)
    assert transport.aborted
    assert said[0] == "more than 8 MB wait for it"


@pytest.mark.asyncio
async def test_f8_a_connection_that_begins_no_handshake_has_a_place_until_another_client_comes(config, caplog):  # noqa: F811
    limited = ServerConfig(**{**config.model_dump(), "max_connections_per_ip": 3, "sessionless_timeout_ms": 60_000})
    async with Server(limited) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.secure_client_port) for _ in range(3)]
        await until(lambda: server._places.taken == 3)
        silent.append(await asyncio.open_connection("127.0.0.1", server.secure_client_port))
        with suppress(ConnectionError):
            assert await silent[0][0].read() == b""  # the oldest
        assert server._places.taken == 3
        (line,) = (text for text in caplog.messages if text.startswith("hung up on 127.0.0.1:"))
        assert "has said nothing, for another client: 3 are connected from there, all that maxClientCnxns" in line
        for _, other in silent:
            other.write(b"no handshake")  # it fails
        await until(lambda: server._places.taken == 0)
        for _, other in silent:
            other.close()


@pytest.mark.asyncio
async def test_f8_a_handshake_that_takes_too_long_gives_its_place_back(config):  # noqa: F811
    limited = ServerConfig(**{**config.model_dump(), "sessionless_timeout_ms": 50})
    async with Server(limited) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.secure_client_port)
        with suppress(ConnectionError):
            assert await reader.read() == b""  # hung up on
        await until(lambda: server._places._per_host == {} and not server._places.taken)
        writer.close()
