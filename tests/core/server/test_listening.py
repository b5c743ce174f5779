"""Listening at each address of a host."""

import asyncio
import errno
import socket

import pytest

from recipes.core.config import ServerConfig
from recipes.core.server.accepting import BACKLOG, ConnectionAcceptor
from recipes.core.server.listening import addresses_of, bound
from recipes.core.server.server import Server
from tests.ports import free_port

UNUSABLE = 12  # DECnet: no kernel has it, as one without IPv6 has not that


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def resolving_to(monkeypatch, *addresses):
    async def getaddrinfo(host, port, **_):
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def places(host, port=0):
    sockets = bound(await addresses_of(host), port)
    found = [(sock.family, *sock.getsockname()[:2]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return found


@pytest.mark.asyncio
@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", [None, "0.0.0.0"])
async def test_everywhere_is_both_kinds_of_addresses_and_one_port(host):
    found = await places(host)
    assert sorted(family for family, _, _ in found) == [socket.AF_INET, socket.AF_INET6]
    assert len({port for _, _, port in found}) == 1


@pytest.mark.asyncio
async def test_one_address_is_one_socket():
    assert [(family, host) for family, host, _ in await places("127.0.0.1")] == [(socket.AF_INET, "127.0.0.1")]


@pytest.mark.asyncio
@pytest.mark.parametrize("other", [(socket.AF_INET, "192.0.2.7"), (UNUSABLE, "::")])
async def test_an_address_this_machine_has_not_is_passed_over(monkeypatch, other):
    resolving_to(monkeypatch, other, (socket.AF_INET, "127.0.0.1"), other)
    assert [host for _, host, _ in await places("some.example")] == ["127.0.0.1"]


@pytest.mark.asyncio
async def test_unless_there_is_no_other(monkeypatch):
    resolving_to(monkeypatch, (socket.AF_INET, "192.0.2.7"), (socket.AF_INET, "192.0.2.8"))
    with pytest.raises(OSError, match="cannot listen on port 7 of 192") as caught:
        bound(await addresses_of("some.example"), 7)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.asyncio
async def test_a_port_that_is_taken_at_one_of_the_addresses_is_taken(monkeypatch):
    port = free_port()  # at 127.0.0.1
    with socket.create_server(("127.0.0.2", port)):
        resolving_to(monkeypatch, (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2"))
        with pytest.raises(OSError, match=rf"cannot listen on port {port} of 127\.0\.0\.2: address already in use"):
            bound(await addresses_of("some.example"), port)


@pytest.mark.asyncio
@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_a_server_at_0_0_0_0_takes_clients_over_ipv6_too(tmp_path):
    config = ServerConfig(data_dir=tmp_path, client_port=0, client_address="0.0.0.0", four_letter_whitelist=("*",))
    async with Server(config) as server:
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, server.client_port)
            writer.write(b"ruok")
            assert await reader.read() == b"imok"
            writer.close()
            await writer.wait_closed()


@pytest.mark.asyncio
async def test_on_an_accepted_connection_no_reply_waits_for_the_one_before_to_be_confirmed():
    """Nagle's algorithm is off, as asyncio has it only for sockets made in another way."""
    loop, accepted = asyncio.get_running_loop(), asyncio.Event()
    options = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport):
            sock = transport.get_extra_info("socket")
            options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            accepted.set()

    sockets = bound(await addresses_of("127.0.0.1"), 0)
    port = sockets[0].getsockname()[1]
    acceptor = ConnectionAcceptor(Accepted, sockets, BACKLOG)
    transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
    async with asyncio.timeout(60):
        await accepted.wait()
    transport.abort()
    acceptor.close()
    assert options == [1]
