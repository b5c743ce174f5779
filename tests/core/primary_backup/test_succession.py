"""When the fixed primary begins."""

from recipes.core.primary_backup.peer import PrimaryBackupPeer
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.replication import Cell, Recovered, ReplicaSettings, Truncate

LAST = (2 << 32) + 5
TICK_MS = 100


def test_a_primary_that_cuts_the_end_of_its_log_begins_once_that_is_done():
    settings = ReplicaSettings(1, Membership([QuorumServer(sid, "h", 1, 2) for sid in (1, 2, 3)]), TICK_MS)
    found = Recovered(0, LAST, 0, (), base_zxid=LAST, applied_zxid=LAST, unsure="a record is damaged", may_cut=True)
    peer = PrimaryBackupPeer(settings, found, 0)
    (cut,) = peer.take_ready().writes
    assert cut == Truncate(LAST)
    for now_ms in range(0, 50 * TICK_MS, TICK_MS):  # the disk takes its time
        peer.begin_turn(now_ms)
        peer.tick()
    assert peer.leader is None
    peer.written(cut, LAST)
    peer.begin_turn(50 * TICK_MS)
    peer.tick()
    assert peer.leader is not None
    assert [type(write) for write in peer.take_ready().writes][:1] == [Cell]
