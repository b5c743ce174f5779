"""Dialling another server: cut short, and with a name that DNS does not know."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import asynccontextmanager

import pytest
import uvloop

from recipes.core.server import peer_sockets as module
from recipes.core.server.peer_sockets import PeerSockets


class Told(asyncio.Protocol):
    def __init__(self, made) -> None:
        self.made = made
        self.heard: list[str] = []

    def connection_made(self, transport) -> None:
        self.heard.append("made")
        self.made()

    def connection_lost(self, exc) -> None:
        self.heard.append("lost")


async def dial_and_cancel() -> list[str]:
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    protocol = Told(lambda: attempt.cancel())
    attempt = asyncio.ensure_future(PeerSockets(None, 1000).dial(lambda: protocol, "127.0.0.1", port))
    with pytest.raises(asyncio.CancelledError):
        await attempt
    listener.close()
    return protocol.heard


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_attempt_cancelled_as_its_connection_comes_up_is_lost(factory):
    with asyncio.Runner(loop_factory=factory) as runner:
        heard = runner.run(dial_and_cancel())
    assert heard[:2] == ["made", "lost"]


class Names:
    """Stands in for DNS on one loop."""

    def __init__(self, monkeypatch) -> None:
        loop = asyncio.get_running_loop()
        self._real = loop.getaddrinfo
        self.known: list[str] = []
        self.silent = False
        self.speaks_again = asyncio.Event()
        self.asked = 0
        monkeypatch.setattr(loop, "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host, port, **settings):
        if host != "one.example":
            return await self._real(host, port, **settings)
        self.asked += 1
        if self.silent:
            await self.speaks_again.wait()
        if not self.known:
            raise socket.gaierror("not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.known]


@asynccontextmanager
async def somebody():
    """A port on 127.0.0.1 that takes connections."""
    async with await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0) as listener:
        yield listener.sockets[0].getsockname()[1]


async def reaches(sockets, port) -> bool:
    transport, _ = await sockets.dial(asyncio.Protocol, "one.example", port)
    transport.abort()
    return True


@pytest.mark.asyncio
async def test_each_address_of_a_name_is_tried(monkeypatch):
    names, sockets = Names(monkeypatch), PeerSockets(None, 1000)
    names.known = ["127.0.0.2", "127.0.0.1"]
    async with somebody() as port:
        assert await reaches(sockets, port)
    with pytest.raises(ConnectionRefusedError):
        await reaches(sockets, port)


@pytest.mark.asyncio
async def test_a_server_that_was_reached_is_reached_again_without_dns(monkeypatch):
    names, sockets = Names(monkeypatch), PeerSockets(None, 1000)
    async with somebody() as port:
        with pytest.raises(socket.gaierror):
            await reaches(sockets, port)
        names.known = ["127.0.0.1"]
        assert await reaches(sockets, port)
        names.known = []
        assert await reaches(sockets, port)
        names.known = ["127.0.0.2"]  # it has another address now, whatever it had before
        with pytest.raises(ConnectionRefusedError):
            await reaches(sockets, port)


@pytest.mark.asyncio
async def test_dns_that_does_not_answer_is_asked_once_and_not_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(module, "_LOOKUP_TIMEOUT_S", 0.01)
    names, sockets = Names(monkeypatch), PeerSockets(None, 1000)
    names.known = ["127.0.0.1"]
    async with somebody() as port:
        assert await reaches(sockets, port)
        names.silent, names.asked = True, 0
        assert await reaches(sockets, port)
        assert await reaches(sockets, port)
    assert names.asked == 1
    names.known = []
    names.speaks_again.set()  # to say, when nobody listens any more, that it knows no such name
    async with asyncio.timeout(30):
        while sockets._lookups:
            await asyncio.sleep(0)
    gc.collect()
    assert caplog.records == []


@pytest.mark.asyncio
async def test_a_server_that_has_listened_can_listen_again_without_dns(monkeypatch):
    names, sockets = Names(monkeypatch), PeerSockets("one.example", 1000)
    names.known = ["127.0.0.1"]
    await sockets.check_port(0)
    names.known = []
    listener = await sockets.listen(asyncio.Protocol, 0)
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.close()
    listener.close()
