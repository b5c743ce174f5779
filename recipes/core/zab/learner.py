"""Phases 1 to 3 at a follower or an observer: join the leader, become what it is, then take what it sends.

Order is everything here: the synced history is on disk before currentEpoch is, and that before the leader hears of
it; a proposal is on disk before it is acknowledged; nothing is applied before the leader says that it is established.
Source: Learner.java, Follower.java, Observer.java, with the orders of ZOOKEEPER-3911, 4643 and 4685.
"""

from typing import TYPE_CHECKING

from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.jute.records import Ids
from recipes.core.jute.txns import blank_txn, decode_txn
from recipes.core.replication import (
    ACCEPTED_EPOCH,
    CURRENT_EPOCH,
    Entry,
    EpochWrite,
    InstallSnapshot,
    Revalidated,
    Truncate,
    follows,
    skipped,
)
from recipes.core.zab.handler import EPOCHS_AHEAD
from recipes.core.zab.link import Link

if TYPE_CHECKING:
    from recipes.core.zab.peer import ZabPeer

_DIAL_ATTEMPTS = 5
_DIAL_AGAIN_MS = 50  # the leader may be a moment behind in knowing that it leads


class Learner:
    """One attempt to follow the server `leader_sid`, and what comes of it."""

    def __init__(self, peer: "ZabPeer", leader_sid: int) -> None:
        self._peer = peer
        self.leader_sid = leader_sid
        self._link: Link | None = None
        self._attempts = 1
        self._dial_again_ms: int | None = None
        self._deadline_ms = peer.now_ms + peer.settings.tick_ms * peer.settings.init_limit
        self._epoch = -1
        self.leader_is_ours: bool = False
        self._expected: tuple[int, ...] = (q.LEADERINFO,)
        self._pending: list[Entry] = []  # synced, not yet written to the log
        self._committed_zxid = 0  # as the leader says; applied once it is established
        self._last_zxid = peer.history.last_zxid  # of what the leader has sent, or has left in place
        self._acked_zxid: int | None = None  # what is on disk up to here is acknowledged; None before NEWLEADER is
        self._up_to_date = False
        self._snapshot_zxid = 0  # of the SNAP
        self._serves_from: int | None = None  # what must be applied before clients are served
        self._held: list[Packet] | None = None  # what came while the log was being truncated
        self._syncs: list[object] = []
        self._touches: dict[int, int] = {}
        peer.dial(leader_sid)

    # The connection.

    @property
    def deadline_ms(self) -> int:
        """When `tick` is wanted next."""
        return self._limit_ms() if self._dial_again_ms is None else min(self._dial_again_ms, self._limit_ms())

    def tick(self) -> None:
        """Give up a leader that is silent; dial again."""
        peer = self._peer
        if peer.now_ms >= self._limit_ms():
            peer.look(f"nothing was heard from the leader {self.leader_sid}")
        elif self._dial_again_ms is not None and peer.now_ms >= self._dial_again_ms:
            self._dial_again_ms = None
            self._attempts += 1
            peer.dial(self.leader_sid)

    def _limit_ms(self) -> int:
        settings, link = self._peer.settings, self._link
        if link is None:
            return self._deadline_ms
        limit = settings.sync_limit if self._acked_zxid is not None else settings.init_limit
        return link.heard_ms + settings.tick_ms * limit

    def quorum_heard_ms(self) -> int:
        """When the leader was last heard from."""
        return self._link.heard_ms if self._link is not None else 0

    def dial_failed(self, sid: int) -> None:
        """The leader does not answer: it may not know yet that it leads."""
        if sid == self.leader_sid and self._link is None:
            self._dial_again_later()

    def _dial_again_later(self) -> None:
        sid = self.leader_sid
        if self._attempts >= _DIAL_ATTEMPTS:
            self._peer.look(f"the leader {sid} cannot be reached")
        else:
            self._dial_again_ms = self._peer.now_ms + _DIAL_AGAIN_MS

    def dialled(self, sid: int) -> Link | None:
        """The leader's quorum port has taken the connection: say who we are."""
        peer = self._peer
        if sid != self.leader_sid or self._link is not None:
            return None
        self._link = peer.new_link(self._receive, self._gone, takes_dumps=True)
        self._link.sid = sid
        kind = q.OBSERVERINFO if peer.settings.observer else q.FOLLOWERINFO
        info = q.encode_learner_info(peer.settings.sid)
        self._send(q.encode_packet(kind, peer.accepted_epoch << 32, info))
        return self._link

    def end(self) -> None:
        """It is over."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _gone(self, link: Link) -> None:
        if link is not self._link:
            return
        if self._expected == (q.LEADERINFO,):
            # It has not said a word: behind a relay that is how a server looks that does not listen yet.
            self._link = None
            self._dial_again_later()
        else:
            self._peer.look(f"the connection to the leader {self.leader_sid} is gone")

    def _send(self, data: bytes) -> None:
        if self._link is not None:
            self._link.send(data)

    def _receive(self, link: Link, packet: Packet) -> None:
        kind = packet.type
        if self._held is not None:
            self._held.append(packet)
        elif not (self._up_to_date or kind in self._expected or kind == q.PING):
            raise WireError(f"packet of type {kind}: expected one of {self._expected}")
        elif kind == q.PROPOSAL:
            self._propose(packet)
        elif kind == q.COMMIT:
            self._commit(packet.zxid)
        elif kind == q.INFORM:
            self._propose(packet)
            self._commit(packet.zxid)
        elif self._up_to_date:
            self._follow(packet)
        else:
            self._join(packet)

    # Phases 1 and 2.

    def _join(self, packet: Packet) -> None:
        kind = packet.type
        if kind == q.LEADERINFO:
            self._accept_epoch(packet)
        elif kind == q.DIFF:
            # Where the log cannot be relied on, nothing but a snapshot helps.
            if self._peer.history.last_zxid == -1:
                raise WireError("a DIFF for a server that has no history")
            self._expected = _SYNC
        elif kind == q.TRUNC:
            self._truncate(packet.zxid)
        elif kind == q.SNAP:
            self._install(packet)
        elif kind == q.NEWLEADER:
            self._take_over_history(packet.zxid)
        elif kind == q.UPTODATE:
            self._start_serving()

    def _accept_epoch(self, packet: Packet) -> None:
        peer, epoch = self._peer, packet.zxid >> 32
        self.leader_is_ours = q.decode_leader_info(packet.data)
        self._epoch = epoch
        self._expected = _FIRST_SYNC
        if epoch > peer.accepted_epoch + EPOCHS_AHEAD:
            raise WireError(f"epoch {epoch}: expected {peer.accepted_epoch + EPOCHS_AHEAD} at most")
        if epoch < peer.accepted_epoch:
            peer.look(f"the leader's epoch {epoch} is below {peer.accepted_epoch}, which was promised to another")
        elif epoch == peer.accepted_epoch:
            self._ack_epoch(-1)  # it is counted already, or it had promised this and then died: not again
        else:
            current = peer.current_epoch
            peer.carry_out(EpochWrite(ACCEPTED_EPOCH, epoch), lambda: self._ack_epoch(current))

    def _ack_epoch(self, current_epoch: int) -> None:
        last_zxid = self._peer.history.last_zxid
        self._send(q.encode_packet(q.ACKEPOCH, last_zxid, q.encode_epoch(current_epoch)))

    def _truncate(self, zxid: int) -> None:
        peer = self._peer
        if not 0 <= zxid <= peer.history.last_zxid:
            raise WireError(f"TRUNC to 0x{zxid:x} of a log that ends at 0x{peer.history.last_zxid:x}")
        self._last_zxid = zxid
        self._expected = _SYNC
        self._held = []  # nothing may be written behind what could not be taken back
        peer.carry_out(Truncate(zxid), self._truncated)

    def _install(self, packet: Packet) -> None:
        zxid = packet.zxid
        if not 0 <= zxid >> 32 <= self._epoch:
            raise WireError(f"SNAP of 0x{zxid:x} in epoch {self._epoch}")
        self._last_zxid = self._snapshot_zxid = zxid
        self._peer.carry_out(InstallSnapshot(zxid, packet.data or b""))
        self._expected = _SYNC

    def _truncated(self) -> None:
        held, self._held = self._held or [], None
        if self._link is not None:
            self._link.take(held)

    def _propose(self, packet: Packet) -> None:
        payload, zxid = packet.data or b"", packet.zxid
        if zxid <= self._snapshot_zxid and not self.leader_is_ours:
            return  # ZooKeeper settles what is to follow a SNAP before it dumps the tree, which has some of that
        txn, digest = decode_txn(payload)
        if txn[2] != zxid:
            raise WireError(f"proposal 0x{zxid:x} carries the txn 0x{txn[2]:x}")
        # Behind NEWLEADER nothing is left of the history: what comes then was made in this epoch.
        foreign = zxid >> 32 != self._epoch and (zxid >> 32 > self._epoch or self._expected == _STARTING)
        if not foreign and not self.leader_is_ours:
            for unused in skipped(self._last_zxid, zxid):
                self._take(Entry(unused, blank_txn(unused)))
        if foreign or not follows(self._last_zxid, zxid):
            raise WireError(f"proposal 0x{zxid:x} behind 0x{self._last_zxid:x} in epoch {self._epoch}")
        self._take(Entry(zxid, payload, txn, claimed=digest))

    def _take(self, entry: Entry) -> None:
        self._last_zxid = entry.zxid
        if self._expected == _SYNC:
            self._pending.append(entry)
        else:
            self._peer.append(entry)

    def _commit(self, zxid: int) -> None:
        if zxid <= self._snapshot_zxid and not self.leader_is_ours:
            return
        if not self._committed_zxid < zxid <= self._last_zxid:
            raise WireError(f"commit 0x{zxid:x}: expected 0x{self._committed_zxid + 1:x} to 0x{self._last_zxid:x}")
        self._committed_zxid = zxid
        if self._up_to_date:
            self._peer.commit(zxid)
            self._try_serving()

    def _take_over_history(self, zxid: int) -> None:
        """The leader's history is complete: write it, then the epoch, then tell the leader."""
        peer = self._peer
        if zxid != self._epoch << 32:
            raise WireError(f"NEWLEADER 0x{zxid:x} in epoch {self._epoch}")
        committed = [entry for entry in self._pending if entry.zxid <= self._committed_zxid]
        for entry in committed:
            peer.append(entry)
        # All of it is the history the leader starts from: established, the leader is what makes it committed.
        initial_zxid = self._committed_zxid = peer.history.last_zxid
        peer.carry_out(EpochWrite(CURRENT_EPOCH, self._epoch), lambda: self._ack_new_leader(initial_zxid))
        # What is not committed yet belongs to the epoch, and so is written behind it.
        for entry in self._pending[len(committed) :]:
            peer.append(entry)
        self._pending.clear()
        self._expected = _STARTING

    def _ack_new_leader(self, initial_zxid: int) -> None:
        self._acked_zxid = initial_zxid
        self._send(q.encode_packet(q.ACK, self._epoch << 32))

    def _start_serving(self) -> None:
        if self._acked_zxid is None:
            raise WireError("UPTODATE before NEWLEADER was acknowledged")
        self._up_to_date = True
        self._send(q.encode_packet(q.ACK, self._epoch << 32))
        # A snapshot may show what was committed while it was sent: until that is applied, the tree is of no one zxid.
        self._serves_from = self._committed_zxid
        self._peer.commit(self._committed_zxid)
        self._try_serving()

    def _try_serving(self) -> None:
        if self._serves_from is not None and self._peer.applied_zxid >= self._serves_from:
            self._serves_from = None
            self._peer.serve(self._epoch)

    # Phase 3.

    def _follow(self, packet: Packet) -> None:
        kind, peer = packet.type, self._peer
        if kind == q.PING:
            touches, self._touches = self._touches, {}
            self._send(q.encode_packet(q.PING, packet.zxid, q.encode_touches(touches.items())))
        elif kind == q.SYNC:
            if not self._syncs:
                raise WireError("SYNC that nobody asked for")
            peer.synced(self._syncs.pop(0))
        elif kind == q.REVALIDATE:
            peer.tell(Revalidated(*q.decode_revalidated(packet.data)))
        elif kind in _FIRST_SYNC or kind in (q.NEWLEADER, q.LEADERINFO):
            raise WireError(f"packet of type {kind} from an established leader")

    def flushed(self, zxid: int) -> None:
        """Acknowledge what is on disk."""
        if self._serves_from is not None:
            self._peer.release()
            self._try_serving()
        acked = self._acked_zxid
        if acked is None or zxid <= acked:
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
        request = q.encode_request(session_id, cxid, kind, body)
        self._send(q.encode_packet(q.REQUEST, -1, request, None if kind == op.CREATE_SESSION else ids))
        return self._last_zxid

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Ask the leader; its answers come in the order of the questions."""
        self._syncs.append(token)
        self.forward(session_id, cxid, op.SYNC, body, ids)

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """For the leader to know with the next ping."""
        self._touches[session_id] = timeout_ms

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives."""
        self._send(q.encode_packet(q.REVALIDATE, -1, q.encode_revalidate(session_id, timeout_ms)))


_FIRST_SYNC = (q.DIFF, q.TRUNC, q.SNAP)
_SYNC = (q.PROPOSAL, q.COMMIT, q.INFORM, q.NEWLEADER)
_STARTING = (q.PROPOSAL, q.COMMIT, q.INFORM, q.UPTODATE)
