"""What a member does without a leader when it may serve readers: whom it lets in, what they get, and when it ends."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest

from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, write_buffer
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import ConnectRequest, decode_connect_response, encode_connect_request
from recipes.core.jute.requests import encode_auth, encode_set_watches
from recipes.core.jute.txns import encode_txn
from recipes.core.member.commands import command
from recipes.core.member.config import MemberConfig
from recipes.core.member.member import Member
from recipes.core.replication import Entry, InstallSnapshot, Ready, RoleChanged
from recipes.core.standalone import Standalone
from recipes.core.tree.sessions import session_password
from recipes.core.tree.tree import DataTree

GLOBAL = 77
ZXID = 0x100000002
NOT_READ_ONLY = -119


class Peer:
    """A Replica that follows or looks, as it is told."""

    def __init__(self):
        self.epoch = 1
        self.leader = None
        self.ready = Ready()
        self.role, self.serving, self.learner = "looking", False, None

    def follow(self):
        self.learner = SimpleNamespace(touch=lambda *_: None)
        self.role, self.serving = "follower", True
        self.ready.events.append(RoleChanged(True))

    def look(self):
        self.role, self.serving, self.learner = "looking", False, None
        self.ready.events.append(RoleChanged(False))

    def written(self, operation, last_zxid):
        pass

    def take_ready(self):
        ready, self.ready = self.ready, Ready()
        return ready


def tree_of_a_session():
    tree = DataTree()
    tree.apply((GLOBAL, 0, ZXID - 1, 5, op.CREATE_SESSION, (10_000,)))
    tree.apply((GLOBAL, 1, ZXID, 5, op.CREATE, (b"/a", b"x", ((31, b"world", b"anyone"),), False, 1)))
    return tree


class Alone:
    """A member that has followed, and does no more; `ms` after it lost its leader."""

    def __init__(self, ms=2000, *, served=True, enabled=True, tick_ms=500):
        self.peer = Peer()
        config = MemberConfig(
            tick_ms=tick_ms,
            min_session_timeout_ms=1000,
            max_session_timeout_ms=10_000,
            read_only_mode=enabled,
            four_letter_whitelist=("*",),
        )
        self.member = Member(config, tree_of_a_session(), self.peer, 0, 5)
        if served:
            self.peer.follow()
            self.turn(0)
        self.peer.look()
        self.turn(0)
        self.turn(ms)

    def turn(self, now_ms):
        self.member.begin_turn(now_ms, now_ms + 5)
        self.member.tick()
        assert self.member.take_writes() == []  # nothing of this is ever on a disk

    def word(self, word):
        answer = self.member.four_letter(word)
        return (answer if isinstance(answer, bytes) else b"".join(answer)).decode()

    def connect(self, session_id=0, password=None, *, read_only=True, last_zxid=0, old=False):
        password = password or (session_password(session_id) if session_id else bytes(16))
        connection = self.member.connect(("127.0.0.1", 1))
        asked = ConnectRequest(last_zxid, 4000, session_id, password, read_only, has_read_only=not old)
        connection.receive(frame(encode_connect_request(asked)))
        return connection


def sent(connection):
    frames = FrameReader().feed(b"".join(connection.out))
    connection.out.clear()
    return frames


def welcome(connection):
    (payload,) = sent(connection)
    return decode_connect_response(payload)


def ask(connection, kind, body=b"", xid=7):
    connection.receive(frame(pack_int(xid) + pack_int(kind) + body))
    return [(*struct.unpack_from(">iqi", payload), payload[16:]) for payload in sent(connection)]


def opened(alone):
    connection = alone.connect()
    return connection, welcome(connection).session_id


def test_it_begins_after_two_seconds_of_looking_or_a_longer_tick():
    alone = Alone(1999)
    assert (alone.word(b"isro"), alone.member.role) == ("null", "looking")
    alone.turn(2000)
    assert (alone.word(b"isro"), alone.member.role) == ("ro", "read-only")
    alone = Alone(2999, tick_ms=3000)
    assert alone.word(b"isro") == "null"
    alone.turn(3000)
    assert alone.word(b"isro") == "ro"


def test_an_attempt_to_follow_starts_the_time_anew():
    alone = Alone(1000)
    alone.peer.learner = SimpleNamespace()
    alone.turn(1500)
    alone.peer.learner = None
    alone.turn(2000)
    alone.turn(3999)
    assert alone.word(b"isro") == "null"
    alone.turn(4000)
    assert alone.word(b"isro") == "ro"


def test_it_does_not_unless_it_is_set_up_to():
    alone = Alone(60_000, enabled=False)
    assert alone.word(b"isro") == "null"
    assert alone.connect().wants_close


def test_a_server_alone_has_no_such_mode():
    member = Member(MemberConfig(read_only_mode=True), DataTree(), Standalone(0), 0, 0)
    member.begin_turn(60_000, 0)
    member.tick()
    assert member.four_letter(b"isro") == b"rw"


def test_what_only_the_log_has_is_not_shown():
    assert Alone(60_000, served=False).word(b"isro") == "null"


def test_a_tree_a_leader_has_sent_is_shown_only_once_that_leader_is_established():
    alone = Alone()
    connection, _ = opened(alone)
    alone.member.written(InstallSnapshot(9, b""), DataTree())
    assert connection.wants_close
    assert ask(connection, op.GET_DATA, write_buffer(b"/a") + b"\0") == []
    alone.turn(60_000)
    assert alone.word(b"isro") == "null"
    alone.peer.follow()
    alone.turn(60_001)
    alone.peer.look()
    alone.turn(60_002)
    alone.turn(62_002)
    assert alone.word(b"isro") == "ro"


def test_what_a_leader_applied_that_came_to_nothing_is_not_shown():
    alone = Alone(1000)
    alone.peer.leader = object()
    txn = (GLOBAL, 2, ZXID + 1, 5, op.DELETE, (b"/a",))
    alone.peer.ready.commits.append(Entry(ZXID + 1, encode_txn(*txn), txn))
    alone.turn(1500)
    alone.peer.leader = None
    alone.turn(2000)
    alone.turn(60_000)
    assert alone.word(b"isro") == "null"


def test_only_those_get_in_that_ask_for_it():
    alone = Alone()
    for connection in (
        alone.connect(read_only=False),
        alone.connect(old=True),
        alone.connect(last_zxid=ZXID + 1),
        alone.connect(GLOBAL),
        alone.connect(GLOBAL, bytes(16)),
        alone.connect(GLOBAL + 1),
    ):
        assert connection.wants_close
        assert connection.out == []
    answer = welcome(alone.connect(last_zxid=ZXID))
    assert answer.read_only
    assert answer.timeout_ms == 4000
    assert answer.session_id not in (0, GLOBAL)
    assert answer.password == session_password(answer.session_id)
    assert list(alone.member.tree.sessions) == [GLOBAL]


def test_who_connected_before_is_hung_up_on():
    alone = Alone(0)
    connection = alone.member.connect(("127.0.0.1", 1))
    alone.turn(2000)
    connection.receive(frame(encode_connect_request(ConnectRequest(0, 4000, 0, bytes(16), True))))
    assert connection.wants_close
    assert connection.out == []


def test_reads_are_answered():
    connection, _ = opened(Alone())
    path = write_buffer(b"/a")
    ((xid, zxid, err, body),) = ask(connection, op.GET_DATA, path + b"\1")
    assert (xid, zxid, err, body[:5]) == (7, ZXID, 0, b"\0\0\0\1x")
    assert ask(connection, op.GET_CHILDREN, write_buffer(b"/") + b"\0")[0][2] == 0
    assert ask(connection, op.EXISTS, write_buffer(b"/none") + b"\0")[0][2] == -101
    assert ask(connection, op.PING, b"", op.PING_XID) == [(op.PING_XID, ZXID, 0, b"")]
    assert ask(connection, op.AUTH, encode_auth(b"digest", b"u:p"), op.AUTH_XID) == [(op.AUTH_XID, 0, 0, b"")]
    assert (
        ask(connection, op.SET_WATCHES, encode_set_watches(ZXID - 1, [b"/a"], [], []), op.SET_WATCHES_XID)[0][0] == -1
    )


@pytest.mark.parametrize(
    "kind",
    [op.CREATE, op.CREATE2, op.CREATE_TTL, op.CREATE_CONTAINER, op.DELETE, op.SET_DATA, op.SET_ACL, op.MULTI, op.CHECK,
     op.RECONFIG, op.SYNC],
)  # fmt: skip
def test_all_else_is_refused(kind):
    alone = Alone()
    connection, _ = opened(alone)
    assert ask(connection, kind, write_buffer(b"/a")) == [(7, ZXID, NOT_READ_ONLY, b"")]
    assert not connection.wants_close
    assert alone.member.outstanding == 0


def test_a_session_can_be_closed_and_is_over():
    alone = Alone()
    connection, session_id = opened(alone)
    assert ask(connection, op.CLOSE_SESSION) == [(7, ZXID, 0, b"")]
    assert connection.wants_close
    back = alone.connect(session_id)
    assert welcome(back).timeout_ms == 0
    assert back.wants_close


def test_a_session_of_its_own_may_come_back():
    alone = Alone()
    older, session_id = opened(alone)
    stranger = alone.connect(session_id, bytes(16))
    assert welcome(stranger)[:2] == (0, 0)
    assert not older.wants_close
    newer = alone.connect(session_id)
    assert welcome(newer).session_id == session_id
    assert older.wants_close
    older.lost()
    assert ask(newer, op.PING)[0][2] == 0


def test_one_that_falls_silent_ends():
    alone = Alone()
    silent, silent_id = opened(alone)
    lively, _ = opened(alone)
    alone.turn(4000)
    ask(lively, op.PING)
    alone.turn(6500)
    assert silent.wants_close
    assert not lively.wants_close
    assert alone.member.stats.sessions_expired == 1
    assert welcome(alone.connect(silent_id)).timeout_ms == 0


def test_it_ends_before_anything_comes_of_a_leader():
    alone = Alone()
    connection, session_id = opened(alone)
    alone.peer.learner = SimpleNamespace()
    alone.member.take_writes()
    assert connection.wants_close
    assert alone.word(b"isro") == "null"
    alone.peer.follow()
    alone.turn(2100)
    assert alone.word(b"isro") == "rw"
    alone.peer.look()
    alone.turn(3000)
    alone.turn(5000)
    assert alone.word(b"isro") == "ro"
    old = alone.connect(session_id)
    assert old.out == []
    assert old.wants_close
    assert opened(alone)[1] != session_id


def test_what_it_says_of_itself():
    alone = Alone()
    opened(alone)
    assert alone.word(b"srvr").splitlines()[1] == "READ-ONLY mode; serving only read-only clients"
    assert "\nMode: read-only\n" in alone.word(b"srvr")
    assert alone.word(b"stat").splitlines()[1:3] == ["READ-ONLY mode; serving only read-only clients", "Clients:"]
    mntr = dict(line.split("\t") for line in alone.word(b"mntr").splitlines())
    assert (mntr["zk_server_state"], mntr["zk_local_sessions"], mntr["zk_global_sessions"]) == ("read-only", "1", "1")
    assert command(alone.member, "isro")["read_only"] is True
    stats = command(alone.member, "srvr")
    assert stats["read_only"] is True
    assert stats["server_stats"]["server_state"] == "read-only"
    assert "READ-ONLY" not in Alone(1000).word(b"srvr")
