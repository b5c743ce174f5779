"""ZAB as one of the protocols that a server can run."""

from typing import Final

from recipes.core.replication import Recovered, ReplicaSettings, ReplicationProtocol
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, settle_epochs, stored_epoch
from recipes.core.zab.peer import RecoveredState, ZabPeer


def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> ZabPeer:
    """The Replica of a member that has recovered its disk."""
    return ZabPeer(settings, recovered_state(found), now_ms)


def recovered_state(found: Recovered) -> RecoveredState:
    """What a peer begins with."""
    return RecoveredState(
        stored_epoch(found.cells, ACCEPTED_EPOCH) or 0,
        stored_epoch(found.cells, CURRENT_EPOCH) or 0,
        found.base_zxid,
        found.history,
        bool(found.unsure),
        found.may_cut,
    )


ZAB: Final = ReplicationProtocol(
    name="zab",
    cells=dict.fromkeys((ACCEPTED_EPOCH, CURRENT_EPOCH), (b"0", b"-1")),  # -1: see stored_epoch
    settle=settle_epochs,
    logged_counts=True,
    start=start,
)
