"""Whatever epochs are stored, a quorum comes together, and then the others join."""

from itertools import product

import pytest

from recipes.core.zab.progress import MOST_PROMISED
from tests.core.zab.conftest import TICK_MS, Rig, boot_of

E1 = 1 << 32
# (accepted, current) of a server; the servers have the same log. A run of ours leaves a few failed elections between
# them. The others are such as strangers could bring about in earlier versions.
STORED = [(1, 1), (2, 2), (3, 2), (6, 1), (33554528, 1), (50332183, 2), (MOST_PROMISED - 99, 1)]
FEW = [(1, 1), (2, 1), (3, 2), (33554528, 1), (50332183, 2)]


def comes_together(stored, up):
    """Those of the servers that are up start with these epochs, and two of them, or all, serve in the end."""
    boots = {sid: boot_of(E1 + 1, current=current, accepted=accepted) for sid, (accepted, current) in stored.items()}
    rig = Rig(boots=boots)
    rig.down |= set(stored) - set(up)
    for _ in range(60):
        serving = [sid for sid in up if rig[sid].peer.serving]
        if len(serving) == len(up):
            break
        rig.advance(TICK_MS)
    promised = {sid: stored[sid][0] for sid in up}
    epoch = max(rig[sid].peer.epoch for sid in serving)
    assert {rig[sid].peer.epoch for sid in serving} == {epoch} and max(stored[sid][1] for sid in up) < epoch
    # A third server stays out only where its promise is too far ahead to be believed.
    assert all(promised[sid] > epoch + (1 << 16) for sid in up if sid not in serving), (stored, up, serving)
    assert len(serving) >= 2 and epoch <= max(promised[sid] for sid in serving) + 3, (stored, up, epoch)
    return rig


@pytest.mark.parametrize("up", [(1, 2), (1, 3), (2, 3)])
def test_f1_any_two_servers_come_together_from_any_stored_epochs(up):
    for pair in product(FEW, repeat=2):
        stored = dict(zip(up, pair, strict=True))
        comes_together({1: (1, 1), 2: (1, 1), 3: (1, 1)} | stored, up)


@pytest.mark.thorough  # the same with more epochs and all three servers: 343 combinations
@pytest.mark.parametrize("first", STORED)
def test_f1_all_three_servers_come_together_from_any_stored_epochs(first):
    for others in product(STORED, repeat=2):
        rig = comes_together(dict(enumerate((first, *others), 1)), (1, 2, 3))
        ended = sum(node.changes.count(False) for node in rig.nodes.values() if node.peer.role == "leader")
        assert ended <= 1


@pytest.mark.soak
@pytest.mark.parametrize("up", [(1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_f1_every_quorum_comes_together_from_more_epochs(up):
    every = [(accepted, current) for accepted in range(1, 7) for current in range(1, accepted + 1) if current <= 3]
    for chosen in product([*every, *STORED], repeat=3):
        comes_together(dict(enumerate(chosen, 1)), up)
