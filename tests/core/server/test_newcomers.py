"""Connections that say nothing, or begin a TLS handshake and never end it: they keep nobody out, and are bounded."""

from __future__ import annotations

import asyncio
import ssl
import struct
from contextlib import AsyncExitStack, suppress
from types import SimpleNamespace

import pytest
import trustme
import uvloop

from recipes.core.config import ServerConfig
from recipes.core.jute.votes import LOOKING, Notification
from recipes.core.server import server as server_module
from recipes.core.server import strangers
from recipes.core.server.accepting import ConnectionAcceptor, Tls
from recipes.core.server.client_places import ClientPlaces
from recipes.core.server.election_port import ElectionPort
from recipes.core.server.peer_sockets import PeerSockets
from recipes.core.server.refusals import Refusals
from recipes.core.server.server import Server
from recipes.core.server.strangers import Strangers
from recipes.core.server.tls import peer_contexts, server_context

SECONDS = 60
HELLO = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)
BEGUN = b"\x16\x03\x01\x02\x00\x01"  # a part of a TLS handshake
VOTE = Notification(LOOKING, 2, 7, 1, 0, b"")


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine on either loop: they end a connection in their own ways."""

    def on_loop(coroutine):
        async def in_time():
            async with asyncio.timeout(SECONDS):
                await coroutine

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(in_time())

    return on_loop


@pytest.fixture
def client(authority):
    made = ssl.create_default_context()
    authority.configure_trust(made)
    authority.issue_cert("someone@example.org").configure_cert(made)
    return made


@pytest.fixture
def config(tmp_path, authority):
    def make(**settings):
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "key.pem")
        authority.cert_pem.write_to_path(tmp_path / "trust.pem")
        stores = {"ssl_key_store": tmp_path / "key.pem", "ssl_trust_store": tmp_path / "trust.pem"}
        return ServerConfig(
            data_dir=tmp_path / "data", client_port=0, secure_client_port=0, pre_alloc_size_kb=64, **stores, **settings
        )

    return make


async def until(condition) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def call(stack, port, data=b"", context=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    stack.callback(writer.close)
    writer.write(data)
    return reader


async def ended(reader) -> bool:
    with suppress(ConnectionError, ssl.SSLError):
        return await reader.read() == b""
    return True


async def is_served(stack, port, context=None) -> bool:
    return len(await (await call(stack, port, HELLO, context)).readexactly(41)) == 41


@pytest.mark.parametrize("data", [b"", BEGUN], ids=["silent", "begun"])
def test_f8_handshakes_that_are_not_finished_are_bounded_and_keep_no_client_out(config, client, caplog, run, data):
    async def strangers_come():
        async with Server(config(most_handshakes=4, max_connections_per_ip=0)) as server, AsyncExitStack() as stack:
            port = server.secure_client_port
            silent = [await call(stack, port, data) for _ in range(30)]
            for reader in silent[:26]:
                assert await ended(reader)
            assert server.member.facts.figures()["outstanding_tls_handshake"] == server._places.taken == 4
            assert server.member.stats.handshakes_exceeded == 26
            assert await is_served(stack, port, client)
            assert await ended(silent[26])
            assert server._places.taken == 4  # three, and the client
            lines = [text for text in caplog.messages if "TLS handshakes that are not finished" in text]
            assert len(lines) == 1 and lines[0].startswith(
                "secure client port: 4 TLS handshakes that are not finished:"
            )
        assert server._places.taken == 0

    run(strangers_come())


@pytest.mark.parametrize("which", ["plain", "secure"])
@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_ip", "descriptors"])
def test_f8_the_oldest_that_has_said_nothing_gives_way_to_a_client(
    config, client, caplog, monkeypatch, run, limit, which
):
    settings = {"sessionless_timeout_ms": 60_000} | ({} if limit == "descriptors" else {limit: 3})
    monkeypatch.setattr(server_module, "most_clients", lambda: 3 if limit == "descriptors" else None)

    async def strangers_come():
        async with Server(config(**settings)) as server, AsyncExitStack() as stack:
            secure = which == "secure"
            port, context = (server.secure_client_port, client) if secure else (server.client_port, None)
            silent = [await call(stack, port) for _ in range(3)]
            for reader in silent:
                assert await is_served(stack, port, context)
                assert await ended(reader)
            with pytest.raises((OSError, asyncio.IncompleteReadError)):  # three that are clients stay
                await is_served(stack, port, context)
            assert server._places.taken == 3
            assert any(
                "which has said nothing, for another client: 3 are connected" in text for text in caplog.messages
            )
            assert any(text.startswith("refused a client") for text in caplog.messages)

    run(strangers_come())


@pytest.mark.asyncio
async def test_f8_the_time_of_a_handshake_counts_from_when_its_connection_was_accepted(config):
    now_s, limits = [100.0], []
    secure = server_context(config())
    tls = Tls(secure, 5.0, Strangers(pytest.fail), pytest.fail, plain=asyncio.Protocol)
    acceptor = ConnectionAcceptor(asyncio.Protocol, [], 1, tls)

    async def first_byte(connection, within_s):
        now_s[0] += 3
        return BEGUN[:1]

    async def connect(make, connection, *, ssl, ssl_handshake_timeout):
        limits.append(ssl_handshake_timeout)

    acceptor._loop = SimpleNamespace(time=lambda: now_s[0])
    acceptor._first_byte, acceptor._connect = first_byte, connect
    await acceptor._make_connection(None, None, None)
    assert limits == [2.0]


class Voter:
    """A server with an election port and a certificate."""

    def __init__(self, sid, addresses, directory, authority) -> None:
        key, trust = directory / f"{sid}.pem", directory / "trust.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(key)
        authority.cert_pem.write_to_path(trust)
        config = ServerConfig(
            data_dir=directory, ssl_quorum=True, ssl_quorum_key_store=key, ssl_quorum_trust_store=trust
        )
        self.heard = asyncio.Event()
        self.port = ElectionPort(
            sid,
            addresses,
            PeerSockets("127.0.0.1", 4000, *peer_contexts(config)),
            heard=lambda *_: self.heard.set(),
            unreachable=lambda *_: None,
        )


@pytest.mark.parametrize("most", ["MOST_FROM_SERVERS", "MOST_FROM_ELSEWHERE"])
def test_f5_handshakes_that_are_not_finished_keep_no_member_out(
    addresses, tmp_path, authority, caplog, monkeypatch, run, most
):
    monkeypatch.setattr(strangers, most, 3)

    async def strangers_come():
        places = {sid: addresses[sid] for sid in (1, 2)}
        one, two = (Voter(sid, places, tmp_path, authority) for sid in (1, 2))
        async with AsyncExitStack() as stack:
            await one.port.start()
            stack.push_async_callback(one.port.close)
            if most == "MOST_FROM_SERVERS":  # who comes from this address may be a server
                await until(lambda: one.port.sockets.is_server("127.0.0.1"))
            else:
                monkeypatch.setattr(one.port.sockets, "_servers", Never())
            silent = [await call(stack, places[1][1], BEGUN) for _ in range(20)]
            for reader in silent[:17]:
                assert await ended(reader)
            await two.port.start()
            stack.push_async_callback(two.port.close)
            one.port.send(2, VOTE)
            two.port.send(1, VOTE)
            await one.heard.wait()
            await two.heard.wait()
            lines = [text for text in caplog.messages if "TLS handshakes that are not finished" in text]
            assert len(lines) == 1
            assert lines[0].startswith("election port: 3 TLS handshakes that are not finished: hung up on the oldest, ")

    run(strangers_come())


class Never(set):
    """No address is a server's."""

    def update(self, *_) -> None:
        pass


def test_f8_who_has_said_something_or_is_gone_makes_no_room():
    class Client:
        def __init__(self, *, is_stranger: bool) -> None:
            self.is_stranger, self.hung_up = is_stranger, False

        def hang_up(self) -> None:
            self.hung_up = True

    places = ClientPlaces(3, 0, None, Refusals(lambda: 0.0))
    taken = [places.enter((f"10.0.0.{number}", 1)) for number in range(3)]
    for place, is_stranger in zip(taken, (False, True, False), strict=True):
        place.holder = Client(is_stranger=is_stranger)
    second = taken[1].holder
    fourth = places.enter(("10.0.0.9", 1))
    assert second.hung_up and fourth is not None and places.taken == 3
    taken[1].leave()  # its socket is closed now: it had left before
    assert places.taken == 3
    fourth.holder = Client(is_stranger=False)
    assert places.enter(("10.0.0.9", 2)) is None
    assert places._new == {} and places._new_by_host == {}
    for place in (taken[0], taken[2], fourth):
        place.leave()
    assert places.taken == 0 and places._per_host == {}
    assert places.stats.connections_rejected == 2
