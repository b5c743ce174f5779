"""What a server says over one connection: bytes of the quorum port become messages with a role.

A role says what a message is for, in every protocol; `real` is its own name. One Talk reads one direction.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from recipes.core.agree.machine import Message
from recipes.core.jute import quorum as q
from recipes.core.jute import votes as v
from recipes.core.jute.txns import decode_txn
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Kind, from_notification
from recipes.lab.served.text import entry_text, operation_name, txn_text, zxid_text

_MOST_BYTES = 1 << 24


class Talk(Protocol):
    """Reads what one server sends over one connection."""

    def hear(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete."""
        ...


class ZabTalk:
    """ZAB's packets. Until NEWLEADER has gone by, proposals and commits bring the learner to the leader's history."""

    _ROLES: Mapping[int, str] = {
        q.REQUEST: "forward", q.ACK: "ack", q.COMMIT: "commit-notice", q.INFORM: "commit-notice",
        q.SYNC: "forward-reply",
        q.FOLLOWERINFO: "ask", q.OBSERVERINFO: "ask", q.LEADERINFO: "prepare", q.ACKEPOCH: "promise",
        q.DIFF: "backfill", q.TRUNC: "truncate", q.SNAP: "snapshot", q.NEWLEADER: "backfill",
        q.UPTODATE: "commit-notice",
    }  # fmt: skip

    def __init__(self) -> None:
        self._reader = q.PacketReader(_MOST_BYTES)
        self._leads = False
        self._syncing = False

    def hear(self, data: bytes) -> list[Message]:
        """The packets that these bytes complete."""
        return [self._named(packet) for packet in self._reader.feed(data)]

    def _named(self, packet: q.Packet) -> Message:
        kind = packet.type
        fields: dict[str, Any] = {"zxid": zxid_text(packet.zxid)}
        if kind in (q.LEADERINFO, q.DIFF, q.TRUNC, q.SNAP):
            self._leads = True
        if kind in (q.DIFF, q.TRUNC, q.SNAP):
            self._syncing = True
        role = self._ROLES.get(kind, "ask")
        if kind in (q.PROPOSAL, q.COMMIT, q.INFORM) and self._syncing:
            role = "backfill"
        elif kind == q.PROPOSAL:
            role = "replicate"
        elif kind == q.PING:
            role, fields = ("heartbeat" if self._leads else "heartbeat-reply"), {}
        elif kind == q.REVALIDATE:
            role, fields = ("ask-reply" if self._leads else "ask"), {}
        elif kind == q.REQUEST:
            fields = {"op": operation_name(q.decode_request(packet.data)[2])}
        elif kind == q.SYNC:
            fields = {}
        elif kind == q.ACKEPOCH:
            fields["epoch"] = q.decode_epoch(packet.data)
        if kind in (q.PROPOSAL, q.INFORM) and packet.data is not None:
            fields["txn"] = txn_text(decode_txn(packet.data)[0])
        if kind == q.NEWLEADER:
            self._syncing = False
        return Message(role, q.packet_name(kind), fields)


class RaftTalk:
    """Raft's messages. What a leader had before the follower came is sent to it as backfill."""

    def __init__(self) -> None:
        self._reader = w.MessageReader(RAFT_MESSAGES, _MOST_BYTES)
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
            fields["entries"] = [[zxid_text(entry.zxid), entry_text(entry)] for entry in message.entries]
            role = "backfill" if message.entries[-1].zxid <= self._had else "replicate"
        elif known < 0:
            role = "backfill"  # a guess of an entry that both logs have
        else:
            role = "commit-notice" if message.commit_zxid > known else "heartbeat"
        return Message(role, real, fields)


_STATES = {v.LOOKING: "LOOKING", v.FOLLOWING: "FOLLOWING", v.LEADING: "LEADING", v.OBSERVING: "OBSERVING"}
_BALLOT_ROLES = {
    Kind.ASK_EARLY: "vote", Kind.ASK: "vote", Kind.GRANT_EARLY: "vote-reply", Kind.GRANT: "vote-reply",
    Kind.REFUSE: "vote-reply", Kind.LEADS: "heartbeat",
}  # fmt: skip


def notification(frame: bytes) -> Message:
    """What a notification of the election port says."""
    note = v.decode_notification(frame[4:])
    if note is None:
        return Message("vote", "NOTIFICATION", {})
    if note.state == v.OTHER_PROTOCOL:
        ballot = from_notification(note, note.peer_epoch, "raft")
        if isinstance(ballot, str):
            return Message("vote", "BALLOT", {})
        fields: dict[str, Any] = {"term": ballot.term}
        if ballot.kind in (Kind.ASK, Kind.ASK_EARLY):
            fields["last"] = zxid_text(ballot.zxid)
        return Message(_BALLOT_ROLES[ballot.kind], ballot.kind.name, fields)
    none = note.leader == v.MIN_ZXID
    return Message(
        "vote",
        "NOTIFICATION",
        {
            "state": _STATES.get(note.state, str(note.state)),
            "leader": None if none else f"s{note.leader}",
            "zxid": None if none else zxid_text(note.zxid),
            "epoch": None if none else note.peer_epoch,
            "round": note.round,
        },
    )


def talk_of(protocol: str) -> Talk:
    """A new Talk of this protocol."""
    return ZabTalk() if protocol == "zab" else RaftTalk()
