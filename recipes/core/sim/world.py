"""A server alone and its clients under virtual time, with a disk that loses power: one seed, one history.

The Member, the log, the snapshots and the recovery are the ones that serve; only the clock, the sockets and the disk
are simulated. After every crash the world checks that nothing acknowledged is gone and that what came back is exactly
what was decided, in order.
"""

from hashlib import sha256

from recipes.core.disk.recovery import recover, save_snapshot
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.disk.txnlog import TxnLog
from recipes.core.errors import DiskError, invariant
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import pack_int
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import (
    ACL,
    ConnectRequest,
    Id,
    decode_connect_response,
    decode_reply_header,
    encode_connect_request,
)
from recipes.core.member.connection import Connection
from recipes.core.member.member import Member, MemberConfig
from recipes.core.replication import Entry
from recipes.core.sim.chance import Random, Sources
from recipes.core.sim.disk import PowerCut, SimDisk
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree

_OPEN = (ACL(op.ALL, Id("world", "anyone")),)
_CONFIG = MemberConfig(tick_ms=100, min_session_timeout_ms=200, max_session_timeout_ms=2000)


class SimClient:
    """A client of raw frames: it sends random operations on few paths and counts what was acknowledged."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.connection: Connection | None = None
        self._reader = FrameReader()
        self._greeted = False
        self._xid = 0
        self.session_id: int = 0
        self.password: bytes = bytes(16)
        self.last_zxid: int = 0
        self.acknowledged: int = 0  # the highest zxid of a write answered without an error

    def connect(self, member: Member) -> None:
        """Open a connection, for the session it had if it still lives."""
        self.connection = member.connect(("127.0.0.1", 1))
        self._reader, self._greeted = FrameReader(), False
        asked = ConnectRequest(self.last_zxid, 1000, self.session_id, self.password)
        self._send(encode_connect_request(asked))

    def act(self) -> str:
        """Send one random request; what it was."""
        self._xid += 1
        path = b"/k%d" % self._chance.randrange(4)
        kind = self._chance.choice((op.CREATE, op.CREATE2, op.SET_DATA, op.SET_DATA, op.DELETE, op.GET_DATA, op.MULTI))
        value = b"%d" % self._chance.randrange(1 << 30)
        flags = self._chance.choice((op.PERSISTENT, op.EPHEMERAL))
        body = {
            op.CREATE: lambda: rq.encode_create(path, value, _OPEN, flags),
            op.CREATE2: lambda: rq.encode_create(path + b"-", value, _OPEN, op.PERSISTENT_SEQUENTIAL),
            op.SET_DATA: lambda: rq.encode_set_data(path, value, -1),
            op.DELETE: lambda: rq.encode_path_version(path, -1),
            op.GET_DATA: lambda: rq.encode_path_watch(path, watch=True),
            op.MULTI: lambda: rq.encode_multi(
                [(op.SET_DATA, rq.encode_set_data(path, value, -1)), (op.CHECK, rq.encode_path_version(path, -1))]
            ),
        }[kind]()
        self._send(pack_int(self._xid) + pack_int(kind) + body)
        return f"{op.OPCODE_NAMES[kind]} {path.decode()}"

    def take_replies(self) -> None:
        """Read what the server has sent."""
        connection = self.connection
        if connection is None:
            return
        for payload in self._reader.feed(b"".join(connection.out)):
            if not self._greeted:
                response = decode_connect_response(payload)
                self._greeted = True
                self.session_id = response.session_id
                self.password = response.password if response.timeout_ms else bytes(16)
                continue
            header, _ = decode_reply_header(payload)
            if header.zxid > 0:
                invariant(header.zxid >= self.last_zxid, "a client went back in time")
                self.last_zxid = header.zxid
                self.acknowledged = max(self.acknowledged, header.zxid)
        connection.out.clear()
        if connection.wants_close:
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, or notice that it is closed."""
        connection, self.connection = self.connection, None
        if connection is not None and not connection.closed:
            connection.lost()

    def _send(self, payload: bytes) -> None:
        if self.connection is not None:
            self.connection.receive(frame(payload))


class World:
    """One seeded run of a standalone server.

    chance: makes the source of chance for a purpose, as `lambda purpose: random.Random(f"{seed}/{purpose}")`; each
    purpose has its own, so that one more draw here does not change what happens there.

    `run(steps)` goes on through any number of crashes. counts: how often each thing happened; `trace` is a digest of
    everything that happened, in order. Raises InvariantBroken when a promise was not kept.
    """

    def __init__(self, chance: Sources, clients: int = 3) -> None:
        self._chance = chance("schedule")
        self._disk = SimDisk(chance("disk"))
        self._clients = [SimClient(chance(f"client {number}")) for number in range(clients)]
        self._now_ms = 0
        self._decided: dict[int, bytes] = {}  # payload of every txn proposed since the log was last recovered
        self._digests: dict[int, int | None] = {}  # None where the txn is an error and has none
        self._durable = 0
        self._trace = sha256()
        self.counts: dict[str, int] = {}
        self.halted: str | None = None
        self._start()

    @property
    def trace(self) -> str:
        """What happened, as one number."""
        return self._trace.hexdigest()

    def run(self, steps: int) -> None:
        """Let so many things happen, or fewer when the server rightly refuses its damaged log."""
        for _ in range(steps):
            if self.halted is not None:
                return
            if self._disk.cut_before is None and self._chance.random() < 0.02:
                self._disk.cut_before = self._disk.effects + 1 + self._chance.randrange(4)
            try:
                self._step()
            except PowerCut:
                self._crash()

    def _step(self) -> None:
        self._now_ms += self._chance.randrange(20)
        self._member.begin_turn(self._now_ms, 1_700_000_000_000 + self._now_ms)
        what = self._chance.choice(("act", "act", "act", "flush", "flush", "tick", "hang up", "snapshot"))
        client = self._chance.choice(self._clients)
        if what == "act":
            if client.connection is None:
                client.connect(self._member)
            else:
                what = client.act()
        elif what == "flush":
            self._flush()
        elif what == "tick":
            self._member.tick()
        elif what == "hang up" and self._chance.random() < 0.3:
            client.hang_up()
        elif what == "snapshot" and self._chance.random() < 0.1:
            self._log.roll()
            save_snapshot(self._disk, self._member.tree.last_zxid, write_snapshot(self._member.tree))
        self._note(what)
        for each in self._clients:
            each.take_replies()

    def _flush(self) -> None:
        writes = [write for write in self._member.take_writes() if isinstance(write, Entry)]
        if not writes:
            return
        for entry in writes:
            self._decided[entry.zxid] = entry.payload
            self._digests[entry.zxid] = entry.digest
        self._log.append(writes)
        self._log.sync()
        self._durable = writes[-1].zxid
        self._member.flushed(self._durable)

    def _crash(self) -> None:
        self._note("crash")
        for client in self._clients:
            client.hang_up()
        self._disk.restart()
        self._start()

    def _start(self) -> None:
        tree = DataTree()
        try:
            found = recover(self._disk, self._disk, tree)
        except DiskError as error:
            # A batch torn sector by sector can leave a bad record before a good one: it was never acknowledged, yet
            # on disk it looks like rot, for which a server alone refuses to start.
            self._note("halt")
            self.halted = str(error)
            return
        acknowledged = max(client.acknowledged for client in self._clients)
        invariant(found.last_zxid >= self._durable >= acknowledged, "an acknowledged txn is gone")
        invariant(found.last_zxid <= max(self._decided, default=0), "a txn came back that was never decided")
        invariant(not found.mismatches, "a txn had another effect when it was replayed")
        expected = self._digests.get(found.last_zxid)
        invariant(expected is None or expected == tree.digest, "the tree is not what it was")
        self._decided = {zxid: payload for zxid, payload in self._decided.items() if zxid <= found.last_zxid}
        self._durable = found.last_zxid
        self._log = TxnLog(self._disk, fill_ahead_bytes=0)
        wall_ms = 1_700_000_000_000 + self._now_ms
        self._member = Member(_CONFIG, tree, Standalone(tree.last_zxid), self._now_ms, wall_ms)
        self._note(f"start 0x{found.last_zxid:x} {tree.digest:x}")

    def _note(self, what: str) -> None:
        self._trace.update(f"{self._now_ms} {what} {self._disk.effects}\n".encode())
        word = what.split()[0]
        self.counts[word] = self.counts.get(word, 0) + 1
