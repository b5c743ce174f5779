"""Raft as one of the protocols that a server can run."""

from typing import Final

from recipes.core.raft.options import SERVED
from recipes.core.raft.peer import RaftPeer
from recipes.core.raft.terms import FIRST_VALUES, settle_terms
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replication import Recovered, ReplicaSettings, ReplicationProtocol


def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> RaftPeer:
    """The Replica of a member that has recovered its disk."""
    return RaftPeer(settings, found, SERVED, now_ms)


RAFT: Final = ReplicationProtocol(
    name=RAFT_MESSAGES.protocol,
    cells=FIRST_VALUES,
    settle=settle_terms,
    logged_counts=False,
    start=start,
)
