"""Raft in the laboratory."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from recipes.core.agree.machine import Message
from recipes.core.jute.txns import Txn
from recipes.core.jute.votes import Notification
from recipes.core.raft.options import SERVED
from recipes.core.raft.peer import RaftPeer
from recipes.core.raft.protocol import RAFT
from recipes.core.raft.terms import NOBODY, Vote, vote_cell
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Kind, from_notification
from recipes.core.replicas.terms import term_cell
from recipes.core.replication import Cell, Recovered, Replica, ReplicaSettings, ReplicationProtocol
from recipes.lab.served.protocol import MOST_BYTES, Replaced, ServedProtocol, Settings
from recipes.lab.served.text import entry_text, operation_name, txn_text, zxid_text

_OPTIONS = ("pre_vote", "check_quorum", "back_off_by_term")


def _make(settings: Settings, replaced: Replaced) -> ReplicationProtocol:
    """Nobody is on guard against lies: the papers, whose steps are shown, store a term as soon as it is heard."""
    options = replace(SERVED, guards_terms=False, **{each: settings[each] for each in _OPTIONS if each in settings})
    peer = replaced.get(RaftPeer, RaftPeer)

    def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
        made: Replica = peer(settings, found, options, now_ms)
        return made

    return RAFT._replace(start=start)


class RaftTalk:
    """Raft's messages. What a leader had before the follower came is sent to it as backfill."""

    def __init__(self, text: Callable[[Txn], str] = txn_text) -> None:
        self._reader = w.MessageReader(RAFT_MESSAGES, MOST_BYTES)
        self._text = text
        self._had = 0  # where the leader's log ended when the follower introduced itself
        self._commit = -1
        self._durable = -1

    def hear(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete."""
        return [self._named(message) for message in self._reader.feed(data)]

    def _named(self, message: w.Message) -> Message:
        real = RAFT_MESSAGES.name_of(type(message))
        if isinstance(message, w.Hello):
            self._had = message.last_zxid
            return Message("ask", real, {"term": message.term, "last": zxid_text(message.last_zxid)})
        if isinstance(message, w.Append):
            return self._append(message, real)
        if isinstance(message, w.Appended):
            news, self._durable = message.durable_zxid > self._durable, message.durable_zxid
            fields = {"term": message.term, "zxid": zxid_text(message.durable_zxid)}
            fields |= {"matched": zxid_text(message.matched_zxid), "round": message.round}
            return Message("ack" if news else "heartbeat-reply", real, fields)
        if isinstance(message, w.Conflict):
            fields = {"term": message.term, "prev": zxid_text(message.prev_zxid), "hint": zxid_text(message.hint_zxid)}
            return Message("ack", real, fields)
        if isinstance(message, w.Snapshot):
            return Message("snapshot", real, {"term": message.term, "zxid": zxid_text(message.zxid)})
        if isinstance(message, w.Part):
            return Message("snapshot", real, {"bytes": len(message.data)})
        if isinstance(message, w.End):
            return Message("snapshot", real, {"shown": zxid_text(message.shown_zxid)})
        if isinstance(message, w.Forward):
            return Message("forward", real, {"op": operation_name(message.op)})
        roles = {w.SyncAnswered: "forward-reply", w.SessionAnswer: "ask-reply", w.AskSession: "ask"}
        return Message(roles.get(type(message), "ask-reply"), real, {})

    def _append(self, message: w.Append, real: str) -> Message:
        fields: dict[str, Any] = {
            "term": message.term, "prev": zxid_text(message.prev_zxid), "commit": zxid_text(message.commit_zxid),
            "round": message.round,
        }  # fmt: skip
        known, self._commit = self._commit, max(self._commit, message.commit_zxid)
        if message.entries:
            fields["entries"] = [[zxid_text(entry.zxid), entry_text(entry, self._text)] for entry in message.entries]
            role = "backfill" if message.entries[-1].zxid <= self._had else "replicate"
        elif known < 0:
            role = "backfill"  # a guess of an entry that both logs have
        else:
            role = "commit-notice" if message.commit_zxid > known else "heartbeat"
        return Message(role, real, fields)


_BALLOT_ROLES = {
    Kind.ASK_EARLY: "vote", Kind.ASK: "vote", Kind.GRANT_EARLY: "vote-reply", Kind.GRANT: "vote-reply",
    Kind.REFUSE: "vote-reply", Kind.LEADS: "heartbeat",
}  # fmt: skip


def _notification(note: Notification) -> Message:
    ballot = from_notification(note, note.peer_epoch, RAFT.name)
    if isinstance(ballot, str):
        return Message("vote", "BALLOT", {})
    fields: dict[str, Any] = {"term": ballot.term}
    if ballot.kind in (Kind.ASK, Kind.ASK_EARLY):
        fields["last"] = zxid_text(ballot.zxid)
    return Message(_BALLOT_ROLES[ballot.kind], ballot.kind.name, fields)


def _cells(term: int, accepted: int) -> list[Cell]:
    return [term_cell(accepted), vote_cell(Vote(accepted, NOBODY))]


def _show(peer: RaftPeer, name_of: Callable[[int], str]) -> dict[str, Any]:
    follower = peer.follower
    stage = "LEADING" if peer.leader is not None else follower.stage.name if follower is not None else "ELECTION"
    shown = {"number": peer.term, "committed": zxid_text(peer.committed_zxid), "stage": stage}
    vote = peer.vote
    return shown | ({"vote": [vote.term, name_of(vote.candidate)]} if vote.candidate > 0 else {})


SERVED_RAFT = ServedProtocol(
    RAFT.name, _make, {each: getattr(SERVED, each) for each in _OPTIONS}, RaftTalk, _notification, _cells, _show
)
