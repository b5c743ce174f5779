import pytest

from recipes.core.errors import WireError
from recipes.core.jute.frames import frame
from recipes.core.jute.quorum import FOLLOWERINFO, encode_learner_info, encode_packet
from recipes.core.jute.txns import blank_txn
from recipes.core.jute.votes import LOOKING, OTHER_PROTOCOL, Notification, decode_notification, encode_notification
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind, ensemble_id, from_notification, to_notification
from recipes.core.replication import Entry

ENTRIES = [Entry(zxid, blank_txn(zxid)) for zxid in (1 << 32 | 1, 1 << 32 | 2)]
SENT = {
    "HELLO": (RAFT_MESSAGES.encode_hello(77, 3, 5, -1), w.Hello(1, 77, 3, 5, -1)),
    "REFUSED": (w.encode_refused("no"), w.Refused("no")),
    "APPEND": (w.encode_append(5, 1, 2, 3, ()), w.Append(5, 1, 2, 3, [])),
    "APPENDED": (w.encode_appended(5, 4, 3, 2, [(9, 4000)]), w.Appended(5, 4, 3, 2, [(9, 4000)])),
    "CONFLICT": (w.encode_conflict(5, 4, 3), w.Conflict(5, 4, 3)),
    "SNAPSHOT": (w.encode_snapshot(5, 4), w.Snapshot(5, 4)),
    "FORWARD": (
        w.encode_forward(9, 4, 5, b"body", ((b"ip", b"h"), (b"world", b""))),
        w.Forward(9, 4, 5, b"body", ((b"ip", b"h"), (b"world", b""))),
    ),
    "SYNCED": (w.encode_synced(), w.SyncAnswered()),
    "REVALIDATE": (w.encode_revalidate(9, 4000), w.AskSession(9, 4000)),
    "REVALIDATED": (w.encode_revalidated(9, True), w.SessionAnswer(9, True)),
}
HELLO = SENT["HELLO"][0]


def reader():
    return w.MessageReader(RAFT_MESSAGES, 1 << 20)


@pytest.mark.parametrize("name", SENT)
def test_each_message_comes_back_cut_anywhere(name):
    data, message = SENT[name]
    stream = HELLO + data
    for at in range(len(stream)):
        it = reader()
        assert [*it.feed(stream[:at]), *it.feed(stream[at:])] == [SENT["HELLO"][1], message]


@pytest.mark.parametrize("name", SENT)
def test_a_message_that_is_cut_short_is_refused(name):
    payload = SENT[name][0][4:]
    for at in range(len(payload)):
        try:
            RAFT_MESSAGES.decode(payload[:at])
        except WireError:
            continue


def test_entries_keep_their_bytes():
    found = RAFT_MESSAGES.decode(w.encode_append(5, 1, 2, 3, ENTRIES)[4:])
    assert [(entry.zxid, entry.payload) for entry in found.entries] == [(each.zxid, each.payload) for each in ENTRIES]


def test_a_tree_comes_in_parts_that_fit_and_says_what_it_shows():
    big = b"x" * (2 * w.BATCH_BYTES + 1)
    it = reader()
    it.feed(HELLO)
    messages = [message for item in w.encode_parts(iter([b"a", big]), lambda: 7) for message in it.feed(item)]
    assert b"".join(message.data for message in messages[:-1]) == b"a" + big
    assert messages[-1] == w.End(7)
    assert max(len(message.data) for message in messages[:-1]) == w.BATCH_BYTES


@pytest.mark.parametrize(
    "data",
    [
        encode_packet(FOLLOWERINFO, 0, encode_learner_info(1)),  # as ZAB's and Apache's followers begin
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b"\x01recipes/zab." + bytes(40)),
        frame(b"\x03" + bytes(40)),
    ],
)
def test_other_protocols_are_recognised_by_their_first_bytes(data):
    with pytest.raises(WireError, match="does not speak raft"):
        reader().feed(data)


# The election port.

SERVERS = [QuorumServer(sid, "h", 1, 2, sid == 4) for sid in (1, 2, 3, 4)]
ENSEMBLE = ensemble_id(Membership(SERVERS))


@pytest.mark.parametrize("kind", Kind)
def test_a_ballot_comes_back(kind):
    note = to_notification(Ballot(kind, 5, 4), ENSEMBLE, b"config")
    assert from_notification(decode_notification(encode_notification(note)[4:]), ENSEMBLE, "raft") == Ballot(kind, 5, 4)


def test_what_is_no_ballot_of_this_ensemble_is_named():
    note = to_notification(Ballot(Kind.ASK, 5, 4), ENSEMBLE, b"")
    assert "runs another protocol, zab" in from_notification(Notification(LOOKING, 1, 0, 1, 0, b""), ENSEMBLE, "raft")
    assert "another list of servers" in from_notification(note, ENSEMBLE + 1, "raft")
    assert "version 2" in from_notification(note._replace(leader=note.leader + 256), ENSEMBLE, "raft")
    assert "does not have" in from_notification(note._replace(leader=256 + 99), ENSEMBLE, "raft")
    assert note.state == OTHER_PROTOCOL


def test_an_ensembles_number_is_of_who_is_in_it_and_who_votes():
    elsewhere = [server._replace(host="other", quorum_port=7) for server in SERVERS]
    assert ensemble_id(Membership(elsewhere)) == ENSEMBLE
    assert ensemble_id(Membership(SERVERS[:3])) != ENSEMBLE
    assert ensemble_id(Membership([server._replace(observer=False) for server in SERVERS])) != ENSEMBLE
