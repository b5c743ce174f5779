"""The protocols that serve, with a scenario's options and perhaps a planted bug."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recipes.core.raft.options import SERVED, RaftOptions
from recipes.core.raft.peer import RaftPeer
from recipes.core.raft.protocol import RAFT
from recipes.core.replication import Recovered, Replica, ReplicaSettings, ReplicationProtocol
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, stored_epoch
from recipes.core.zab.peer import RecoveredState, ZabPeer
from recipes.core.zab.protocol import ZAB
from recipes.lab.served.zab_parts import ReorderedPeer

OPTIONS = ("pre_vote", "check_quorum", "back_off_by_term")
_ZAB_AS_SERVED: Mapping[str, Any] = {"votes": "answered", "reordered": []}


def served(name: str, settings: Mapping[str, Any], replaced: Mapping[type[Any], type[Any]]) -> ReplicationProtocol:
    """The protocol. replaced: classes with a planted bug, by the right ones."""
    return _raft(raft_options(settings), replaced) if name == "raft" else _zab(settings, replaced)


def raft_options(settings: Mapping[str, Any]) -> RaftOptions:
    """The options of raft that a scenario sets; all others are as served, except that nobody is on guard against lies:
    the papers, whose steps are shown, store a term as soon as it is heard."""
    return replace(SERVED, guards_terms=False, **{each: settings[each] for each in OPTIONS if each in settings})


def mode_of(name: str, settings: Mapping[str, Any]) -> str:
    """ "served", or what differs from how it is served."""
    if name == "raft":
        changed = [each for each in OPTIONS if settings.get(each, True) is not True]
    else:
        changed = [each for each, usual in _ZAB_AS_SERVED.items() if settings.get(each, usual) != usual]
    return "served, but for " + ", ".join(changed) if changed else "served"


def _raft(options: RaftOptions, replaced: Mapping[type[Any], type[Any]]) -> ReplicationProtocol:
    peer = replaced.get(RaftPeer, RaftPeer)

    def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
        made: Replica = peer(settings, found, options, now_ms)
        return made

    return RAFT._replace(start=start)


def _zab(options: Mapping[str, Any], replaced: Mapping[type[Any], type[Any]]) -> ReplicationProtocol:
    def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
        accepted, current = (stored_epoch(found.cells, name) or 0 for name in (ACCEPTED_EPOCH, CURRENT_EPOCH))
        state = RecoveredState(accepted, current, found.base_zxid, found.history, bool(found.unsure), found.may_cut)
        reordered = settings.membership.servers[settings.sid].host in options.get("reordered", ())
        peer: type[ZabPeer] = replaced.get(ZabPeer, ReorderedPeer if reordered else ZabPeer)
        made = peer(settings, state, now_ms)
        if options.get("votes") == "silent":
            made.vote_silently()
        return made

    return ZAB._replace(start=start)
