"""What there is to see of a server, for people, scripts and figures; checks look at disks and messages."""

from collections.abc import Callable
from typing import Any

from recipes.core.raft.peer import RaftPeer
from recipes.core.sim.node import Node
from recipes.core.zab.peer import ZabPeer
from recipes.lab.served.text import zxid_text

_NO_VOTE = -1


def describe(node: Node, name_of: Callable[[int], str]) -> dict[str, Any]:
    """Role, epoch or term as `number`, the ends of the log, and what belongs to the protocol."""
    peer: Any = node.peer
    status = peer.status()
    tree = node.member.tree
    shown: dict[str, Any] = {
        "role": peer.role,
        "last": zxid_text(status.last_zxid),
        "durable": zxid_text(peer.flushed_zxid),
        "applied": zxid_text(tree.last_zxid),
        "digest": f"{tree.digest:x}",
    }
    if status.leader is not None:
        shown["leader"] = name_of(status.leader)
    if isinstance(peer, RaftPeer):
        shown |= {"number": peer.term, "committed": zxid_text(peer.committed_zxid), "stage": _raft_stage(peer)}
        if peer.vote.candidate > 0:
            shown["vote"] = [peer.vote.term, name_of(peer.vote.candidate)]
    elif isinstance(peer, ZabPeer):
        stage = peer.leader.stage.name if peer.leader else peer.learner.stage.name if peer.learner else "ELECTION"
        shown |= {"number": peer.epoch, "accepted": peer.accepted_epoch, "current": peer.current_epoch, "stage": stage}
        if peer.serving:
            shown["committed"] = zxid_text(peer.committed_zxid)
    if peer.role == "looking":
        shown["why"] = peer.why_looking
    if status.learners:
        shown["followers"] = [name_of(each.sid) for each in status.learners]
    return shown


def _raft_stage(peer: RaftPeer) -> str:
    if peer.leader is not None:
        return "LEADING"
    return peer.follower.stage.name if peer.follower is not None else "ELECTION"
