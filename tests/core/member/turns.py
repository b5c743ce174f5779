"""A Member with its clients, turn by turn, as the shell of a server does it."""

from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, write_buffer
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import OPEN_ACL, ConnectRequest, encode_connect_request
from recipes.core.member.config import MemberConfig
from recipes.core.member.costs import TURN_UNITS
from recipes.core.member.member import Member
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree


class Server:
    """A Member, its disk, and what its clients have received. others: how many turns there were for others."""

    def __init__(self, children=0, **settings):
        tree = DataTree()
        for zxid in range(1, children + 1):
            tree.apply((0, 0, zxid, 0, op.CREATE, (b"/%d" % zxid, b"", OPEN_ACL, False, zxid)))
        self.member = Member(MemberConfig(**settings), tree, Standalone(children), 0, 0)
        self.logged = []
        self.readers = {}
        self.turns = 0
        self.fewest_left = TURN_UNITS

    def session(self, timeout_ms=10_000):
        connection = self.member.connect(("127.0.0.1", 1))
        self.readers[connection] = FrameReader(None), []
        connection.receive(frame(encode_connect_request(ConnectRequest(0, timeout_ms, 0, bytes(16)))))
        self.run()
        self.replies(connection)
        return connection

    def turn(self):
        """One turn, as the shell does it."""
        member = self.member
        self.turns += 1
        member.begin_turn(member.now_ms, 0)
        if member.has_work:
            member.work()
        while writes := member.take_writes():
            self.logged += writes
            member.flushed(writes[-1].zxid)
        for connection in member.take_touched():
            reader, replies = self.readers[connection]
            replies += reader.feed(b"".join(connection.out))
            connection.out.clear()
            connection.go_on()
        self.fewest_left = min(self.fewest_left, member.units_left)

    @property
    def is_idle(self):
        return not (self.member.has_work or self.member._touched or self.member.late or self.member._waiting)

    def run(self):
        """Turns until nothing is left to do. Returns how many there were."""
        before = self.turns
        self.turn()
        while not self.is_idle:
            self.turn()
        return self.turns - before

    def replies(self, connection):
        """xid and error of each reply since the last call."""
        replies = self.readers[connection][1]
        found = [
            (int.from_bytes(reply[:4], "big", signed=True), int.from_bytes(reply[12:16], "big", signed=True))
            for reply in replies
        ]
        self.bodies = [reply[16:] for reply in replies]
        replies.clear()
        return found


def request(xid, kind, body=b""):
    return frame(pack_int(xid) + pack_int(kind) + body)


def get(xid, path=b"/"):
    return request(xid, op.GET_DATA, write_buffer(path) + b"\0")


def served_meanwhile(server, other):
    """Turns until all is done, in each of which another client asks, and is answered."""
    turns = 0
    while not server.is_idle or not turns:
        other.receive(get(1000 + turns))
        server.turn()
        assert server.replies(other) == [(1000 + turns, 0)]
        turns += 1
    return turns
