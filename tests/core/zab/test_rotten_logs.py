"""Members whose log ends in a record that looks rotten: they vote only where no quorum would be left without them."""

from dataclasses import replace

import pytest

from recipes.core.replication import InstallSnapshot, Truncate
from recipes.core.zab.peer import RecoveredState
from tests.core.zab.conftest import TICK_MS, Rig, boot_of

E1 = 1 << 32
SOUND = boot_of(E1 + 1, E1 + 2, current=1)
ROTTEN = replace(boot_of(E1 + 1, current=1), unsure=True, may_cut=True)
UNSURE = RecoveredState(1, 1, unsure=True)


def started(*boots, down=()):
    rig = Rig(voters=len(boots), boots=dict(enumerate(boots, 1)))
    rig.down |= set(down)
    for _ in range(30):
        if all(node.peer.serving for sid, node in rig.nodes.items() if sid not in down):
            break
        rig.advance(TICK_MS)
    return rig


def cuts(rig):
    return [sid for sid, node in rig.nodes.items() if any(isinstance(done, Truncate) for done in node.done)]


@pytest.mark.parametrize("rotten", [1, 2, 3])
def test_f10_one_joins_without_a_vote_where_the_others_are_a_quorum(rotten):
    rig = started(*(ROTTEN if sid == rotten else SOUND for sid in (1, 2, 3)))
    assert all(node.peer.serving for node in rig.nodes.values()) and rig[rotten].peer.leader is None
    assert cuts(rig) == []
    assert any(isinstance(done, InstallSnapshot) for done in rig[rotten].done)
    assert rig[rotten].peer.history.last_zxid == E1 + 2


@pytest.mark.parametrize(
    ("boots", "cut"),
    [((ROTTEN, ROTTEN, SOUND), [1, 2]), ((ROTTEN, ROTTEN, ROTTEN), [1, 2, 3]), ((SOUND, ROTTEN, UNSURE), [2])],
)
def test_f10_without_a_quorum_of_others_it_counts_as_torn(boots, cut):
    rig = started(*boots)
    assert all(node.peer.serving for node in rig.nodes.values())
    assert cuts(rig) == cut
    for sid in cut:
        assert any(note.startswith(f"the log is cut behind 0x{E1 + 1:x}, ") for note in rig[sid].notes)
    last_zxid = E1 + 2 if SOUND in boots else E1 + 1
    assert {node.peer.history.last_zxid for node in rig.nodes.values()} == {last_zxid}


def test_f10_a_server_that_is_down_may_be_sound_and_is_waited_for():
    rig = started(ROTTEN, SOUND, SOUND, down=[3])
    assert not any(node.peer.serving for node in rig.nodes.values()) and cuts(rig) == []
    rig.down.clear()
    rig.advance(20 * TICK_MS)
    assert all(node.peer.serving for node in rig.nodes.values()) and cuts(rig) == []


def test_f10_the_only_voter_goes_on():
    rig = started(ROTTEN)
    assert rig[1].peer.serving and cuts(rig) == [1]


def test_f10_logs_that_are_damaged_elsewhere_stay_without_a_vote():
    rig = started(UNSURE, UNSURE, SOUND)
    assert not any(node.peer.serving for node in rig.nodes.values())
