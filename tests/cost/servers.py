"""One pure server, or three that replicate, that answer requests of one kind: what test_cost.py counts instructions of.

`python servers.py SERVERS KIND COUNT [raft]` prints a line that says what it did; the kind "all" is COUNT requests of
each. It takes `recipes` from PYTHONPATH, of today or of an earlier commit, so it uses only what both have; raft is for
today.
"""

import gc
import struct
import sys

from recipes.core.member.member import Member
from recipes.core.replication import Entry
from recipes.core.tree.tree import DataTree

try:
    from recipes.core.quorum import Membership, QuorumServer
    from recipes.core.replication import ReplicaSettings
    from recipes.core.zab.peer import ZabPeer
except ImportError:  # an earlier commit
    from recipes.core.zab.membership import Membership
    from recipes.core.zab.membership import Server as QuorumServer

    from recipes.core.zab.peer import PeerSettings as ReplicaSettings
    from recipes.core.zab.peer import ZabPeer

try:
    from recipes.core.member.config import MemberConfig
    from recipes.core.standalone import Standalone
    from recipes.core.zab.peer import RecoveredState
except ImportError:  # an earlier commit
    from recipes.core.member.member import MemberConfig
    from recipes.core.replication import Standalone
    from recipes.core.zab.peer import Boot as RecoveredState

BATCH = 8  # requests of a turn
MADE = 400  # znodes that are there before anything but a create
TICK_MS = 2000
WALL_MS = 1_700_000_000_000
CREATE, DELETE, GET, SET = 1, 2, 4, 5
KINDS = {"create": CREATE, "get": GET, "set": SET, "delete": DELETE}  # in this order where all are run
OPEN_ACL = struct.pack(">ii", 1, 31) + b"\0\0\0\5world\0\0\0\6anyone"
DATA = struct.pack(">i", 100) + b"x" * 100


def frame(body):
    return struct.pack(">i", len(body)) + body


def path_of(number):
    path = b"/%06d" % number
    return struct.pack(">i", len(path)) + path


def request(xid, op, number):
    header = struct.pack(">ii", xid, op)
    if op == CREATE:
        return frame(header + path_of(number) + DATA + OPEN_ACL + bytes(4))
    if op == DELETE:
        return frame(header + path_of(number) + struct.pack(">i", -1))
    if op == SET:
        return frame(header + path_of(number % BATCH) + DATA + struct.pack(">i", -1))
    return frame(header + path_of(number % BATCH) + b"\0")


def peer_of(settings, protocol, now_ms):
    if protocol == "zab":
        return ZabPeer(settings, RecoveredState(), now_ms)
    from recipes.core.raft.protocol import RAFT
    from recipes.core.replication import Recovered

    cells = {name: values[0] for name, values in RAFT.cells.items()}
    return RAFT.start(settings, Recovered(0, 0, 0, (), [], 0, cells, "", 0), now_ms)


class Shell:
    """A member, its peer where it has one, and a disk that is always done at once."""

    def __init__(self, sid, membership, protocol):
        self.sid = sid
        self.now_ms = 1000
        self.peer = None
        if membership is not None:
            self.peer = peer_of(ReplicaSettings(sid, membership, TICK_MS, 10, 5), protocol, self.now_ms)
        config = MemberConfig(tick_ms=TICK_MS, server_id=sid)
        self.member = Member(config, DataTree(), self.peer or Standalone(0), self.now_ms, WALL_MS)

    def begin(self, now_ms):
        if self.peer is not None:
            self.peer.begin_turn(now_ms)
        self.member.begin_turn(now_ms, WALL_MS + now_ms)


class Servers:
    """Joined without a network: what one sends the other has in the next round."""

    def __init__(self, count, protocol):
        sids = range(1, count + 1)
        membership = Membership([QuorumServer(sid, "127.0.0.1", 1, 1) for sid in sids]) if count > 1 else None
        self.servers = {sid: Shell(sid, membership, protocol) for sid in sids}
        self.ends = {}
        self.now_ms = 1000

    def run(self):
        """Until nobody has anything to do."""
        while any([self.turn(server) for server in self.servers.values()]):
            pass

    def turn(self, server):
        busy = False
        server.begin(self.now_ms)
        while writes := server.member.take_writes():
            busy = True
            self.send(server)
            last = None
            for write in writes:
                if isinstance(write, Entry):
                    last = write.zxid
                else:
                    server.member.written(write, None)
            if last is not None:
                server.member.flushed(last)
        return self.send(server) or busy

    def send(self, server):
        peer = server.peer
        if peer is None:
            return False
        mail = peer.take_outbox() if hasattr(peer, "take_outbox") else peer.take_mail()
        for to, note in mail.votes:
            self.servers[to].peer.notified(server.sid, note)
        if mail.dial is not None:
            there = self.servers[mail.dial].peer
            theirs = there.accept() if there.listening else None
            if theirs is None:
                peer.dial_failed(mail.dial)
            else:
                ours = peer.dialled(mail.dial)
                self.ends[server.sid, ours.key], self.ends[mail.dial, theirs.key] = theirs, ours
        for link in mail.touched:
            if link.out:
                data = b"".join(part if isinstance(part, bytes) else b"".join(part) for part in link.out)
                link.out.clear()
                self.ends[server.sid, link.key].receive(data)
        return bool(mail.votes or mail.touched or mail.dial is not None)

    def advance(self):
        self.now_ms += 50
        for server in self.servers.values():
            server.begin(self.now_ms)
            if server.peer is not None:
                server.peer.tick()
        self.run()


def answers(connection, expected):
    """How many frames came, all of requests that succeeded."""
    count = 0
    data = b"".join(connection.out)
    connection.out.clear()
    while data:
        size, _, _, error = struct.unpack_from(">iiqi", data)
        if error:
            raise SystemExit(f"a request failed with {error}")
        data = data[4 + size :]
        count += 1
    if count != expected:
        raise SystemExit(f"{count} answers to {expected} requests")


def main(count, kind, requests, protocol="zab"):
    gc.disable()  # it runs by how much is allocated, which is not what is counted
    ensemble = Servers(count, protocol)
    for _ in range(200):
        ensemble.run()
        if all(server.member.serving for server in ensemble.servers.values()):
            break
        ensemble.advance()
    server = next(each for each in ensemble.servers.values() if count == 1 or each.member.role == "follower")
    connection = server.member.connect(("127.0.0.1", 1))
    connection.receive(frame(struct.pack(">iqiqi", 0, 0, 30000, 0, 16) + bytes(16) + b"\0"))
    ensemble.run()
    connection.out.clear()
    xid = 0

    def ask(op, first, many):
        nonlocal xid
        for start in range(first, first + many, BATCH):
            batch = range(start, min(start + BATCH, first + many))
            server.begin(ensemble.now_ms)
            connection.receive(b"".join(request(xid + 1 + number - start, op, number) for number in batch))
            xid += len(batch)
            ensemble.run()
            server.member.take_touched()
            answers(connection, len(batch))

    if kind != "create" and kind != "all":
        ask(CREATE, 0, MADE)
    for each, op in KINDS.items():
        if kind in (each, "all"):
            ask(op, 0, requests)
    trees = {(each.member.tree.last_zxid, each.member.tree.digest) for each in ensemble.servers.values()}
    if len(trees) != 1:
        raise SystemExit(f"the servers differ: {trees}")
    print(f"{requests} {kind} on {count}: {trees}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
