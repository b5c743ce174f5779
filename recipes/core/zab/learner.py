"""Phases 1 to 3 at a follower or an observer: join the leader, become what it is, then take what it sends.

The order matters: the synced history is on disk before currentEpoch, and currentEpoch before the ACK to the leader; a
proposal is on disk before it is acknowledged; nothing is applied before the leader says that it is established.
stages.py has the stages, and the packets that each takes.
Source: Learner.java, Follower.java, Observer.java, with the orders of ZOOKEEPER-3911, 4643 and 4685.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from recipes.core.build import mypyc_attr
from recipes.core.errors import InvariantBroken, WireError
from recipes.core.forwarding import Revalidated
from recipes.core.jute import opcodes as op
from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.jute.records import Ids
from recipes.core.jute.txns import blank_txn, decode_txn
from recipes.core.link import Link
from recipes.core.replication import Entry, InstallSnapshot, Truncate
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell
from recipes.core.zab.progress import MOST_OFFERED
from recipes.core.zab.stages import LEARNER_EVENTS, LEARNER_PACKETS, Event, LearnerStage, bound, refusal
from recipes.core.zxid import epoch_of, follows, skipped, start_of

if TYPE_CHECKING:
    from recipes.core.zab.peer import ZabPeer

_DIAL_ATTEMPTS = 5
_DIAL_AGAIN_MS = 50  # the leader may learn a moment later that it leads

_DIALLING: Final = LearnerStage.DIALLING
_CATCHING_UP: Final = LearnerStage.CATCHING_UP
_ACKNOWLEDGED: Final = (LearnerStage.SERVING, LearnerStage.CATCHING_UP, LearnerStage.JOINED)


@mypyc_attr(allow_interpreted_subclasses=True)
class Learner:
    """One attempt to follow the server `leader_sid`, until it ends."""

    def __init__(self, peer: "ZabPeer", leader_sid: int) -> None:
        self._peer = peer
        self.leader_sid = leader_sid
        self._packet_rows = bound(self, LEARNER_PACKETS)
        self._event_rows = bound(self, LEARNER_EVENTS)
        self._enter(_DIALLING)
        self._link: Link[Packet] | None = None  # from GREETING on
        self._told = ""  # why the leader hung up
        self._attempts = 1
        self._dial_again_ms: int | None = None  # in DIALLING, while no connection is asked for
        self._deadline_ms = peer.now_ms + peer.settings.tick_ms * peer.settings.init_limit
        self._epoch = -1  # the leader's, from PROMISING on, like the fields below
        self.leader_is_ours: bool = False
        self._secret = b""
        self._last_zxid = peer.history.last_zxid  # of what the leader has sent, or has left in place
        self._snapshot_zxid = 0  # of the SNAP, where there was one
        self._held: list[Packet] = []  # in TRUNCATING: packets that came meanwhile
        self._pending: list[Entry] = []  # in COLLECTING: synced, not yet written to the log
        self._committed_zxid = 0  # as the leader says; applied once the leader is established
        self._initial_zxid = 0  # from STORING on: where the history ends that the ACK of NEWLEADER covers
        self._acked_zxid = 0  # from JOINED on: what is on disk up to here is acknowledged
        self._serves_from = 0  # in CATCHING_UP: what must be applied before clients are served
        self._requests = q.RequestWriter()
        self._syncs: list[object] = []
        self._touches: dict[int, int] = {}
        peer.dial(leader_sid)

    def _enter(self, stage: LearnerStage) -> None:
        self.stage: LearnerStage = stage
        self._packets: Mapping[int, Any] = self._packet_rows[stage]

    def happened(self, event: Event) -> None:
        """Handle an event, as the table says for this stage."""
        step = self._event_rows[self.stage].get(event)
        if step is None:
            raise InvariantBroken(f"{event.name} cannot happen to a learner in the stage {self.stage.name}")
        step()

    # The connection.

    @property
    def deadline_ms(self) -> int:
        """When `tick` is wanted next."""
        return self._limit_ms() if self._dial_again_ms is None else min(self._dial_again_ms, self._limit_ms())

    def tick(self) -> None:
        """Give up a leader that is silent; dial again."""
        peer = self._peer
        if peer.now_ms >= self._limit_ms():
            peer.look(f"no message came in time from the leader {self.leader_sid}")
        elif self._dial_again_ms is not None and peer.now_ms >= self._dial_again_ms:
            self._dial_again_ms = None
            self._attempts += 1
            peer.dial(self.leader_sid)

    def _limit_ms(self) -> int:
        settings, link = self._peer.settings, self._link
        if link is None:
            return self._deadline_ms
        limit = settings.sync_limit if self.stage in _ACKNOWLEDGED else settings.init_limit
        return link.heard_ms + settings.tick_ms * limit

    def quorum_heard_ms(self) -> int:
        """When the leader was last heard from."""
        return self._link.heard_ms if self._link is not None else 0

    def dial_failed(self, sid: int) -> None:
        """The leader does not answer: it may not know yet that it leads."""
        if sid == self.leader_sid and self.stage is _DIALLING:
            self.happened(Event.UNREACHED)

    def _dial_again_later(self) -> None:
        sid = self.leader_sid
        if self._attempts >= _DIAL_ATTEMPTS:
            self._peer.look(f"the leader {sid} cannot be reached")
        else:
            self._dial_again_ms = self._peer.now_ms + _DIAL_AGAIN_MS

    def dialled(self, sid: int) -> Link[Packet] | None:
        """The leader's quorum port has taken the connection; None: it is not wanted any more."""
        if sid != self.leader_sid or self.stage is not _DIALLING:
            return None
        self._link = self._peer.new_link(self._receive, self._gone, takes_dumps=True)
        self._link.sid = sid
        self.happened(Event.CONNECTED)
        return self._link

    def _introduce(self) -> None:
        self._enter(LearnerStage.GREETING)
        settings = self._peer.settings
        kind = q.OBSERVERINFO if settings.observer else q.FOLLOWERINFO
        self._send(q.encode_packet(kind, start_of(self._peer.accepted_epoch), q.encode_learner_info(settings.sid)))

    def end(self, why: str) -> None:
        """End this attempt: hang up."""
        link, self._link = self._link, None
        if link is not None:
            link.bid_farewell(why)

    def _gone(self, link: Link[Packet]) -> None:
        if link is self._link:
            self.happened(Event.LOST)

    def _begin_anew(self) -> None:
        self._link = None
        self._enter(_DIALLING)
        self._dial_again_later()

    def _leave(self) -> None:
        peer, why = self._peer, self._link.why_closed if self._link is not None else ""
        # What one end cannot take from the other before they have joined, such as a packet that is too long here, will
        # come again: without a pause the leader would send its tree many times a second.
        look = peer.look if peer.serving else peer.turned_away
        if self._told:
            look(f"the leader {self.leader_sid} has hung up: {self._told}")
        elif why:
            look(f"the leader {self.leader_sid} broke the protocol: {why}")
        else:
            peer.look(f"the connection to the leader {self.leader_sid} is gone")

    def _send(self, data: bytes) -> None:
        if self._link is not None:
            self._link.send(data)

    def _receive(self, link: Link[Packet], packet: Packet) -> None:
        step = self._packets.get(packet.type)
        if step is None:
            if packet.type == q.FAREWELL:
                self._told = q.decode_farewell(packet.data)
                link.leave(self._told)
                return
            raise WireError(refusal(self.stage, packet.type, self._packets))
        step(packet)

    def _pass_over(self, packet: Packet) -> None:
        """Ignore a ping: its arrival alone shows that the leader lives."""

    # Phases 1 and 2.

    def _accept_epoch(self, packet: Packet) -> None:
        peer, epoch = self._peer, epoch_of(packet.zxid)
        self.leader_is_ours = q.decode_leader_info(packet.data)
        if self.leader_is_ours and self._link is not None:
            self._link.understands(q.encode_farewell)
        self._epoch = epoch
        self._secret = q.decode_leader_secret(packet.data)
        self._enter(LearnerStage.PROMISING)
        if bool(self._secret) != bool(peer.settings.new_secret):
            has = "shares a session secret" if self._secret else "has no session secret"
            peer.turned_away(f"the leader {self.leader_sid} {has}: all members need the same sessionSecret")
            return
        most = max(MOST_OFFERED, peer.accepted_epoch + 1)
        if epoch > most:
            raise WireError(f"epoch {epoch}: expected {most} at most")
        if epoch < peer.accepted_epoch:
            peer.turned_away(
                f"the leader's epoch {epoch} is below {peer.accepted_epoch}, which was promised to another server"
            )
        elif epoch == peer.accepted_epoch:
            self._agree(-1)  # it promised this epoch before, perhaps before a restart: it must not count twice
        else:
            peer.carry_out(epoch_cell(ACCEPTED_EPOCH, epoch), Event.STORED)

    def _ack_epoch(self) -> None:
        self._agree(self._peer.current_epoch)

    def _agree(self, current_epoch: int) -> None:
        self._enter(LearnerStage.AGREED)
        self._send(q.encode_packet(q.ACKEPOCH, self._peer.history.last_zxid, q.encode_epoch(current_epoch)))

    def _take_diff(self, packet: Packet) -> None:
        # Where the log cannot be relied on, nothing but a snapshot helps.
        if self._peer.history.last_zxid == -1:
            raise WireError("a DIFF for a server that has no history")
        self._enter(LearnerStage.COLLECTING)

    def _truncate(self, packet: Packet) -> None:
        peer, zxid = self._peer, packet.zxid
        if not 0 <= zxid <= peer.history.last_zxid:
            raise WireError(f"TRUNC to 0x{zxid:x} of a log that ends at 0x{peer.history.last_zxid:x}")
        self._last_zxid = zxid
        self._enter(LearnerStage.TRUNCATING)
        peer.carry_out(Truncate(zxid), Event.TRUNCATED)

    def _hold_back(self, packet: Packet) -> None:
        self._held.append(packet)

    def _take_held(self) -> None:
        self._enter(LearnerStage.COLLECTING)
        held, self._held = self._held, []
        if self._link is not None:
            self._link.take(held)

    def _install(self, packet: Packet) -> None:
        zxid = packet.zxid
        if not 0 <= epoch_of(zxid) <= self._epoch:
            raise WireError(f"SNAP of 0x{zxid:x} in epoch {self._epoch}")
        self._last_zxid = self._snapshot_zxid = zxid
        self._peer.carry_out(InstallSnapshot(zxid, packet.data or b""))
        self._enter(LearnerStage.COLLECTING)

    def _collect(self, packet: Packet) -> None:
        """Take an entry of the leader's initial history, which is of this epoch or an earlier one."""
        self._take_entry(packet, epoch_of(packet.zxid) > self._epoch, self._pending.append)

    def _propose(self, packet: Packet) -> None:
        """Write a proposal from behind NEWLEADER: it must be of this epoch."""
        _, zxid, payload, _ = packet
        if zxid == self._last_zxid + 1 and zxid >> 32 == self._epoch and payload and self.leader_is_ours:
            try:  # what `_take_entry` does, for the usual packet
                txn, digest = decode_txn(payload)
            except WireError:
                pass  # the code below names the packet
            else:
                if txn[2] == zxid:
                    self._last_zxid = zxid
                    self._peer.append(Entry(zxid, payload, txn, None, digest))
                    return
        self._take_entry(packet, epoch_of(packet.zxid) != self._epoch, self._peer.append)

    def _take_entry(self, packet: Packet, foreign: bool, put: Callable[[Entry], None]) -> None:
        """Pass a proposal's entry to `put`, behind blank entries for zxids that an Apache leader left unused."""
        payload, zxid = packet.data or b"", packet.zxid
        if zxid <= self._snapshot_zxid and not self.leader_is_ours:
            return  # ZooKeeper chooses what to send behind a SNAP before it dumps the tree: the tree has some of it
        try:
            txn, digest = decode_txn(payload)
        except WireError as error:
            raise WireError(f"{q.packet_name(packet.type)} 0x{zxid:x}: {error}") from None
        if txn[2] != zxid:
            raise WireError(f"proposal 0x{zxid:x} carries the txn 0x{txn[2]:x}")
        if not foreign and not self.leader_is_ours:
            for unused in skipped(self._last_zxid, zxid):
                self._last_zxid = unused
                put(Entry(unused, blank_txn(unused)))
        if foreign or not follows(self._last_zxid, zxid):
            raise WireError(f"proposal 0x{zxid:x} behind 0x{self._last_zxid:x} in epoch {self._epoch}")
        self._last_zxid = zxid
        put(Entry(zxid, payload, txn, claimed=digest))

    def _inform(self, packet: Packet) -> None:
        """An observer's packet: a proposal and its commit in one."""
        self._packets[q.PROPOSAL](packet)
        self._packets[q.COMMIT](packet)

    def _note_commit(self, packet: Packet) -> None:
        zxid = packet.zxid
        if zxid <= self._snapshot_zxid and not self.leader_is_ours:
            return
        if not self._committed_zxid < zxid <= self._last_zxid:
            raise WireError(f"commit 0x{zxid:x}: expected 0x{self._committed_zxid + 1:x} to 0x{self._last_zxid:x}")
        self._committed_zxid = zxid

    def _take_over_history(self, packet: Packet) -> None:
        """The leader's history is complete: write it, then the epoch, then tell the leader."""
        peer, zxid = self._peer, packet.zxid
        if zxid != start_of(self._epoch):
            raise WireError(f"NEWLEADER 0x{zxid:x} in epoch {self._epoch}")
        committed = [entry for entry in self._pending if entry.zxid <= self._committed_zxid]
        for entry in committed:
            peer.append(entry)
        # All of it is the leader's initial history, which is committed once the leader is established.
        self._initial_zxid = self._committed_zxid = peer.history.last_zxid
        self._enter(LearnerStage.STORING)
        peer.share_secret(self._secret)
        peer.carry_out(epoch_cell(CURRENT_EPOCH, self._epoch), Event.STORED)
        # Entries that are not committed yet belong to the new epoch, and so are written behind it.
        for entry in self._pending[len(committed) :]:
            peer.append(entry)
        self._pending.clear()

    def _ack_new_leader(self) -> None:
        self._enter(LearnerStage.JOINED)
        self._acked_zxid = self._initial_zxid
        self._send(q.encode_packet(q.ACK, start_of(self._epoch)))

    def _start_serving(self, packet: Packet) -> None:
        self._enter(_CATCHING_UP)
        self._send(q.encode_packet(q.ACK, start_of(self._epoch)))
        # A snapshot may contain changes committed while it was sent: until all are applied, the tree matches no zxid.
        self._serves_from = self._committed_zxid
        self._peer.commit(self._committed_zxid)
        self._try_serving()

    def _try_serving(self) -> None:
        if self._peer.applied_zxid >= self._serves_from:
            self.happened(Event.APPLIED)

    def _serve(self) -> None:
        self._enter(LearnerStage.SERVING)
        self._peer.serve(self._epoch)

    # Phase 3.

    def _commit(self, packet: Packet) -> None:
        zxid = packet.zxid
        if self._committed_zxid < zxid <= self._last_zxid:
            self._committed_zxid = zxid
            self._peer.commit(zxid)
        else:
            self._note_commit(packet)  # refuses it, unless the SNAP contained it

    def _answer_ping(self, packet: Packet) -> None:
        touches, self._touches = self._touches, {}
        self._send(q.encode_packet(q.PING, packet.zxid, q.encode_touches(touches.items())))

    def _take_sync(self, packet: Packet) -> None:
        if not self._syncs:
            raise WireError("SYNC that nobody asked for")
        self._peer.synced(self._syncs.pop(0))

    def _take_revalidated(self, packet: Packet) -> None:
        self._peer.tell(Revalidated(*q.decode_revalidated(packet.data)))

    def flushed(self, zxid: int) -> None:
        """Acknowledge what is on disk."""
        if self.stage is _CATCHING_UP:
            self._peer.release()
            self._try_serving()
        acked = self._acked_zxid
        if self.stage not in _ACKNOWLEDGED or zxid <= acked:
            return
        if not self._peer.settings.observer:
            if self.leader_is_ours:
                self._send(q.encode_packet(q.ACK, zxid))
            else:
                for entry in self._peer.history.behind(acked):
                    if entry.zxid > zxid:
                        break
                    self._send(q.encode_packet(q.ACK, entry.zxid))
        self._acked_zxid = zxid

    def forward(self, session_id: int, cxid: int, kind: int, body: bytes, ids: Ids) -> int:
        """Send a client's write to the leader; return a zxid that its txn will be behind."""
        sent_ids = None if kind == op.CREATE_SESSION else ids
        self._send(self._requests.encode(session_id, cxid, kind, body, sent_ids))
        return self._last_zxid

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Ask the leader for a `sync`; its answers come in the order of the requests."""
        self._syncs.append(token)
        self.forward(session_id, cxid, op.SYNC, body, ids)

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """Report the session to the leader in the answer to its next ping."""
        self._touches[session_id] = timeout_ms

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives."""
        self._send(q.encode_packet(q.REVALIDATE, -1, q.encode_revalidate(session_id, timeout_ms)))
