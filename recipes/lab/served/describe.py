"""What there is to see of a server, for people, scripts and figures; checks look at disks and messages."""

from collections.abc import Callable
from typing import Any

from recipes.core.sim.node import Node
from recipes.core.tree.tree import DataTree
from recipes.lab.served.protocol import ServedProtocol
from recipes.lab.served.text import zxid_text

# What a server does by itself when nothing comes before, by its role; while it has none, the election goes on.
_ACTS = {"leader": "heartbeat", "follower": "gives up", "observer": "gives up"}


def timers(node: Node) -> dict[str, int]:
    """When a server acts by itself if nothing comes before, on its own clock in ms."""
    deadline_ms = node.peer.deadline_ms
    return {} if deadline_ms is None else {_ACTS.get(node.peer.role, "election"): deadline_ms}


def describe(peer: Any, tree: DataTree, protocol: ServedProtocol, name_of: Callable[[int], str]) -> dict[str, Any]:
    """Role, epoch or term as `number`, the ends of the log, and what belongs to the protocol."""
    status = peer.status()
    shown: dict[str, Any] = {
        "role": peer.role,
        "last": zxid_text(status.last_zxid),
        "durable": zxid_text(peer.flushed_zxid),
        "applied": zxid_text(tree.last_zxid),
        "digest": f"{tree.digest:x}",
    }
    if status.leader is not None:
        shown["leader"] = name_of(status.leader)
    shown |= protocol.show(peer, name_of)
    if peer.role == "looking":
        shown["why"] = peer.why_looking
    if status.learners:
        shown["followers"] = [name_of(each.sid) for each in status.learners]
    return shown
