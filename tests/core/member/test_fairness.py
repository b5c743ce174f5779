"""No client's requests keep others waiting: what costs much is done in slices, a few in each turn."""

import sys

import pytest

from recipes.core.codes import BAD_VERSION, QUOTA_EXCEEDED
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, write_buffer
from recipes.core.jute.records import ACL, Id
from recipes.core.jute.requests import (
    encode_create,
    encode_multi,
    encode_path_version,
    encode_set_data,
    encode_set_watches,
)
from recipes.core.jute.txns import decode_txn
from recipes.core.member import leading, leaving
from recipes.core.member.connection import MOST_UNITS, Connection
from recipes.core.member.costs import TURN_UNITS
from recipes.core.member.reads import is_long
from recipes.core.tree.digest import node_digest
from recipes.core.tree.tree import DataTree
from tests.core.member.turns import Server, get, request, served_meanwhile

OPEN = (ACL(op.ALL, Id("world", "anyone")),)
MOST_OF_A_SLICE = 3 * 256  # how far one slice may go beyond the limit of a turn


def recounted(tree):
    return sum(node_digest(path, node) for path, node in tree.items()) & (1 << 64) - 1


def replayed(server):
    """The tree that another server makes of the same log."""
    tree = DataTree()
    for entry in server.logged:
        tree.apply(decode_txn(entry.payload)[0])
    return tree


def test_f2_counting_large_subtrees_leaves_turns_for_others():
    server = Server()
    client, other = server.session(), server.session()
    for path in (b"/a", b"/a/b"):
        client.receive(request(1, op.CREATE, encode_create(path, b"", OPEN, 0)))
    for first in range(0, 6000, 300):
        parts = [(op.CREATE, encode_create(b"/a/b/%d" % at, b"", OPEN, 0)) for at in range(first, first + 300)]
        client.receive(request(2, op.MULTI, encode_multi(parts)))
        server.run()
    server.replies(client)
    server.fewest_left = TURN_UNITS
    count = request(3, op.GET_ALL_CHILDREN_NUMBER, write_buffer(b"/a"))
    client.receive(count * 20 + get(4))
    turns = served_meanwhile(server, other)
    assert turns > 5
    assert server.fewest_left > TURN_UNITS - 2 * MOST_UNITS - MOST_OF_A_SLICE
    assert server.replies(client) == [(3, 0)] * 20 + [(4, 0)]
    assert server.bodies[:20] == [pack_int(6001)] * 20


@pytest.mark.parametrize("last", [op.CHECK, op.DELETE])
def test_f2_a_large_multi_is_prepared_in_slices_while_others_read(last):
    server = Server()
    client, other, writer = server.session(), server.session(), server.session()
    parts = [(op.CREATE, encode_create(b"/%d" % at, b"x", OPEN, 0)) for at in range(2000)]
    parts += [(op.CHECK, encode_path_version(b"/%d" % (at % 2000), 0)) for at in range(2000)]
    parts.append((last, encode_path_version(b"/1", -1 if last == op.DELETE else 7)))  # the check fails
    client.receive(request(1, op.MULTI, encode_multi(parts)) + get(2))
    writer.receive(
        request(1, op.CREATE, encode_create(b"/new", b"", OPEN, 0)) + request(2, op.SYNC, write_buffer(b"/"))
    )
    turns = served_meanwhile(server, other)
    assert turns > 10
    assert server.replies(client) == [(1, 0), (2, 0)] if last == op.DELETE else [(1, BAD_VERSION), (2, 0)]
    assert server.replies(writer) == [(1, 0), (2, 0)]
    tree = server.member.tree
    assert (b"/0" in dict(tree.items()), b"/1" in dict(tree.items())) == ((last == op.DELETE), False)
    assert server.member.tree.find(b"/").children.count == (2001 if last == op.DELETE else 2)
    assert tree.digest == recounted(tree) == replayed(server).digest
    kinds = [entry.txn[4] for entry in server.logged]
    assert kinds[-2:] == [op.MULTI, op.CREATE]  # what came behind it is behind it in the log


def test_f2_a_large_multi_that_fails_undoes_nothing_that_was_applied_meanwhile():
    server = Server()
    client, other = server.session(), server.session()
    client.receive(request(1, op.CREATE, encode_create(b"/a", b"", OPEN, 0)))
    server.run()
    other.receive(request(1, op.SET_DATA, encode_set_data(b"/a", b"1", -1)))  # under way, not yet applied
    parts = [(op.SET_DATA, encode_set_data(b"/a", b"2", -1))] * 2000
    parts.append((op.CHECK, encode_path_version(b"/a", 7)))
    client.receive(request(2, op.MULTI, encode_multi(parts)))
    assert server.member.has_work
    server.run()
    other.receive(request(2, op.SET_DATA, encode_set_data(b"/a", b"3", 1)))
    server.run()
    assert [err for _, err in server.replies(other)] == [0, 0]
    tree = server.member.tree
    assert (tree.find(b"/a").data, tree.find(b"/a").version) == (b"3", 2)
    assert tree.digest == recounted(tree) == replayed(server).digest


def test_f2_many_watches_are_set_again_in_slices_and_none_misses_a_change():
    server = Server(children=9000)
    client, other = server.session(), server.session()
    paths = [b"/%d" % at for at in range(1, 9001)]
    body = encode_set_watches(server.member.tree.last_zxid, paths, [], [])
    client.receive(request(-8, op.SET_WATCHES, body) + get(1))
    server.turn()
    assert server.replies(client) == []
    changes = [request(at, op.SET_DATA, encode_set_data(b"/%d" % at, b"x", -1)) for at in (1, 9000)]
    other.receive(b"".join(changes))  # the first is watched by now, the last is not
    server.turn()
    turns = 2
    while not server.is_idle:
        server.turn()
        turns += 1
    assert turns > 5
    found = server.replies(client)
    assert [xid for xid, _ in found] == [-1, -1, -8, 1]


def test_f2_ten_clients_with_much_to_do_take_turns():
    server = Server()
    clients = [server.session() for _ in range(10)]
    maker = clients[0]
    for first in range(0, 3000, 300):
        parts = [(op.CREATE, encode_create(b"/%d" % at, b"", OPEN, 1)) for at in range(first, first + 300)]
        maker.receive(request(2, op.MULTI, encode_multi(parts)))
        server.run()
    maker.receive(request(2, op.CREATE, encode_create(b"/a", b"", OPEN, 0)))
    server.run()
    server.replies(maker)
    for client in clients:
        client.receive(request(1, op.SET_WATCHES, encode_set_watches(0, [b"/none"] * 3000, [], [])))
    answered = []
    while not server.is_idle:
        server.turn()
        answered.append([len([xid for xid, _ in server.replies(client) if xid == 1]) for client in clients])
    first = [next(turn for turn, counts in enumerate(answered) if counts[at]) for at in range(10)]
    assert max(first) < 2 * 10 * 12000 // TURN_UNITS
    assert server.fewest_left > -MOST_OF_A_SLICE - 1


def test_f9_the_watches_of_a_client_that_leaves_go_in_slices(monkeypatch):
    monkeypatch.setattr(leaving, "_MOST_FORGOTTEN", 100)
    server = Server()
    client, other = server.session(), server.session()
    client.receive(request(-8, op.SET_WATCHES, encode_set_watches(0, [], [b"/none/%d" % at for at in range(1000)], [])))
    server.run()
    assert server.member.tree.watches.total == 1000
    client.lost()
    assert server.member.tree.watches.total == 900
    other.receive(request(1, op.CREATE, encode_create(b"/none", b"", OPEN, 0)))
    assert server.run() > 5
    assert server.member.tree.watches.total == 0
    assert server.replies(other) == [(1, 0)]


def test_clients_that_leave_together_take_no_more_of_a_turn_than_one(monkeypatch):
    monkeypatch.setattr(leaving, "_MOST_FORGOTTEN", 2000)
    server = Server()
    clients = [server.session() for _ in range(8)]
    for at, client in enumerate(clients):
        paths = [b"/none/%d/%d" % (at, number) for number in range(3000)]
        client.receive(request(-8, op.SET_WATCHES, encode_set_watches(0, [], paths, [])))
    server.run()
    watches = server.member.tree.watches
    server.member.begin_turn(server.member.now_ms, server.member.wall_ms)
    for client in clients:
        client.lost()
    assert watches.total >= 8 * 3000 - TURN_UNITS - 2000
    server.run()
    assert watches.total == 0


@pytest.mark.parametrize("settings", [{"max_watches": 2}, {"max_watched_bytes": 4}])
def test_f9_a_session_has_no_more_watches_than_it_may_have(settings):
    server = Server(**settings)
    client, other = server.session(), server.session()
    watch = [request(xid, op.EXISTS, write_buffer(b"/%d" % xid) + b"\1") for xid in (1, 2, 3)]
    client.receive(b"".join(watch) + get(4))
    server.run()
    assert server.replies(client) == [(1, -101), (2, -101), (3, QUOTA_EXCEEDED), (4, 0)]
    for kind, body in (
        (op.ADD_WATCH, write_buffer(b"/x") + pack_int(0)),
        (op.SET_WATCHES, encode_set_watches(0, [], [b"/x"], [])),
        (op.GET_CHILDREN, write_buffer(b"/") + b"\1"),
    ):
        client.receive(request(5, kind, body))
        server.run()
        assert server.replies(client) == [(5, QUOTA_EXCEEDED)]
    other.receive(watch[0])
    other.receive(request(2, op.CREATE, encode_create(b"/1", b"", OPEN, 0)))  # a watch that fires makes room
    server.run()
    client.receive(watch[2])
    server.run()
    assert server.replies(client) == [(-1, 0), (3, -101)]


def test_closing_a_session_with_many_ephemerals_leaves_turns_for_others():
    server = Server()
    client, other, watcher, reader = (server.session() for _ in range(4))
    for first in range(0, 9000, 300):
        parts = [(op.CREATE, encode_create(b"/%d" % at, b"", OPEN, 1)) for at in range(first, first + 300)]
        client.receive(request(1, op.MULTI, encode_multi(parts)))
        server.run()
    server.replies(client)
    watcher.receive(request(1, op.EXISTS, write_buffer(b"/8999") + b"\1"))
    watcher.receive(request(2, op.GET_CHILDREN, write_buffer(b"/") + b"\1"))
    server.run()
    assert server.replies(watcher) == [(1, 0), (2, 0)]
    client.receive(request(9, op.CLOSE_SESSION))
    writes = request(5, op.CREATE, encode_create(b"/1", b"", OPEN, 0))
    other.receive(writes)  # behind the closing: the path is free by then
    turns = served_meanwhile(server, reader)
    assert turns > 2
    assert server.replies(client) == [(9, 0)]
    assert server.replies(other) == [(5, 0)]
    assert server.replies(watcher) == [(-1, 0), (-1, 0)]
    tree = server.member.tree
    assert tree.find(b"/").children.paths() == [b"/zookeeper", b"/1"]
    assert client.session_id not in tree.ephemerals
    other_tree = replayed(server)
    assert tree.digest == recounted(tree) == other_tree.digest == recounted(other_tree)
    assert tree.data_bytes == other_tree.data_bytes
    assert dict(tree.items()).keys() == dict(other_tree.items()).keys()


def test_many_sessions_that_end_at_once_end_in_slices():
    server = Server(tick_ms=100, min_session_timeout_ms=100)
    for _ in range(250):
        server.session(100)
    server.member.now_ms = 1000
    server.member.begin_turn(1000, 0)
    server.member.tick()
    assert 0 < server.member.stats.sessions_expired <= 100
    assert server.run() >= 2
    assert server.member.stats.sessions_expired == 250
    assert server.member.tree.sessions == {}


def test_many_clients_that_close_at_once_are_served_in_several_turns(monkeypatch):
    server = Server()
    clients = [server.session() for _ in range(400)]
    other = server.session()
    server.member.begin_turn(0, 0)
    for client in clients:
        client.receive(request(1, op.CLOSE_SESSION))
    assert 0 < len(server.member._waiting) <= TURN_UNITS // 50
    assert served_meanwhile(server, other) > 2
    assert [server.replies(client) for client in clients] == [[(1, 0)]] * 400


def with_ephemerals(server, count, where=b""):
    """A session with so many ephemeral znodes."""
    client = server.session()
    for first in range(0, count, 300):
        many = range(first, min(count, first + 300))
        parts = [(op.CREATE, encode_create(b"/%s%d" % (where, at), b"", OPEN, 1)) for at in many]
        client.receive(request(1, op.MULTI, encode_multi(parts)))
        server.run()
    server.replies(client)
    return client


def test_clients_that_wait_for_their_closing_are_looked_at_when_their_time_comes(monkeypatch):
    server = Server()
    clients = [server.session() for _ in range(2000)]
    looked_at = []
    go_on = Connection.go_on
    monkeypatch.setattr(Connection, "go_on", lambda each: looked_at.append(each) or go_on(each))
    server.member.begin_turn(0, 0)
    for client in clients:
        client.receive(request(1, op.CLOSE_SESSION))
    assert server.run() > 5
    assert [server.replies(client) for client in clients] == [[(1, 0)]] * 2000
    assert len(looked_at) < 3 * 2000  # not all of them in each turn


def test_nothing_is_read_from_a_client_that_waits_for_its_closing():
    """It may have hung up behind its request: to know that would drop the request."""
    server = Server()
    clients = [server.session() for _ in range(300)]
    server.member.begin_turn(0, 0)
    for client in clients:
        client.receive(request(1, op.CLOSE_SESSION))
    waiting = list(server.member.late)
    assert waiting
    assert all(client.paused for client in waiting)
    server.run()
    assert server.member.tree.sessions == {}


def test_the_znodes_of_a_session_are_all_there_or_none_for_all_who_look():
    server = Server()
    client, reader, writer = with_ephemerals(server, 9000), server.session(), server.session()
    client.receive(request(2, op.CLOSE_SESSION))
    writer.receive(request(1, op.CREATE, encode_create(b"/1", b"", OPEN, 0)))
    counts = []
    while not server.is_idle:
        reader.receive(request(3, op.GET_ALL_CHILDREN_NUMBER, write_buffer(b"/")))
        reader.receive(request(4, op.EXISTS, write_buffer(b"/0") + b"\0"))
        reader.receive(request(5, op.EXISTS, write_buffer(b"/8999") + b"\0"))
        server.turn()
        found = server.replies(reader)
        if len(found) == 3:
            count = int.from_bytes(server.bodies[0], "big")
            counts.append(count)
            assert [err for _, err in found[1:]] == [0 if count > 9000 else -101] * 2
    assert len(counts) > 5
    assert counts == sorted(counts, key=[9003, 3, 4].index)  # besides those of the session: the reserved ones, and /1
    assert [entry.txn[4] for entry in server.logged[-2:]] == [op.CLOSE_SESSION, op.CREATE]
    assert server.replies(client) == [(2, 0)]
    assert server.replies(writer) == [(1, 0)]


def test_sessions_whose_end_is_on_disk_together_end_in_several_turns():
    """As behind a slow disk, or on a follower whose leader commits for all the others."""
    server = Server()
    clients, other = [server.session() for _ in range(900)], server.session()
    member = server.member
    written = []
    for client in clients:
        member.begin_turn(member.now_ms, 0)
        client.receive(request(1, op.CLOSE_SESSION))
        written += member.take_writes()
    member.flushed(written[-1].zxid)
    left = [len(member.tree.sessions)]
    while len(member.tree.sessions) > 1:
        other.receive(get(len(left)))
        server.turn()
        assert server.replies(other) == [(len(left), 0)]
        left.append(len(member.tree.sessions))
    assert max(before - after for before, after in zip([901, *left], left, strict=False)) <= TURN_UNITS // 50
    assert [server.replies(client) for client in clients] == [[(1, 0)]] * 900


def test_a_session_with_more_znodes_takes_more_of_a_turn():
    server = Server()
    clients = [with_ephemerals(server, 900, b"%d-" % number) for number in range(20)]
    server.member.begin_turn(0, 0)
    for client in clients:
        client.receive(request(2, op.CLOSE_SESSION))
    assert 0 < len(server.member._waiting) <= 1 + TURN_UNITS // (3 * 900)
    server.run()
    assert [server.replies(client) for client in clients] == [[(2, 0)]] * 20


def test_what_waits_behind_a_large_multi_is_proposed_in_order_in_several_turns():
    server = Server()
    client, reader, writers = server.session(), server.session(), [server.session() for _ in range(5)]
    parts = [(op.CHECK, encode_path_version(b"/", -1)) for _ in range(2000)]
    client.receive(request(1, op.MULTI, encode_multi(parts)))
    for at in range(300):
        for number, writer in enumerate(writers):
            path = b"/%d-%d" % (number, at)
            writer.receive(request(at, op.CREATE, encode_create(path, b"", OPEN, 0)))
    made = []
    while not server.is_idle:
        before = len(server.logged)
        reader.receive(get(1))
        server.turn()
        assert server.replies(reader) == [(1, 0)]
        made.append(len(server.logged) - before)
    assert max(made) < 600
    paths = [entry.txn[5][0] for entry in server.logged if entry.txn[4] == op.CREATE]
    assert paths == [b"/%d-%d" % (number, at) for at in range(300) for number in range(5)]
    for writer in writers:
        assert server.replies(writer) == [(at, 0) for at in range(300)]


def test_large_closings_behind_one_another_keep_their_order():
    server = Server(many_ephemerals=10)
    clients = [with_ephemerals(server, 200, b"%d-" % number) for number in range(3)]
    large = [(op.CHECK, encode_path_version(b"/", -1)) for _ in range(2000)]
    other = server.session()
    other.receive(request(1, op.MULTI, encode_multi(large)))
    for client in clients:
        client.receive(request(2, op.CLOSE_SESSION))
    other.receive(request(2, op.CREATE, encode_create(b"/0-0", b"", OPEN, 0)))
    server.run()
    assert [entry.txn[0] for entry in server.logged[-5:]] == [each.session_id for each in (other, *clients, other)]
    assert [server.replies(client) for client in clients] == [[(2, 0)]] * 3
    assert server.replies(other) == [(1, 0), (2, 0)]
    tree = server.member.tree
    assert tree.digest == recounted(tree) == replayed(server).digest
    assert tree.find(b"/").children.paths() == [b"/zookeeper", b"/0-0"]


def test_a_large_multi_that_is_applied_does_not_stay_in_memory():
    server = Server()
    client = server.session()
    parts = [(op.CHECK, encode_path_version(b"/", -1)) for _ in range(2000)]
    client.receive(request(1, op.MULTI, encode_multi(parts)))
    server.run()
    entry = server.logged.pop()
    assert len(entry.txn[5]) == 2000
    server.member.tick()
    assert sys.getrefcount(entry) == 2  # of this test


def test_containers_are_looked_at_in_slices(monkeypatch):
    monkeypatch.setattr(leading, "_MOST_REMOVED", 10)
    server = Server(container_check_ms=1, container_never_used_ms=1)
    client = server.session()
    for at in range(35):
        client.receive(request(at, op.CREATE_CONTAINER, encode_create(b"/%d" % at, b"", OPEN, 4)))
    server.run()
    server.member.begin_turn(2, 1000)
    server.member.tick()
    assert len(server.member.take_writes()) == 10
    assert server.member.has_work


def test_a_stall_of_the_server_itself_ends_no_session():
    server = Server(tick_ms=100, min_session_timeout_ms=1000)
    server.session(1000)
    member = server.member
    member.begin_turn(900, 0)
    member.begin_turn(5000, 0)
    member.stalled(4000)
    member.tick()
    assert member.stats.sessions_expired == 0
    member.begin_turn(5300, 0)  # its own silence counts on
    member.tick()
    assert member.stats.sessions_expired == 1


def test_a_request_too_short_for_a_path_is_not_long():
    for size in range(8):
        assert not is_long(DataTree(), op.GET_DATA, bytes(size))


def test_the_queue_behind_a_large_multi_ends_however_many_clients_ask_again():
    """Each client has one write under way all the time: at one pace for all turns, some would always wait."""
    server = Server()
    clients = [server.session() for _ in range(400)]
    parts = [(op.CHECK, encode_path_version(b"/", -1)) for _ in range(2000)]
    server.session().receive(request(1, op.MULTI, encode_multi(parts)))
    for turn in range(40):
        for client in clients:
            if turn == 0 or server.replies(client):
                client.receive(request(turn + 1, op.SET_DATA, encode_set_data(b"/", b"x", -1)))
        server.turn()
    assert not server.member.leading.has_work


def test_who_does_not_read_is_not_answered_more_in_its_absence_than_the_shell_says():
    """Others use the turns up, so its requests are begun where there is time. Then it says that it cannot send."""
    server = Server(children=20_000)
    member, slow = server.member, server.session()
    others = [server.session() for _ in range(10)]
    asked = b"".join(request(xid, op.GET_CHILDREN, write_buffer(b"/") + b"\0") for xid in range(1, 200))
    sent = 0
    for turn in range(60):
        member.begin_turn(member.now_ms, 0)
        if member.has_work:
            member.work()
        for other in others:
            if not other.paused:
                other.receive(request(turn + 1, op.GET_CHILDREN, write_buffer(b"/") + b"\0"))
        if turn == 0:
            slow.receive(asked)
            member.unread.add(slow)
        for connection in member.take_touched():
            sent += sum(map(len, connection.out)) if connection is slow and turn else 0
            connection.out.clear()
            if connection is not slow:
                connection.go_on()
    assert sent == 0
    member.unread.discard(slow)
    slow.go_on()
    server.run()
    assert len(server.replies(slow)) > 0
