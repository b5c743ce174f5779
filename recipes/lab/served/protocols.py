"""The protocols that serve, with a scenario's options and perhaps a planted bug."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recipes.core.errors import BadArguments
from recipes.core.raft.options import SERVED, RaftOptions
from recipes.core.raft.peer import RaftPeer
from recipes.core.raft.protocol import RAFT
from recipes.core.replication import Recovered, Replica, ReplicaSettings, ReplicationProtocol
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, stored_epoch
from recipes.core.zab.peer import RecoveredState, ZabPeer
from recipes.core.zab.protocol import ZAB

OPTIONS = ("pre_vote", "check_quorum", "back_off_by_term")
SETTINGS = frozenset({
    "tick_ms", "init_limit", "sync_limit", "snap_count", "session_ms", "logs", "stored", "boot", "late", *OPTIONS,
})  # fmt: skip


def served(name: str, settings: Mapping[str, Any], replaced: Mapping[type[Any], type[Any]]) -> ReplicationProtocol:
    """The protocol. replaced: classes with a planted bug, by the right ones. Raises BadArguments for a setting that
    servers do not have."""
    for key in settings:
        if key not in SETTINGS:
            raise BadArguments("", f"settings: {key}: expected one of {', '.join(sorted(SETTINGS))}")
    return _raft(raft_options(settings), replaced) if name == "raft" else _zab(replaced)


def raft_options(settings: Mapping[str, Any]) -> RaftOptions:
    """The options of raft that a scenario sets; all others are as served, except that nobody is on guard against lies:
    the papers, whose steps are shown, store a term as soon as it is heard."""
    return replace(SERVED, guards_terms=False, **{each: settings[each] for each in OPTIONS if each in settings})


def mode_of(name: str, settings: Mapping[str, Any]) -> str:
    """ "served", or what differs from how it is served."""
    if name != "raft" or raft_options(settings) == raft_options({}):
        return "served"
    return "served, but for " + ", ".join(each for each in OPTIONS if settings.get(each, True) is not True)


def _raft(options: RaftOptions, replaced: Mapping[type[Any], type[Any]]) -> ReplicationProtocol:
    peer = replaced.get(RaftPeer, RaftPeer)

    def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
        made: Replica = peer(settings, found, options, now_ms)
        return made

    return RAFT._replace(start=start)


def _zab(replaced: Mapping[type[Any], type[Any]]) -> ReplicationProtocol:
    peer = replaced.get(ZabPeer, ZabPeer)

    def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
        accepted, current = (stored_epoch(found.cells, name) or 0 for name in (ACCEPTED_EPOCH, CURRENT_EPOCH))
        state = RecoveredState(accepted, current, found.base_zxid, found.history, bool(found.unsure), found.may_cut)
        made: Replica = peer(settings, state, now_ms)
        return made

    return ZAB._replace(start=start)
