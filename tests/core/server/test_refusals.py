"""Connections that come to nothing are said to, with address and cause, and not without end."""

import asyncio
import logging
import ssl
import struct
from contextlib import AsyncExitStack, suppress

import pytest
import trustme

from recipes.core.config import ServerConfig
from recipes.core.jute.votes import LOOKING, Notification
from recipes.core.server.election_port import ElectionPort
from recipes.core.server.peer_sockets import PeerSockets
from recipes.core.server.quorum_port import QuorumPort
from recipes.core.server.refusals import Refusals
from recipes.core.server.server import Server
from recipes.core.server.tls import peer_contexts

SECONDS = 60
VOTE = Notification(LOOKING, 2, 7, 1, 0, b"")


@pytest.fixture
def authority():
    return trustme.CA()


async def line(caplog, *parts):
    """The first line of the log with all these in it."""
    async with asyncio.timeout(SECONDS):
        while True:
            for record in caplog.records:
                if all(part in record.getMessage() for part in parts):
                    return record.getMessage()
            await asyncio.sleep(0.001)


def client_context(trusted, own=None):
    made = ssl.create_default_context()
    trusted.configure_trust(made)
    if own is not None:
        own.issue_cert("127.0.0.1").configure_cert(made)
    return made


CALLERS = {
    "no TLS": (lambda ours: None, b"\0\0\0\x2c" + bytes(44), "it speaks no TLS"),
    "HTTP": (lambda ours: None, b"GET / HTTP/1.1\r\n\r\n", "it speaks no TLS"),
    "no certificate": (lambda ours: client_context(ours), b"", "it showed no certificate"),
    "another authority": (lambda ours: client_context(ours, trustme.CA()), b"", "its certificate is not trusted: "),
    "one that trusts another": (lambda ours: client_context(trustme.CA(), ours), b"", "hung up in the TLS handshake"),
    "silence": (lambda ours: None, b"", "no TLS handshake in time"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(("context", "data", "said"), CALLERS.values(), ids=CALLERS.keys())
async def test_newcomer_7_a_refused_client_is_named_with_the_cause(tmp_path, authority, caplog, context, data, said):
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "trust.pem")
    config = ServerConfig(
        data_dir=tmp_path / "data",
        client_port=None,
        secure_client_port=0,
        secure_client_address="127.0.0.1",
        ssl_key_store=tmp_path / "key.pem",
        ssl_trust_store=tmp_path / "trust.pem",
        sessionless_timeout_ms=300 if said.startswith("no TLS handshake") else 10_000,
    )
    async with Server(config) as server:
        addresses = set()
        for _ in range(2):
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", server.secure_client_port, ssl=context(authority)
                )
                addresses.add("{}:{}".format(*writer.get_extra_info("sockname")))
                writer.write(data)
                with suppress(OSError):
                    await reader.read()
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        found = await line(caplog, "secure client port: refused 127.0.0.1:", said)
        assert not addresses or any(f"refused {address}: " in found for address in addresses)
        again = [record for record in caplog.records if said in record.getMessage()]
        assert len(again) == 1  # within a minute
        assert again[0].levelno == logging.WARNING


class Certificates:
    def __init__(self, directory, authority):
        self.directory, self.authority, self.count = directory, authority, 0

    def sockets(self, authority=None):
        self.count += 1
        key, trust = self.directory / f"{self.count}.pem", self.directory / f"trust{self.count}.pem"
        (authority or self.authority).issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(key)
        self.authority.cert_pem.write_to_path(trust)
        config = ServerConfig(
            data_dir=self.directory, ssl_quorum=True, ssl_quorum_key_store=key, ssl_quorum_trust_store=trust
        )
        return PeerSockets("127.0.0.1", 4000, *peer_contexts(config))


@pytest.mark.asyncio
async def test_newcomer_7_a_server_with_a_certificate_of_another_authority_is_named_at_both_ends(
    tmp_path, authority, addresses, caplog
):
    certificates = Certificates(tmp_path, authority)
    async with AsyncExitStack() as stack:
        for sid, sockets in ((1, certificates.sockets()), (3, certificates.sockets(trustme.CA()))):
            places = {each: addresses[each] for each in (1, 3)}
            port = ElectionPort(sid, places, sockets, heard=lambda *_: None, unreachable=lambda *_: None)
            await port.start()
            stack.push_async_callback(port.close)
            port.send(4 - sid, VOTE)
        host, number = addresses[3]
        not_trusted = "its certificate is not trusted: "
        await line(caplog, "election port: refused 127.0.0.1:", not_trusted)  # server 1, which was dialled
        await line(caplog, f"server 3, election port at {host}:{number}: ", not_trusted)  # server 1, which dialled
        host, number = addresses[1]
        await line(caplog, f"server 1, election port at {host}:{number}: ", "does it trust this server's certificate?")


@pytest.mark.asyncio
async def test_newcomer_7_a_leader_that_is_not_trusted_is_named(tmp_path, authority, addresses, caplog):
    certificates = Certificates(tmp_path, authority)
    failed = asyncio.Event()

    class Peer:
        def accept(self):
            return None

        def dial_failed(self, sid):
            failed.set()

    leader, learner = (
        QuorumPort(
            sid,
            addresses,
            sockets,
            Peer(),
            buffer=memoryview(bytearray(1024)),
            patience_ms=20_000,
            schedule=lambda: None,
            fail=pytest.fail,
        )
        for sid, sockets in ((3, certificates.sockets(trustme.CA())), (1, certificates.sockets()))
    )
    leader.listen(True)
    learner.dial(3)
    async with asyncio.timeout(SECONDS):
        await failed.wait()
    host, number = addresses[3]
    await line(caplog, f"server 3, quorum port at {host}:{number}: its certificate is not trusted: ")
    await learner.close()
    await leader.close()


def test_f12_refusals_are_at_most_ten_a_second_and_one_a_minute_about_the_same(caplog):
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    for number in range(1000):
        refusals.say(f"line {number}", about=str(number))
    assert [record.getMessage() for record in caplog.records] == [f"line {number}" for number in range(10)]
    now[0] = 1.5
    refusals.say("later", about="later")
    assert caplog.records[-1].getMessage() == "later (990 like it or the ones before were left out)"
    caplog.clear()
    for _ in range(5):
        now[0] += 20
        refusals.say("again", about="later")
    assert len(caplog.records) == 1
    assert len(refusals._said) <= 64


def test_f12_what_was_left_out_is_said_a_minute_later(caplog):
    timers = []
    refusals = Refusals(lambda: 0.0, lambda seconds, then: timers.append((seconds, then)))
    for number in range(4219):
        refusals.say(f"refused {number}", about=str(number))
    assert len(caplog.records) == 10
    assert [seconds for seconds, _ in timers] == [60.0]
    timers.pop()[1]()
    assert caplog.records[-1].getMessage() == "4209 lines like the ones before were left out"
    refusals.say("refused 0", about="0")
    timers.pop()[1]()
    assert caplog.records[-1].getMessage() == "1 lines like the ones before were left out"
    assert not timers


def test_f12_notes_without_a_subject_are_limited_too(caplog):
    refusals = Refusals(lambda: 0.0)
    with caplog.at_level(logging.INFO, "recipes.server"):
        for _ in range(100):
            refusals.say("server 2 gets a SNAP", level=logging.INFO)
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 10


HELLO = struct.pack(">iqiqi16s?", 0, 0, 10_000, 0, 16, bytes(16), False)
GARBAGE = {
    "bytes": ([b"\x7f\xff\xff\xff garbage"], "it does not speak ZooKeeper's protocol: its first request would have"),
    "HTTP": ([b"GET / HTTP/1.1\r\n\r\n"], "it speaks HTTP"),
    "TLS": ([b"\x16\x03\x01\x02\x00\x01"], "it begins with a TLS handshake"),
    "short": ([b"\0\0\0\4abcd"], "its first request is none that opens a session"),
    "long": ([HELLO, b"\x00\x7f\xff\xff\0\0\0\1\0\0\0\4"], "a request has 8388607 bytes, jute.maxbuffer allows"),
    "tiny": ([HELLO, b"\0\0\0\1\0\0\0\1\0\0\0\4"], "a request of 1 bytes is too short"),
    "unknown": ([HELLO, struct.pack(">iii", 8, 1, 77)], "no request has the type 77"),
    "credentials": (
        [HELLO, struct.pack(">iiiii3si1s", 24, -4, 100, 0, 3, b"odd", 1, b"x")],
        "authentication failed",
    ),
    "password": (
        [struct.pack(">iqiqi16s?", 0, 0, 10_000, 77, 16, b"x" * 16, False)],
        "wrong password for the session that it asks for",
    ),
}


@pytest.mark.asyncio
async def test_f12_garbage_is_named_with_address_and_reason(tmp_path, caplog):
    async with Server(ServerConfig(data_dir=tmp_path, client_port=0, pre_alloc_size_kb=64)) as server:
        for pieces, said in GARBAGE.values():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
            host, port = writer.get_extra_info("sockname")
            for piece in pieces:
                writer.write(struct.pack(">i", len(piece)) + piece if len(piece) > 40 else piece)
            async with asyncio.timeout(SECONDS):
                with suppress(ConnectionResetError):
                    await reader.read()
            writer.close()
            assert await line(caplog, f"hung up on client {host}:{port}: {said}")
        assert len(caplog.records) == len(GARBAGE)


@pytest.mark.asyncio
async def test_f12_silence_is_named(tmp_path, caplog):
    settings = {"client_port": 0, "pre_alloc_size_kb": 64, "sessionless_timeout_ms": 50}
    async with Server(ServerConfig(data_dir=tmp_path, **settings)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
        host, port = writer.get_extra_info("sockname")
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        assert await line(caplog, f"hung up on client {host}:{port}: it opened no session within 50 ms")
        assert server.member.stats.sessionless == 1


@pytest.mark.asyncio
async def test_f12_garbage_at_the_election_port_is_named_and_does_not_flood(addresses, caplog):
    port = ElectionPort(
        1, addresses, PeerSockets("127.0.0.1", 4000), heard=lambda *_: None, unreachable=lambda *_: None
    )
    await port.start()
    for number in range(30):
        reader, writer = await asyncio.open_connection(*addresses[1])
        host, own = writer.get_extra_info("sockname")
        writer.write(b"\xff\xff\xff\xff\xff\xff\0" + bytes(40))
        async with asyncio.timeout(SECONDS):
            with suppress(ConnectionResetError):
                await reader.read()
        writer.close()
        if not number:
            assert await line(caplog, f"election port: hung up on {host}:{own}: ")
    assert len([record for record in caplog.records if "hung up on" in record.getMessage()]) == 1  # within a minute
    await port.close()


@pytest.mark.asyncio
async def test_a_port_with_tls_can_be_had_again_as_soon_as_it_is_closed(tmp_path, authority):
    sockets = Certificates(tmp_path, authority).sockets()
    listener = await sockets.listen(asyncio.Protocol, 0)
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        listener.close()
        again = await sockets.listen(asyncio.Protocol, listener.port)
        assert again.port == listener.port
        listener = again
        with suppress(OSError):
            assert await reader.read() == b""  # whose handshake was under way
        writer.close()
    listener.close()
