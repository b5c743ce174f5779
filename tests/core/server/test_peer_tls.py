"""TLS between servers: each end shows a certificate, and the one that was called must be who was called."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme

from recipes.core.config import ServerConfig
from recipes.core.errors import ConfigError
from recipes.core.jute.votes import LOOKING, Notification
from recipes.core.server.client_port import read_buffer
from recipes.core.server.election_port import ElectionPort
from recipes.core.server.peer_sockets import PeerSockets
from recipes.core.server.quorum_port import QuorumPort
from recipes.core.server.tls import peer_contexts

VOTE = Notification(LOOKING, 2, 7, 1, 0, b"")


class Certificates:
    """Makes the files of a server: its own certificate, and the authority it trusts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.count = 0

    def config(self, name: str = "127.0.0.1", authority: trustme.CA | None = None, **settings: object) -> ServerConfig:
        self.count += 1
        key, trust = self.directory / f"{self.count}.pem", self.directory / f"trust{self.count}.pem"
        (authority or self.authority).issue_cert(name).private_key_and_cert_chain_pem.write_to_path(key)
        self.authority.cert_pem.write_to_path(trust)
        return ServerConfig(
            data_dir=self.directory, ssl_quorum=True, ssl_quorum_key_store=key, ssl_quorum_trust_store=trust, **settings
        )

    def switching(self, *, dials_tls: bool) -> PeerSockets:
        """Of a server with portUnification, before or after its sslQuorum."""
        accepts, dials = peer_contexts(self.config())
        return PeerSockets("127.0.0.1", 4000, accepts, dials if dials_tls else None, accepts_plain=True)

    def sockets(self, *args: object, **settings: object) -> PeerSockets:
        return PeerSockets("127.0.0.1", 4000, *peer_contexts(self.config(*args, **settings)))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


class Voter:
    def __init__(self, sid, addresses, sockets) -> None:
        self.heard, self.unreachable = asyncio.Event(), asyncio.Event()
        self.port = ElectionPort(
            sid,
            addresses,
            sockets,
            heard=lambda *_: self.heard.set(),
            unreachable=lambda _, whether: self.unreachable.set() if whether else None,
        )


async def voters(stack: AsyncExitStack, addresses, sockets) -> list[Voter]:
    found = []
    for sid, secured in enumerate(sockets, 1):
        voter = Voter(sid, {each: addresses[each] for each in (1, 2)}, secured)
        await voter.port.start()
        stack.push_async_callback(voter.port.close)
        voter.port.send(3 - sid, VOTE)
        found.append(voter)
    return found


@pytest.mark.asyncio
async def test_votes_go_both_ways(addresses, certificates):
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for voter in await voters(stack, addresses, [certificates.sockets(), certificates.sockets()]):
            await voter.heard.wait()


@pytest.mark.asyncio
async def test_a_certificate_for_another_host_is_refused_by_who_dials(addresses, certificates):
    sockets = [certificates.sockets("other.example"), certificates.sockets()]
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        one, two = await voters(stack, addresses, sockets)
        await two.unreachable.wait()
        assert not two.heard.is_set()
        assert not one.heard.is_set()


@pytest.mark.asyncio
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("step", ["plain beside accepting", "accepting beside dialling", "dialling beside TLS only"])
async def test_servers_are_switched_to_tls_one_by_one(addresses, certificates, step, turned):
    before, after = step.split(" beside ")
    kinds = {
        "plain": lambda: PeerSockets("127.0.0.1", 4000),
        "accepting": lambda: certificates.switching(dials_tls=False),
        "dialling": lambda: certificates.switching(dials_tls=True),
        "TLS only": certificates.sockets,
    }
    sockets = [kinds[before](), kinds[after]()]
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for voter in await voters(stack, addresses, sockets[::-1] if turned else sockets):
            await voter.heard.wait()


@pytest.mark.asyncio
async def test_unless_hosts_are_not_checked(addresses, certificates):
    sockets = [certificates.sockets("other.example"), certificates.sockets(ssl_quorum_hostname_verification=False)]
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for voter in await voters(stack, addresses, sockets):
            await voter.heard.wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("stranger", ["another authority", "no certificate", "no TLS"])
async def test_strangers_are_refused(addresses, certificates, stranger):
    theirs = certificates.sockets(authority=trustme.CA())
    if stranger == "no certificate":
        bare = ssl.create_default_context()
        certificates.authority.configure_trust(bare)
        theirs = PeerSockets("127.0.0.1", 4000, dials=bare)
    elif stranger == "no TLS":
        theirs = PeerSockets("127.0.0.1", 4000)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        ours = Voter(1, addresses, certificates.sockets())
        await ours.port.start()
        stack.push_async_callback(ours.port.close)
        ended = asyncio.Event()

        class Caller(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                transport.write(b"\xff\xff\xff\xff\xff\xff\0\0" + bytes(7) + b"\2\0\0\0\1x")

            def connection_lost(self, exc: Exception | None) -> None:
                ended.set()

        try:
            await theirs.dial(Caller, *addresses[1])
        except OSError:
            ended.set()
        await ended.wait()
        assert ours.port._servers[2]._connection is None


@pytest.mark.asyncio
async def test_a_dump_goes_over_a_quorum_link(addresses, certificates):
    done = asyncio.Event()
    size = 20_000_000

    class Link:
        wants_close = False

        def __init__(self, key: int) -> None:
            self.key = key
            self.out: list[object] = []
            self.got = 0

        def receive(self, data: bytes) -> None:
            self.got += len(data)
            if self.got == size + 3:
                done.set()

        def lost(self) -> None:
            pass

    class Peer:
        def accept(self) -> Link:
            link = Link(1)
            link.out += [(bytes(100_000) for _ in range(size // 100_000)), b"end"]
            asyncio.get_running_loop().call_soon(leader.flush, [link])
            return link

        def dialled(self, sid: int) -> Link:
            return Link(2)

        def dial_failed(self, sid: int) -> None:
            done.set()

    errors: list[BaseException] = []
    leader, learner = (
        QuorumPort(
            sid,
            addresses,
            certificates.sockets(),
            Peer(),
            buffer=read_buffer(),
            patience_ms=20_000,
            schedule=lambda: None,
            fail=errors.append,
        )
        for sid in (3, 1)
    )
    leader.listen(True)
    learner.dial(3)
    async with asyncio.timeout(60):
        await done.wait()
    assert learner._protocols[2].link.got == size + 3
    await learner.close()
    await leader.close()
    assert errors == []


@pytest.mark.parametrize("key", ["ssl_quorum_key_store", "ssl_quorum_trust_store"])
def test_a_file_that_does_not_serve_is_a_clear_error(certificates, tmp_path, key):
    config = certificates.config()
    (tmp_path / "no.pem").write_text("no key")
    broken = config.model_copy(update={key: tmp_path / "no.pem"})
    with pytest.raises(ConfigError, match=r"ssl\.quorum\.(key|trust)Store\.location"):
        peer_contexts(broken)
    with pytest.raises(ConfigError, match=r"ssl\.quorum\.(key|trust)Store\.location"):
        peer_contexts(config.model_copy(update={key: None}))
