"""ZAB in the laboratory."""

from collections.abc import Callable, Mapping
from typing import Any

from recipes.core.agree.machine import Message
from recipes.core.jute import quorum as q
from recipes.core.jute import votes as v
from recipes.core.jute.txns import Txn, decode_txn
from recipes.core.replication import Cell, Recovered, Replica, ReplicaSettings, ReplicationProtocol
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell
from recipes.core.zab.peer import ZabPeer
from recipes.core.zab.protocol import ZAB, recovered_state
from recipes.lab.served.protocol import MOST_BYTES, Replaced, ServedProtocol, Settings
from recipes.lab.served.reordered import ReorderedPeer
from recipes.lab.served.text import operation_name, txn_text, zxid_text


def _make(options: Settings, replaced: Replaced) -> ReplicationProtocol:
    def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
        reordered = settings.membership.servers[settings.sid].host in options.get("reordered", ())
        peer: type[ZabPeer] = replaced.get(ZabPeer, ReorderedPeer if reordered else ZabPeer)
        made = peer(settings, recovered_state(found), now_ms)
        if options.get("votes") == "silent":
            made.vote_silently()
        return made

    return ZAB._replace(start=start)


class ZabTalk:
    """ZAB's packets. Until NEWLEADER has gone by, proposals and commits bring the learner to the leader's history."""

    _ROLES: Mapping[int, str] = {
        q.REQUEST: "forward", q.ACK: "ack", q.COMMIT: "commit-notice", q.INFORM: "commit-notice",
        q.SYNC: "forward-reply",
        q.FOLLOWERINFO: "ask", q.OBSERVERINFO: "ask", q.LEADERINFO: "prepare", q.ACKEPOCH: "promise",
        q.DIFF: "backfill", q.TRUNC: "truncate", q.SNAP: "snapshot", q.NEWLEADER: "backfill",
        q.UPTODATE: "commit-notice",
    }  # fmt: skip

    def __init__(self, text: Callable[[Txn], str] = txn_text) -> None:
        self._reader = q.PacketReader(MOST_BYTES)
        self._text = text
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
            fields["txn"] = self._text(decode_txn(packet.data)[0])
        if kind == q.NEWLEADER:
            self._syncing = False
        return Message(role, q.packet_name(kind), fields)


_STATES = {v.LOOKING: "LOOKING", v.FOLLOWING: "FOLLOWING", v.LEADING: "LEADING", v.OBSERVING: "OBSERVING"}


def _notification(note: v.Notification) -> Message:
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


def _cells(epoch: int, accepted: int) -> list[Cell]:
    return [epoch_cell(ACCEPTED_EPOCH, accepted), epoch_cell(CURRENT_EPOCH, epoch)]


def _show(peer: ZabPeer, name_of: Callable[[int], str]) -> dict[str, Any]:
    stage = peer.leader.stage.name if peer.leader else peer.learner.stage.name if peer.learner else "ELECTION"
    shown = {"number": peer.epoch, "accepted": peer.accepted_epoch, "current": peer.current_epoch, "stage": stage}
    return shown | ({"committed": zxid_text(peer.committed_zxid)} if peer.serving else {})


SERVED_ZAB = ServedProtocol(
    ZAB.name, _make, {"votes": "answered", "reordered": []}, ZabTalk, _notification, _cells, _show
)
