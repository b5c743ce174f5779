"""Whatever clients send, no exception leaves the member: it would end the server. Every frame that leaves is whole."""

import struct
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recipes.core.disk.snapshot import read_snapshot, write_snapshot
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import decode_txn
from recipes.core.member.config import MemberConfig
from recipes.core.member.member import Member
from recipes.core.standalone import Standalone
from recipes.core.tree.digest import node_digest
from recipes.core.tree.tree import DataTree

OPEN = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")
ACLS = [
    OPEN,
    b"\xff\xff\xff\xff",
    bytes(4),
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    struct.pack(">ii", 1, 31) + b"\xff\xff\xff\xff" * 2,
    struct.pack(">iii", 1, 31, 4) + b"auth" + bytes(4),
    struct.pack(">iii", 1, -1, 2) + b"ip" + struct.pack(">i", 9) + b"1.2.3.4/8",
    struct.pack(">iii", 1, 31, 2) + b"ip" + struct.pack(">i", 9) + "1.2.3.²".encode() + b" ",
    struct.pack(">iii", 1, 31, 6) + b"digest" + struct.pack(">i", 4) + b"\xff\xfe:\xff",
    struct.pack(">iii", 1, 31, 4) + b"x509" + struct.pack(">i", 3) + b"C=\xff",
]
PATHS = [
    None, b"", b"/", b"//", b"a", b"/a", b"/a/b", b"/a/b/c", b"/a/", b"/a//b", b"/.", b"/..", b"/a/..", b"/a/./b",
    b"/\0", b"/a\0b", b"\0", b"/\xff", b"/\xed\xa0\x80", b"/a/\xf0\x9f\x98\x80", b"/e/s-", b"/e/", b"/e", b"/full/s-",
    b"/full", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config", b"/zookeeper/quota/a",
    b"/zookeeper/quota/a/zookeeper_limits", b"/zookeeper/quota/a/zookeeper_stats", b"/zookeeper/quota/zookeeper_limits",
    b"/zookeeper/quota/zookeeper_stats", b"/zookeeper/quota/a/b/zookeeper_limits", b"/" + b"x" * 2000, b"/a" * 300,
]  # fmt: skip
DATA = [
    None, b"", b"x", b"y" * 3000, b"count=1,bytes=1=;byteHardLimit=2;countHardLimit=3", b"count=-,bytes=" + b"9" * 30,
    b"count=" + b"9" * 18 + b",bytes=-" + b"9" * 18, b"\xff=\xff;=,;;", b"count=1=2=3",
]  # fmt: skip
INTS = [-1, -1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 31, 1 << 30, (1 << 31) - 1, -(1 << 31), -2]
LONGS = [-1, 0, 1, 5, 1 << 40, (1 << 40) - 1, (1 << 63) - 1, -(1 << 63)]
CLOSING = [op.CHECK, op.DELETE_CONTAINER, op.CREATE_SESSION, op.CLOSE_SESSION, op.ERROR, 0, 10, 55, -12, (1 << 31) - 1]
STAYING = [kind for kind in op.OPCODE_NAMES if kind not in CLOSING]
LIKELY = [b"/a", b"/a/b", b"/a/b/c", b"/e/s-", b"/full/s-", b"/e", b"/zookeeper/quota/a/zookeeper_limits"]
MULTI_END = bytes.fromhex("ffffffff01ffffffff")


class Hostile:
    """Draws what clients send."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pick = random.choice

    def frame(self) -> bytes:
        kind = self._pick(CLOSING if self._random.random() < 0.02 else STAYING)
        body = self._mutated(self._body(kind))
        xid = self._pick([1, 2, 0, -1, -2, -4, -8, (1 << 31) - 1, -(1 << 31)])
        length = 8 + len(body)
        if self._random.random() < 0.005:
            length = self._pick([0, 7, 8, -1, 0xFFFFF, 0xFFFFF + 1, (1 << 31) - 1, -(1 << 31)])
        return struct.pack(">iii", length, xid, kind) + body

    def handshake(self, session: tuple[int, bytes]) -> bytes:
        session_id, password = session if self._random.random() < 0.4 else (self._pick([0, 0, 0, *LONGS]), bytes(16))
        zxid, timeout = self._pick([0, 0, 0, 0, *LONGS]), self._pick(INTS)
        payload = struct.pack(">iqiq", self._pick([0, 0, 7]), zxid, timeout, session_id) + text(password) + b"\0"
        if self._random.random() < 0.1:
            payload = self._mutated(payload)
        return text(payload)

    def cut(self, data: bytes) -> list[bytes]:
        pieces = []
        while data:
            size = self._pick([1, 3, 4, 11, 12, 13, 64, 1000, 5000])
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    def _mutated(self, body: bytes) -> bytes:
        if self._random.random() < 0.75 or not body:
            return body
        at = self._random.randrange(len(body))
        how = self._random.randrange(5)
        if how == 0:
            return body[:at]
        if how == 1:
            return body[:at] + struct.pack(">i", self._pick(INTS)) + body[at + 4 :]
        if how == 2:
            return body[:at] + self._random.randbytes(1) + body[at + 1 :]
        if how == 3:
            return body + self._random.randbytes(self._random.randrange(20))
        return body[:at] + self._random.randbytes(self._random.randrange(9)) + body[at:]

    def _body(self, kind: int, inside: bool = False) -> bytes:
        pick = self._pick
        path = text(pick(LIKELY if self._random.random() < 0.6 else PATHS))
        if kind in (op.MULTI, op.MULTI_READ):
            if inside and self._random.random() < 0.9:
                return MULTI_END
            kinds = (
                [1, 2, 5, 13, 15, 19, 21] * 3 + [14, -1, 3, 7, 16, 99]
                if kind == op.MULTI
                else [4, 8, 8, 4, 4, 1, 22, 3]
            )
            parts = []
            for _ in range(self._random.choice([0, 1, 2, 3, 6])):
                each = pick(kinds)
                done, err = pick([0, 0, 0, 0, 0, 0, 1, 7]), pick([-1, 0])
                parts.append(struct.pack(">ibi", each, done, err) + self._body(each, True))
            return b"".join(parts) + pick([MULTI_END, MULTI_END, MULTI_END, b"", MULTI_END * 2])
        if kind in (op.CREATE, op.CREATE2, op.CREATE_CONTAINER, op.CREATE_TTL):
            acl = pick(ACLS) if self._random.random() < 0.3 else OPEN
            ttl = struct.pack(">q", pick([*LONGS, 1, 1])) if kind == op.CREATE_TTL else b""
            flags = pick({op.CREATE_CONTAINER: [4], op.CREATE_TTL: [5, 6]}.get(kind, [0, 0, 1, 2, 3, 4]))
            if self._random.random() < 0.2:
                flags = pick(INTS)
            return path + text(pick(DATA)) + acl + struct.pack(">i", flags) + ttl
        if kind == op.SET_DATA:
            return path + text(pick(DATA)) + struct.pack(">i", pick(INTS))
        if kind == op.SET_ACL:
            return path + pick(ACLS) + struct.pack(">i", pick(INTS))
        if kind in (op.SET_WATCHES, op.SET_WATCHES2):
            lists = 3 if kind == op.SET_WATCHES else 5
            return struct.pack(">q", pick(LONGS)) + b"".join(self._paths() for _ in range(lists))
        if kind == op.AUTH:
            scheme = text(pick([b"digest", b"ip", b"world", b"super", b"x509", b"auth", b"\xff", b"", None]))
            return struct.pack(">i", 0) + scheme + text(pick([None, b"", b"bob:pw", b":", b"\xff\0:", b"s" * 3000]))
        if kind == op.RECONFIG:
            return path + text(None) + path + struct.pack(">q", pick(LONGS))
        if kind in (op.CREATE_SESSION, op.SASL):
            return struct.pack(">i", pick(INTS))
        if kind in (op.DELETE, op.CHECK, op.CHECK_WATCHES, op.REMOVE_WATCHES, op.ADD_WATCH):
            return path + struct.pack(">i", pick(INTS))
        return path + pick([b"\0", b"\1", b"\x07", b""])

    def _paths(self) -> bytes:
        found = [self._pick(PATHS) for _ in range(self._random.randrange(4))]
        count = len(found) if self._random.random() < 0.9 else self._pick(INTS)
        return struct.pack(">i", count) + b"".join(map(text, found))


def text(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def nearly_full(tree: DataTree) -> None:
    """Let the sequence numbers of /full be about to overflow."""
    node = tree.find(b"/full")
    tree.digest -= node_digest(b"/full", node)
    node.cversion = (1 << 31) - 3
    node.digest = -1
    tree.digest = (tree.digest + node_digest(b"/full", node)) % (1 << 64)


class Town:
    """A member, its clients, and a disk that is done whenever chance says so."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.hostile = Hostile(random)
        tree = DataTree()
        config = MemberConfig(
            extended_types=True,
            enforce_quota=True,
            super_digest=b"super:x",
            four_letter_whitelist=("*",),
            container_check_ms=random.choice([1, 60_000]),
        )
        self.now_ms = 1000
        self.member = Member(config, tree, Standalone(0), self.now_ms, 1_700_000_000_000)
        self.clients: list[list] = []  # connection, what it sent, session of the handshake it got
        self.session = (0, bytes(16))
        self.unflushed: list = []
        self.log: list[bytes] = []

    def begin(self) -> None:
        member = self.member
        setup = member.connect(("127.0.0.1", 1))
        setup.receive(text(struct.pack(">iqiqi16s?", 0, 0, 60_000, 0, 16, bytes(16), False)))
        self.turn(True)
        for path in (b"/a", b"/a/b", b"/e", b"/full", b"/zookeeper/quota/a"):
            body = text(path) + text(b"") + OPEN + struct.pack(">i", 0)
            setup.receive(struct.pack(">iii", 8 + len(body), 1, 1) + body)
        self.turn(True)
        nearly_full(member.tree)
        member.leading.preparer.pending.digest = member.tree.digest
        self.filled_at = member.tree.last_zxid

    def step(self) -> None:
        random, member = self.random, self.member
        member.begin_turn(self.now_ms, 1_700_000_000_000 + self.now_ms)
        draw = random.random()
        if not self.clients or (draw < 0.05 and len(self.clients) < 5):
            connection = member.connect(("127.0.0.1", random.randrange(1, 60000)))
            first = random.choice([b"mntr", b"dump", b"wchp", b"wchc", b"cons", b"stat"])
            if random.random() < 0.9:
                first = self.hostile.handshake(self.session)
            self.clients.append(connection)
            self.feed(connection, first + b"".join(self.hostile.frame() for _ in range(random.randrange(3))))
        elif draw < 0.08:
            self.clients.pop(random.randrange(len(self.clients))).lost()
        elif draw < 0.12:
            self.now_ms += random.choice([1, 500, 3000, 20_000])
            member.begin_turn(self.now_ms, 1_700_000_000_000 + self.now_ms)
            member.tick()
        else:
            frames = b"".join(self.hostile.frame() for _ in range(random.choice([1, 1, 2, 5, 20])))
            self.feed(random.choice(self.clients), frames)
        self.turn(random.random() < 0.5)

    def feed(self, connection, data: bytes) -> None:
        for piece in self.hostile.cut(data) if self.random.random() < 0.3 else [data]:
            connection.receive(piece)

    def turn(self, flush: bool) -> None:
        member = self.member
        writes = member.take_writes()
        self.log += [entry.payload for entry in writes]
        self.unflushed += writes
        if flush and self.unflushed:
            member.flushed(self.unflushed[-1].zxid)
            self.unflushed = []
        for connection in member.take_touched():
            sent = b"".join(connection.out)
            connection.out.clear()
            if connection.session_id:
                self.session = (connection.session_id, sent[20:36] if len(sent) >= 36 else bytes(16))
                at = 0
                while at < len(sent):
                    at += 4 + struct.unpack_from(">i", sent, at)[0]
                assert at == len(sent), "a frame of another length than it says"
            if connection.wants_close:
                connection.lost()
                self.clients = [each for each in self.clients if each is not connection]

    def settle(self) -> None:
        self.turn(True)
        while self.member.outstanding:  # requests behind a handshake are taken in when the session is on disk
            self.turn(True)
        tree = self.member.tree
        assert tree.digest == sum(node_digest(path, node) for path, node in tree.items()) % (1 << 64)
        assert all(node.digest in (-1, node_digest(path, node)) for path, node in tree.items())
        assert self.member.leading.preparer.pending.digest == tree.digest
        assert not self.member.leading.preparer.pending._changes
        for path, node in tree.items():
            assert all(child in dict(tree.items()) for child in (node.children.paths() if node.children else ())), path
        replayed = DataTree()
        for payload in self.log:
            txn, digest = decode_txn(payload)
            replayed.apply(txn)
            if txn[2] == self.filled_at:
                nearly_full(replayed)
            elif digest is not None:
                assert replayed.digest == digest, txn
        found = DataTree()
        read_snapshot("snapshot.1", b"".join(write_snapshot(replayed)), found)
        assert found.digest == tree.digest


def run(random: Random, steps: int) -> None:
    town = Town(random)
    town.begin()
    for _ in range(steps):
        town.step()
    town.settle()


@pytest.mark.parametrize("seed", range(12))
def test_no_frame_stops_the_member(seed):
    run(Random(seed), 300)


@settings(max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=True))
def test_no_frame_hypothesis_finds_stops_the_member(random):
    run(random, 60)
