"""One server of three that is read-only, ours and Apache's: what it says, and what our client and kazoo make of it."""

from __future__ import annotations

import socket
import struct
from contextlib import aclosing

import anyio
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NotReadOnlyCallError
from kazoo.protocol.states import KeeperState

from recipes import ConnectionState, NotReadOnly, connect
from recipes.core.tree.sessions import session_password
from tests.servers import four_letter
from tests.wire import OPEN_ACL, Wire

# What Apache says does not change from run to run, and each of its tests starts two servers anew.
OURS, APACHE = "ours", pytest.param("apache", marks=[pytest.mark.apache, pytest.mark.thorough])
NOT_READ_ONLY = -119
SECONDS = 60


class Reader(Wire):
    """A connection that says whether a read-only server will do."""

    def __init__(self, port, *, session=(0, bytes(16)), read_only=True, last_zxid=0):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.xid = 0
        self.events = []
        session_id, password = session
        self.send(struct.pack(">iqiqi16s?", 0, last_zxid, 10_000, session_id, 16, password, read_only))
        try:
            answer = self.receive()
        except (EOFError, OSError):
            self.sock.close()
            raise
        _, self.timeout_ms, self.session_id, _ = struct.unpack_from(">iiqi", answer)
        self.password, self.read_only = answer[20:36], answer[36:]


class Trio:
    """Three servers, of which 2 and 3 go and come."""

    def __init__(self, ensemble):
        self.ensemble = ensemble
        self.port = ensemble.port(1)
        with_leader = Wire(self.port)
        assert with_leader.create("/a", b"x") == 0
        with_leader.close_session()

    def alone(self):
        ensemble = self.ensemble
        ensemble.kill(2)
        ensemble.kill(3)
        ensemble.wait_for(lambda: self.word("isro") == "ro", "server 1 is read-only")

    def word(self, word):
        return four_letter(self.port, word)


@pytest.fixture(scope="module", params=[OURS, APACHE])
def servers(request, start_ensemble):
    settings = {"readonlymode.enabled": "true"}
    if request.param == "apache":  # 3.8.0 refuses the sessions it makes while read-only where they are not local
        settings |= {"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}
    return Trio(start_ensemble(*[request.param] * 3, **settings))


@pytest.fixture
def trio_of(servers):
    """All three serve."""
    if down := [sid for sid in (2, 3) if sid not in servers.ensemble.running]:
        servers.ensemble.start(*down)
    return servers


@pytest.fixture
def readers():
    """readers(port, ...): a Reader, closed when the test ends."""
    opened = []

    def open_one(port, **options):
        opened.append(Reader(port, **options))
        return opened[-1]

    yield open_one
    for reader in opened:
        reader.close()


@pytest.mark.timeout(180)
def test_what_readers_are_told(trio_of, readers):
    trio_of.alone()
    port = trio_of.port
    reader = readers(port)
    assert reader.read_only == b"\1"
    assert reader.password == session_password(reader.session_id)
    for refused in ({"read_only": False}, {"last_zxid": 1 << 60}):
        with pytest.raises((EOFError, OSError)):
            readers(port, **refused)

    path, number, nothing = reader.text("/a"), struct.pack(">i", -1), struct.pack(">i", 0)
    writes = {
        1: reader.text("/b") + nothing + OPEN_ACL + nothing,
        2: path + number,
        5: path + reader.text("y") + number,
        7: path + OPEN_ACL + number,
        9: path,
        13: path + nothing,
        14: struct.pack(">i?i", -1, True, -1),
    }
    refusals = {kind: reader.call(kind, body) for kind, body in writes.items()}
    assert refusals == dict.fromkeys(writes, (NOT_READ_ONLY, b""))
    assert reader.call(4, path + b"\1")[1][:5] == b"\0\0\0\1x"
    assert reader.call(3, reader.text("/none") + b"\0")[0] == -101
    reader.post(11, xid=-2)
    assert reader.reply()[:3:2] == (-2, 0)

    again = readers(port, session=reader.session)
    assert (again.session_id, again.read_only) == (reader.session_id, b"\1")
    assert again.call(-11) == (0, b"")
    with pytest.raises((EOFError, OSError)):
        again.receive()
    assert readers(port, session=again.session).timeout_ms == 0

    lines = trio_of.word("srvr").splitlines()
    assert lines[1] == "READ-ONLY mode; serving only read-only clients"
    assert "Mode: read-only" in lines
    assert trio_of.word("stat").splitlines()[1:3] == [lines[1], "Clients:"]
    assert "zk_server_state\tread-only" in trio_of.word("mntr").splitlines()

    kept = readers(port)
    trio_of.ensemble.start(2)
    with pytest.raises((EOFError, OSError)):
        kept.receive()
    assert readers(port, session=kept.session).timeout_ms == 0
    assert readers(port).read_only == b"\0"


@pytest.mark.anyio
@pytest.mark.timeout(180)
async def test_our_client_reads_there_and_goes_on_with_those_that_have_a_leader(trio_of):
    trio_of.alone()
    async with connect(trio_of.ensemble.hosts, read_only=True) as client:
        assert client.state is ConnectionState.READ_ONLY
        before = client.session.id
        data, _, watch = await client.get_watch("/a")
        assert data == b"x"
        with pytest.raises(NotReadOnly):
            await client.set("/a", b"y")
        await anyio.to_thread.run_sync(trio_of.ensemble.start, 2)
        with anyio.fail_after(SECONDS):
            async with aclosing(client.states()) as states:
                async for state in states:
                    if state is ConnectionState.CONNECTED:
                        break
            await client.set("/a", b"x")
            await watch.wait()
        assert client.session.id != before
        assert not client.session.lost


@pytest.mark.timeout(180)
def test_kazoo_reads_there_and_goes_on_with_those_that_have_a_leader(trio_of):
    trio_of.alone()
    client = KazooClient(trio_of.ensemble.hosts, read_only=True, timeout=3.0)
    client.start(timeout=SECONDS)
    try:
        assert client.client_state == KeeperState.CONNECTED_RO
        assert client.get("/a")[0] == b"x"
        with pytest.raises(NotReadOnlyCallError):
            client.set("/a", b"y")
        trio_of.ensemble.start(2)
        trio_of.ensemble.wait_for(lambda: client.client_state == KeeperState.CONNECTED, "kazoo has a leader again")
        client.retry(client.set, "/a", b"x")
    finally:
        client.stop()
        client.close()
