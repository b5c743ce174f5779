"""How many learners a leader brings to its history at once: a voter always, an observer if there is room."""

from dataclasses import replace

import pytest

from recipes.core.jute import quorum as q
from tests.core.zab.conftest import TICK_MS, boot_of

E1 = 1 << 32
LOG = (E1 + 5, E1 + 6)  # what is before it, the leader does not have any more


def ensemble(rig_of, limits, boots=None):
    """Server 3 leads 1 and 2; the observers 4, 5 and 6 are told to come."""
    rig = rig_of(observers=3, boots={sid: boot_of(*LOG, current=1) for sid in (1, 2, 3)} | (boots or {}))
    rig[3].peer.settings = replace(rig[3].peer.settings, **limits)
    rig.elect(3, 1, 2, 3)
    rig.run()
    assert rig[3].peer.serving
    return rig


def begin(rig, sid, kind):
    """Server `sid` is sent its history, and acknowledges nothing until it is no longer muted."""
    rig.elect(3, sid)
    rig.until_sent(3, sid, kind)
    rig[sid].muted = True
    rig.run()


def kinds(rig, sid):
    return [packet.type for to, packet in rig[3].sent if to == sid and packet.type in (q.SNAP, q.DIFF)]


@pytest.mark.parametrize(
    ("limits", "boots", "kind", "said"),
    [
        ({"most_snaps": 1}, {}, q.SNAP, "1 learners are being sent the whole tree, all that maxConcurrentSnapSyncs"),
        (
            {"most_diffs": 1},
            {sid: boot_of(*LOG, current=1) for sid in (4, 5, 6)},
            q.DIFF,
            "1 learners are being sent what they lack, all that maxConcurrentDiffSyncs",
        ),
    ],
    ids=["SNAP", "DIFF"],
)
def test_an_observer_beyond_the_limit_is_told_why_and_comes_again(rig_of, limits, boots, kind, said):
    rig = ensemble(rig_of, limits, boots)
    begin(rig, 4, kind)
    rig.elect(3, 5)
    rig.run()
    assert kinds(rig, 4) == [kind] and kinds(rig, 5) == []
    assert rig[5].peer.why_looking.startswith(f"the leader 3 has hung up: {said}")
    notes = [*rig[3].notes, *rig[3].peer.take_outbox().notes]
    assert any(note.startswith(f"the connection to server 5 is closed: {said}") for note in notes)
    assert rig[3].peer.serving and not rig[5].peer.serving

    rig.elect(3, 5)  # a second time in a row: from now on it pauses before it looks for a leader again
    rig.run()
    looked = len(rig[5].peer._election.looked)
    rig.elect(3, 5)
    assert rig[5].peer._look_at_ms is not None and len(rig[5].peer._election.looked) == looked

    rig[4].muted = False
    rig.run()
    assert rig[4].peer.serving
    rig.advance(TICK_MS)
    rig.elect(3, 5, 6)  # once the first one has come, there is room for the next
    rig.run()
    rig.advance(TICK_MS)
    rig.elect(3, 6)
    rig.run()
    assert rig[5].peer.serving and rig[6].peer.serving


def test_a_place_is_free_again_when_a_learner_is_gone(rig_of):
    rig = ensemble(rig_of, {"most_snaps": 1})
    begin(rig, 4, q.SNAP)
    rig.kill(4)
    rig.elect(3, 5)
    rig.run()
    assert kinds(rig, 5) == [q.SNAP] and rig[5].peer.serving


def test_a_voter_counts_and_is_never_refused(rig_of):
    rig = rig_of(observers=1, boots={sid: boot_of(*LOG, current=1) for sid in (1, 3)})
    rig[3].peer.settings = replace(rig[3].peer.settings, most_snaps=1)
    rig.elect(3, 1, 3)
    rig.run()
    begin(rig, 2, q.SNAP)
    rig.elect(3, 4)
    rig.run()
    assert kinds(rig, 2) == [q.SNAP] and kinds(rig, 4) == []
    rig[2].muted = False
    rig.run()
    assert rig[2].peer.serving
    rig.elect(3, 4)
    rig.run()
    assert rig[4].peer.serving


def test_two_voters_get_the_tree_at_once_whatever_the_limit(rig_of):
    rig = rig_of(voters=5, boots={sid: boot_of(*LOG, current=1) for sid in (1, 2, 3)})
    rig[3].peer.settings = replace(rig[3].peer.settings, most_snaps=1)
    rig.elect(3, 1, 2, 3)
    rig.run()
    for sid in (4, 5):
        begin(rig, sid, q.SNAP)
    assert kinds(rig, 4) == kinds(rig, 5) == [q.SNAP]
