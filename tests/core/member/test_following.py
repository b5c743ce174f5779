"""What a follower makes of what its leader sends, in the order in which it comes."""

from types import SimpleNamespace

import pytest

from recipes.core.codes import SESSION_MOVED
from recipes.core.forwarding import Revalidated
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, write_buffer
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import OPEN_ACL, ConnectRequest, decode_connect_response, encode_connect_request
from recipes.core.jute.requests import MULTI_END, pack_multi_header
from recipes.core.jute.txns import encode_digest, encode_txn
from recipes.core.member.config import MemberConfig
from recipes.core.member.member import Member
from recipes.core.replication import Entry, Ready, RoleChanged, SnapshotRequested, Synced
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import session_password
from recipes.core.tree.tree import DataTree

SESSION = 77


class Follower:
    """A Replica that is told what to hand over; it is its own LeaderProxy."""

    role, serving, epoch, leader = "follower", True, 1, None

    def __init__(self):
        self.ready = Ready()
        self.asked = []
        self.learner = SimpleNamespace(
            leader_is_ours=True,
            revalidate=lambda session, _: self.asked.append(session),
            touch=lambda *_: None,
            forward=lambda *_: 0,
        )

    def take_ready(self):
        ready, self.ready = self.ready, Ready()
        return ready


def returning():
    replica = Follower()
    member = Member(MemberConfig(), DataTree(), replica, 0, 0)
    connection = comes_back(member)
    assert replica.asked == [SESSION]
    return member, replica, connection


def comes_back(member):
    connection = member.connect(("127.0.0.1", 1))
    asked = ConnectRequest(0, 10_000, SESSION, session_password(SESSION))
    connection.receive(frame(encode_connect_request(asked)))
    return connection


def answer_of(connection):
    (payload,) = FrameReader().feed(b"".join(connection.out))
    return decode_connect_response(payload).session_id


def test_it_is_given_back_when_the_leader_says_so():
    member, replica, connection = returning()
    replica.ready.events.append(Revalidated(SESSION, True))
    member.take_writes()
    assert answer_of(connection) == SESSION
    assert not connection.wants_close


def test_it_is_refused_when_its_end_comes_with_the_leaders_answer():
    member, replica, connection = returning()
    payload = encode_txn(SESSION, 0, 1, 0, op.CLOSE_SESSION, ((),))
    replica.ready.events.append(Revalidated(SESSION, True))
    replica.ready.commits.append(Entry(1, payload))
    member.take_writes()
    assert answer_of(connection) == 0
    assert connection.wants_close


def test_a_closing_refused_since_the_session_had_moved_ends_that_connection_only():
    member, replica, older = returning()
    replica.ready.events.append(Revalidated(SESSION, True))
    member.take_writes()
    older.receive(frame(pack_int(5) + pack_int(op.CLOSE_SESSION)))
    newer = comes_back(member)
    replica.ready.commits.append(Entry(1, encode_txn(SESSION, 5, 1, 0, op.ERROR, (SESSION_MOVED,))))
    member.take_writes()
    assert older.wants_close
    assert not newer.wants_close
    replica.ready.events.append(Revalidated(SESSION, True))
    member.take_writes()
    assert answer_of(newer) == SESSION


def test_a_tree_is_compared_with_the_leaders_once_clients_are_served_and_at_each_tick():
    replica = Follower()
    replica.serving = False
    member = Member(MemberConfig(), DataTree(), replica, 0, 0)

    def commit(zxid):
        payload = encode_txn(SESSION, 0, zxid, 0, op.CREATE_SESSION, (10_000,)) + encode_digest(zxid)
        replica.ready.commits.append(Entry(zxid, payload))
        member.take_writes()

    commit(1)
    member.tick()
    assert member.stats.digest_mismatches == 0  # a snapshot that came with it may show too much
    replica.ready.events.append(RoleChanged(True))
    member.take_writes()
    member.tick()
    member.tick()
    assert member.stats.digest_mismatches == 1
    for zxid in range(2, 130):
        commit(zxid)
    assert member.stats.digest_mismatches == 2  # of 0x80
    member.tick()
    assert member.stats.digest_mismatches == 3


def test_what_waits_to_be_applied_is_applied_before_the_role_changes():
    replica = Follower()
    member = Member(MemberConfig(many_ephemerals=1, turn_units=100), DataTree(), replica, 0, 0)
    txns = [(SESSION, 0, 1, 0, op.CREATE_SESSION, (10_000,))]
    txns += [(SESSION, at, at, 0, op.CREATE, (b"/%d" % at, b"", OPEN_ACL, True, -1)) for at in range(2, 5)]
    txns += [(SESSION, 0, 5, 0, op.CLOSE_SESSION, ((),)), (0, 6, 6, 0, op.CREATE, (b"/6", b"", OPEN_ACL, False, -1))]
    replica.ready.commits += [Entry(txn[2], encode_txn(*txn)) for txn in txns]
    member.take_writes()
    assert (member.tree.last_zxid, member.has_work) == (4, True)
    replica.ready.commits.append(Entry(7, encode_txn(0, 7, 7, 0, op.DELETE, (b"/6",))))  # behind those that wait
    member.take_writes()
    assert member.tree.last_zxid == 4
    replica.ready.events.append(RoleChanged(False))
    member.take_writes()
    assert member.tree.last_zxid == 7
    assert len(dict(member.tree.items())) == 4  # the reserved ones
    while member.has_work:
        member.work()


def test_a_snapshot_for_a_learner_has_what_waits_to_be_applied():
    replica, dumped = Follower(), []
    replica.leader = SimpleNamespace(dumped=lambda link, zxid, chunks: dumped.append(zxid))
    replica.serving = False
    member = Member(MemberConfig(many_ephemerals=0, turn_units=1), DataTree(), replica, 0, 0)
    txns = [(session, 0, session, 0, op.CREATE_SESSION, (10_000,)) for session in range(1, 5)]
    txns += [(session, 0, session + 4, 0, op.CLOSE_SESSION, ((),)) for session in range(1, 5)]
    replica.ready.commits += [Entry(txn[2], encode_txn(*txn)) for txn in txns]
    member.take_writes()
    assert member.tree.last_zxid == 5
    replica.ready.events.append(SnapshotRequested(1))
    member.take_writes()
    assert dumped == [8]


@pytest.mark.parametrize("leader_is_ours", [True, False])
def test_a_multi_that_apaches_leader_would_not_answer_is_not_sent_there(leader_is_ours):
    member, replica, connection = returning()
    replica.ready.events.append(Revalidated(SESSION, True))
    member.take_writes()
    replica.learner.leader_is_ours = leader_is_ours
    null_path = pack_multi_header(op.CHECK, -1) + pack_int(-1) + pack_int(0) + MULTI_END
    connection.receive(frame(pack_int(1) + pack_int(op.MULTI) + null_path))
    assert (connection.wants_close, len(member._waiting)) == (not leader_is_ours, int(leader_is_ours))


def test_interop_6_a_follower_that_skips_acls_does_not_say_so_to_its_leader():
    replica, sent = Follower(), []
    replica.learner.forward = lambda *request: sent.append(request) or 0
    replica.sync = lambda token, *request: sent.append(request)
    member = Member(MemberConfig(skip_acl=True), DataTree(), replica, 0, 0)
    connection = member.connect(("127.0.0.1", 1))
    assert connection.ids != ((b"ip", b"127.0.0.1"),)
    request = Request(SESSION, 1, op.SET_DATA, b"", connection.ids)
    assert member.submit(request)
    member.sync(request)
    assert [what[-1] for what in sent] == [((b"ip", b"127.0.0.1"),)] * 2


def test_what_waits_in_a_connection_that_the_client_gave_up_is_not_forwarded_behind_its_return():
    member, replica, connection = returning()
    replica.ready.events.append(Revalidated(SESSION, True))
    member.take_writes()
    sent, synced = [], []
    replica.learner.forward = lambda session, cxid, *_: sent.append(cxid) or 0
    replica.sync = lambda token, *_: synced.append(token)
    replica.ready.events.append(RoleChanged(True))
    member.take_writes()
    write = pack_int(2) + pack_int(op.DELETE) + write_buffer(b"/a") + pack_int(-1)
    connection.receive(frame(pack_int(1) + pack_int(op.SYNC) + write_buffer(b"/")) + frame(write))
    assert sent == [] and len(synced) == 1
    comes_back(member)
    assert replica.asked == [SESSION, SESSION]
    replica.ready.commits.append(Synced(synced[0]))
    member.take_writes()
    assert sent == [] and connection.wants_close
