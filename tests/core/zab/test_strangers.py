"""A stranger at the quorum port says that it is server 1. That is not stored, ends no leadership and takes no place.

What a member does that joins, a stranger can do as well where there is no TLS: then it counts as that member.
"""

import pytest

from recipes.core.jute import quorum as q
from recipes.core.jute.votes import LOOKING
from recipes.core.replication import Cell
from recipes.core.zab.stages import ProgressStage
from tests.core.zab.conftest import TICK_MS

FAR = 1 << 24


def introduction(promised, sid=1, kind=q.FOLLOWERINFO):
    return q.encode_packet(kind, promised << 32, q.encode_learner_info(sid))


def ackepoch(current=0, zxid=0):
    return q.encode_packet(q.ACKEPOCH, zxid, q.encode_epoch(current))


def stranger(rig, *packets):
    """A connection to server 3, which leads or is to lead."""
    link = rig[3].peer.accept()
    rig.by_hand(3, link)
    for data in packets:
        link.receive(data)
    rig.run()
    return link


def stored(rig):
    return {sid: [int(done.value) for done in node.done if isinstance(done, Cell)] for sid, node in rig.nodes.items()}


def led_by_3(rig_of, *learners):
    rig = rig_of()
    rig.elect(3, 3, *learners)
    rig.run()
    assert rig[3].peer.serving
    return rig


@pytest.mark.parametrize("kind", [q.FOLLOWERINFO, q.OBSERVERINFO])
def test_f1_a_promise_that_a_quorum_can_do_without_moves_no_epoch(rig_of, kind):
    rig = rig_of()
    rig.elect(3, 3)
    rig.run()
    link = stranger(rig, introduction(FAR, kind=kind))
    assert stored(rig) == {1: [], 2: [], 3: []}
    rig.elect(3, 2)
    rig.run()
    assert stored(rig) == {1: [], 2: [1, 1], 3: [1, 1]}
    link.receive(ackepoch())  # of epoch 1, which one that has promised more cannot acknowledge
    assert link.wants_close and "acknowledges epoch 1 after it has promised" in link.why_closed


@pytest.mark.parametrize("promised", [1, FAR])
def test_f1_a_promise_that_nobody_proves_is_stored_nowhere(rig_of, promised):
    rig = rig_of()
    rig.elect(3, 3)
    rig.run()
    link = stranger(rig, introduction(promised))
    rig.advance(2 * TICK_MS)
    assert rig[3].peer.leader._learners[link.key].stage is ProgressStage.OFFERED
    rig.elect(3, 2)
    rig.run()
    assert stored(rig) == {1: [], 2: [], 3: []}
    rig.advance(TICK_MS)
    assert link.wants_close and "has not acknowledged epoch" in link.why_closed
    assert stored(rig) == {1: [], 2: [1, 1], 3: [1, 1]}


def test_f1_a_member_that_proves_its_promise_is_believed(rig_of):
    rig = rig_of()
    rig.elect(3, 3)
    rig.run()
    stranger(rig, introduction(FAR), ackepoch())
    assert stored(rig)[3] == []  # others have a tick to make it needless
    rig.advance(2 * TICK_MS)
    assert stored(rig)[3] == []
    link = stranger(rig, introduction(FAR))
    link.receive(ackepoch())
    rig.run()
    assert stored(rig)[3] == [FAR + 1, FAR + 1]


def test_f6_a_live_member_is_not_displaced(rig_of):
    rig = led_by_3(rig_of, 1, 2)
    for promised in (0, 1, 2, 9, FAR):
        link = stranger(rig, introduction(promised), ackepoch(1))
        rig.vote(1, 3, LOOKING, 9)
        rig.advance(TICK_MS)
        assert link.wants_close
        link = stranger(rig, introduction(promised))
        rig.advance(TICK_MS)
        assert link.why_closed == "server 1 has another connection, which is alive"
    assert [node.changes for node in rig.nodes.values()] == [[True]] * 3
    assert stored(rig) == {1: [1, 1], 2: [1, 1], 3: [1, 1]}


def test_f6_a_connection_that_has_replaced_another_one_waits_for_none(rig_of):
    rig = led_by_3(rig_of, 1, 2)
    first, second = stranger(rig, introduction(1)), stranger(rig, introduction(1))
    assert first.why_closed == "it has made a new connection" and not second.wants_close
    rig.cut(1, 3)  # the member's own connection
    rig.run()
    assert rig[3].peer.leader._by_sid[1].link is second


def test_f6_a_member_that_comes_again_waits_a_tick_for_a_connection_that_is_silent(rig_of):
    rig = led_by_3(rig_of, 1, 2)
    silent = rig[3].peer.leader._by_sid[1].link
    rig.by_hand(3, silent)  # it is cut, and nobody can tell
    rig[1].peer.learner._link.lost()
    rig.run()
    rig.elect(3, 1)
    rig.run()
    rig.advance(2 * TICK_MS)
    assert silent.why_closed == f"it was silent for {TICK_MS} ms, and has made a new connection"
    assert rig[1].peer.serving and rig[3].changes == [True]


def test_f6_a_stopped_member_ends_one_leadership_at_most(rig_of):
    rig = led_by_3(rig_of, 2)
    link = stranger(rig, introduction(9), ackepoch())  # it was not heard to look for a leader
    assert link.wants_close and rig[3].peer.serving
    rig.vote(1, 3, LOOKING, 9)
    stranger(rig, introduction(9))
    rig.advance(TICK_MS)
    assert rig[3].peer.serving and stored(rig)[3] == [1, 1]  # it has not acted as a member
    stranger(rig, introduction(9), ackepoch())
    assert not rig[3].peer.serving
    rig.elect(3, 2, 3)
    rig.run()
    assert rig[3].peer.serving and rig[3].peer.epoch == 11
    for promised in (11, 12, 99, FAR):
        rig.vote(1, 3, LOOKING, 9)
        stranger(rig, introduction(promised), ackepoch())
        rig.advance(TICK_MS)
    assert rig[3].changes == [True, False, True]
    assert stored(rig)[3] == [1, 1, 10, 11, 11]


def test_f6_a_promise_too_far_ahead_of_a_leader_is_named_once(rig_of):
    rig = led_by_3(rig_of, 2)
    rig[3].notes.clear()
    for _ in range(3):
        rig.vote(1, 3, LOOKING, 9)
        stranger(rig, introduction(FAR), ackepoch())
    assert rig[3].changes == [True]
    (said,) = [note for note in rig[3].notes if "no leader gives way" in note]
    assert said.startswith(f"a connection says that server 1 has promised epoch {FAR}, more than 65536 above epoch 1:")


def test_f6_sessions_are_not_kept_alive_by_one_that_has_not_joined(rig_of):
    rig = led_by_3(rig_of, 2)
    rig[3].events.clear()
    link = stranger(rig, introduction(0), q.encode_packet(q.PING, 0, q.encode_touches([(7, 1000)])))
    rig.run()
    assert not link.wants_close and rig[3].events == []
