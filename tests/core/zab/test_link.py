"""A link that is closed for what came over it says why: for the log here, since the other end cannot be told."""

import pytest

from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from tests.core.zab.conftest import TICK_MS, boot_of, entry_of
from tests.core.zab.test_learner import learning

E1 = 1 << 32


def noted(node):
    return [*node.notes, *node.peer.take_outbox().notes]


def strangers_link(rig_of):
    rig = rig_of()
    rig.elect(3, 2, 3)
    rig.run()
    rig[3].notes.clear()
    return rig, rig[3].peer.accept()


GARBAGE = {
    "no packet": (b"\x7f" * 40, "2139062143: expected 0 to 2097150"),
    "a tree": (q.encode_packet(q.SNAP, E1), "a SNAP from a server that does not lead"),
    "no introduction": (
        q.encode_packet(q.ACK, E1),
        "ACK in the stage CONNECTED: expected FOLLOWERINFO, OBSERVERINFO",
    ),
    "a server of another ensemble": (
        q.encode_packet(q.FOLLOWERINFO, 0, q.encode_learner_info(9)),
        "server 9 is not one of the others in this ensemble",
    ),
    "an epoch too far": (
        q.encode_packet(q.FOLLOWERINFO, (1 << 30) + 1 << 32, q.encode_learner_info(1)),
        "server 1 says it has promised epoch 1073741825: expected 0 to 1073741824",
    ),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_review_5_what_a_stranger_sends_to_a_leader_is_named_in_its_log(rig_of, what):
    data, why = GARBAGE[what]
    rig, link = strangers_link(rig_of)
    link.receive(data)
    assert link.wants_close and why in link.why_closed
    assert noted(rig[3]) == [f"the connection to an unknown server is closed: {link.why_closed}"]


def test_review_5_a_later_history_is_named_in_the_log_of_the_leader_that_refuses_it(rig_of):
    rig = rig_of(boots={1: boot_of(E1 + 9, current=1), 3: boot_of(E1 + 8, current=1)})
    rig.elect(3, 1, 3)
    rig.run()
    why = "its history ends at 0x100000009 in epoch 1, and so is later than that of this leader, 0x100000008 in epoch 1"
    assert f"the connection to server 1 is closed: {why}" in noted(rig[3])


def test_review_5_a_learner_says_why_it_left_its_leader(rig_of):
    it = learning(rig_of)
    it.hears(q.encode_packet(q.DIFF, E1))
    why = "DIFF in the stage GREETING: expected LEADERINFO, PING"
    assert f"the connection to server 3 is closed: {why}" in noted(it.node)
    it = learning(rig_of)
    it.hears(q.encode_packet(q.LEADERINFO, 2 << 32, q.encode_leader_info()), q.encode_packet(q.COMMIT, E1))
    why = "COMMIT in the stage AGREED: expected DIFF, TRUNC, SNAP, PING"
    assert it.peer.why_looking == f"the leader 3 broke the protocol: {why}"


def test_review_5_a_leader_says_whom_it_dropped_for_silence(rig_of):
    rig, link = strangers_link(rig_of)
    rig.by_hand(3, link)
    rig.advance(7 * TICK_MS)
    assert noted(rig[3]) == ["the connection to an unknown server is closed: it was silent for 500 ms"]


def test_an_end_that_needs_no_reason_is_not_noted(rig_of):
    rig, link = strangers_link(rig_of)
    link.close()
    assert link.wants_close and noted(rig[3]) == []


def test_packets_print_by_name():
    assert repr(Packet(q.PROPOSAL, E1 + 1, b"txn")) == "<PROPOSAL 0x100000001, 3 bytes>"
    assert repr(Packet(q.UPTODATE, -1)) == "<UPTODATE 0xffffffffffffffff, no bytes>"
    assert repr(Packet(99, 0)) == "<a packet of type 99 0x0, no bytes>"


def farewell_of(link):
    (packet,) = q.PacketReader(1 << 20).feed(link.farewell)
    assert packet.type == q.FAREWELL
    return q.decode_farewell(packet.data)


def following(rig_of):
    """Server 1 follows server 3, which is the test, up to DIFF."""
    it = learning(rig_of)
    it.hears(q.encode_packet(q.LEADERINFO, 2 << 32, q.encode_leader_info()), q.encode_packet(q.DIFF, E1 + 1))
    return it


def test_interop_1_a_follower_that_leaves_tells_its_leader_why(rig_of):
    it = following(rig_of)
    bad = entry_of(E1 + 2).payload[:-20]
    it.hears(q.encode_packet(q.PROPOSAL, E1 + 2, bad))
    why = it.link.why_closed
    assert why.startswith(f"PROPOSAL 0x{E1 + 2:x}: ") and farewell_of(it.link) == why
    assert f"the connection to server 3 is closed: {why}" in noted(it.node)
    assert it.peer.why_looking == f"the leader 3 broke the protocol: {why}"
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[3].peer.leader._by_sid[1].link.receive(q.encode_farewell(why))
    assert f"the connection to server 1 is closed: it leaves: {why}" in noted(rig[3])


def test_interop_1_a_follower_that_looks_for_another_leader_says_why(rig_of):
    it = following(rig_of)
    it.peer.no_space(True)
    assert farewell_of(it.link) == "there is no space on the disk"


def test_interop_1_a_leader_that_ends_tells_its_learners_why(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    link = rig[3].peer.leader._by_sid[1].link
    rig[3].peer.look("a reason")
    assert farewell_of(link) == "it leads no more: a reason"
    it = following(rig_of)
    it.link.receive(link.farewell)
    assert it.peer.why_looking == "the leader 3 has hung up: it leads no more: a reason"


def test_interop_1_a_farewell_is_one_harmless_line(rig_of):
    assert q.decode_farewell(b"a\nb\x1b[2J\xff" + b"x" * 1000).startswith("a?b?[2J")
    assert len(q.decode_farewell(b"x" * 1000)) == 500 and q.decode_farewell(None) == ""
    _, link = strangers_link(rig_of)
    link.receive(q.encode_farewell("I am nobody"))
    assert "in the stage CONNECTED: expected FOLLOWERINFO, OBSERVERINFO" in link.why_closed


def test_interop_1_an_apache_server_gets_no_farewell(rig_of):
    it = learning(rig_of)
    it.hears(q.encode_packet(q.LEADERINFO, 2 << 32, (0x10000).to_bytes(4, "big")), q.encode_packet(q.ACK, E1))
    assert it.link.why_closed and it.link.farewell == b""


@pytest.mark.parametrize(("before", "pause_ms"), [(0, None), (2, 100), (50, TICK_MS)])
def test_servers_9_a_learner_that_cannot_take_what_its_leader_sends_comes_back_later_each_time(
    rig_of, before, pause_ms
):
    """Such as a member with a smaller jute.maxbuffer: it was sent the same tree sixteen times a second."""
    it = learning(rig_of)
    it.peer._turned_away = before
    it.hears(q.encode_packet(q.LEADERINFO, 2 << 32, q.encode_leader_info()), b"\x7f" * 40)
    assert "2139062143: expected 0 to" in it.peer.why_looking
    assert it.peer._look_at_ms == (None if pause_ms is None else it.peer.now_ms + pause_ms)


def test_f6_a_member_with_another_members_certificate_is_refused_in_both_logs(rig_of):
    rig, link = strangers_link(rig_of)
    why = "it says that it is server 1, and its certificate is for zk2"
    link.certified(lambda sid: why if sid == 1 else "")
    link.receive(q.encode_packet(q.FOLLOWERINFO, 0, q.encode_learner_info(1)))
    assert link.wants_close and link.why_closed == why
    assert noted(rig[3]) == [f"the connection to an unknown server is closed: {why}"]
    assert q.decode_farewell(next(iter(q.PacketReader(1000).feed(link.farewell))).data) == why
    assert rig[3].peer.serving


def test_f6_a_member_with_its_own_certificate_joins(rig_of):
    _, link = strangers_link(rig_of)
    link.certified(lambda sid: "no" if sid == 2 else "")
    link.receive(q.encode_packet(q.FOLLOWERINFO, 0, q.encode_learner_info(1)))
    assert not link.wants_close and link.sid == 1
