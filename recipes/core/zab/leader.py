"""Phases 1 to 3 at the leader: agree on an epoch, bring a quorum to this server's history, then broadcast.

Each step waits for a quorum and is on disk before the next is heard of: acceptedEpoch before LEADERINFO, currentEpoch
before anybody is synced. Source: Leader.java, LearnerHandler.java.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recipes.core.errors import WireError, invariant
from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.replication import (
    ACCEPTED_EPOCH,
    CURRENT_EPOCH,
    Entry,
    EpochWrite,
    Forwarded,
    Heard,
    Revalidate,
)
from recipes.core.zab.answers import Answers
from recipes.core.zab.broadcast import Broadcast
from recipes.core.zab.handler import CommitPackets, Handler
from recipes.core.zab.link import Link
from recipes.core.zab.synchronize import Synchronizer

if TYPE_CHECKING:
    from recipes.core.zab.peer import ZabPeer

_LAST_COUNTER = 0xFFFFFFFE  # a txn 0xffffffff is never proposed: the next epoch starts again at 1
_MOST_STRANGERS = 64  # connections that have not said who they are


class Leader:
    """One leadership, from being elected to losing a quorum."""

    def __init__(self, peer: "ZabPeer") -> None:
        self._peer = peer
        settings = peer.settings
        self._membership = settings.membership
        self._own = (peer.current_epoch, peer.history.last_zxid)
        self._initial_zxid = peer.history.last_zxid  # all of it is proposed anew, committed or not
        self._handlers: dict[int, Handler] = {}  # by key of the link
        self._by_sid: dict[int, Handler] = {}  # those that have said who they are
        self.epoch: int = peer.accepted_epoch + 1
        self._promised = {settings.sid}  # voters that are connected
        self._acked_epoch = {settings.sid}
        self._epoch_asked = self._epoch_fixed = self._history_asked = self._established = False
        self._giving_way = False
        self._synchronizer: Synchronizer | None = None  # once currentEpoch is on disk
        self._broadcast: Broadcast | None = None  # once this leader is established
        self._answers = Answers(peer, self._handlers)
        self._proposed: deque[tuple[int, int]] = deque()  # (time, last zxid then), while it may not be acknowledged
        self._next_ping_ms = peer.now_ms
        self._limit_ms = peer.now_ms + settings.tick_ms * settings.init_limit

    def begin(self) -> None:
        """Go as far as this server's own voice goes."""
        self._try_epoch()

    # Connections and time.

    @property
    def deadline_ms(self) -> int:
        """When `tick` is wanted next."""
        return self._next_ping_ms

    def accept(self) -> Link | None:
        """Somebody has connected; None: hang up, too many have who do not say who they are."""
        if sum(handler.sid == -1 for handler in self._handlers.values()) >= _MOST_STRANGERS:
            return None
        link = self._peer.new_link(self._receive, self._gone, takes_dumps=False)
        self._handlers[link.key] = Handler(link)
        return link

    def synced(self) -> list[Handler]:
        """The learners that have taken over the history."""
        return [handler for handler in self._by_sid.values() if handler.acked_zxid is not None]

    @property
    def pending_syncs(self) -> int:
        """How many `sync`s are not answered yet."""
        return len(self._answers)

    def tick(self) -> None:
        """Twice a tick: ask all learners for a sign of life, drop the silent, and see whether a quorum is left."""
        peer, settings = self._peer, self._peer.settings
        if peer.now_ms < self._next_ping_ms:
            return
        self._next_ping_ms = peer.now_ms + settings.tick_ms // 2
        self._drop_silent()
        if peer.leader is not self:
            return
        if not self._established:
            if peer.now_ms >= self._limit_ms:
                peer.look("no quorum has joined in time")
                return
        elif not self._membership.is_quorum(self._alive()):
            peer.look("a quorum is not heard from any more")
            return
        # Who has joined before a quorum has waits for the others no longer than syncLimit, unless it hears from here.
        for handler in self._by_sid.values():
            handler.ping(self._last_zxid)

    @property
    def _last_zxid(self) -> int:
        return self._broadcast.last_zxid if self._broadcast is not None else self._initial_zxid

    def _alive(self) -> set[int]:
        """Synced voters, this server included."""
        return {self._peer.settings.sid, *(handler.sid for handler in self.synced())}

    def _drop_silent(self) -> None:
        peer, settings = self._peer, self._peer.settings
        sync_ms = settings.tick_ms * settings.sync_limit
        late_zxid = 0  # proposed too long ago not to be acknowledged
        while self._proposed and self._proposed[0][0] <= peer.now_ms - sync_ms:
            late_zxid = self._proposed.popleft()[1]
        last_zxid, noted_zxid = self._last_zxid, self._proposed[-1][1] if self._proposed else 0
        if last_zxid & 0xFFFFFFFF and last_zxid > noted_zxid and self._established:
            self._proposed.append((peer.now_ms, last_zxid))
        if peer.flushed_zxid < late_zxid:  # it applies nothing, and its clients would see the past for ever
            peer.look("this server's own disk is too slow to lead")
        for handler in list(self._handlers.values()):
            acked, heard_ms, limit_ms = handler.acked_zxid, handler.link.heard_ms, sync_ms
            if handler.sid == -1:  # whatever it sends, it has had the time to say who it is
                heard_ms = handler.link.since_ms
            elif not handler.up_to_date:  # nobody answers a ping before UPTODATE
                limit_ms += settings.tick_ms * settings.init_limit
            stalled = acked is not None and not handler.observer and acked < late_zxid
            if stalled or peer.now_ms - heard_ms > limit_ms:
                handler.link.close()

    def quorum_heard_ms(self) -> int:
        """The latest time at or after which every server of some quorum was heard from."""
        heard = {handler.sid: handler.link.heard_ms for handler in self.synced()}
        return self._membership.committed(heard | {self._peer.settings.sid: self._peer.now_ms})

    def end(self) -> None:
        """It is over: hang up on everybody."""
        handlers = list(self._handlers.values())
        self._handlers.clear()
        self._by_sid.clear()
        for handler in handlers:
            handler.link.close()

    def _gone(self, link: Link) -> None:
        handler = self._handlers.pop(link.key, None)
        if handler is not None and self._by_sid.get(handler.sid) is handler:
            del self._by_sid[handler.sid]
            if self._synchronizer is None:
                self._promised.discard(handler.sid)
                self._acked_epoch.discard(handler.sid)
            if self._broadcast is not None:
                self._broadcast.forget(handler.sid)

    def _receive(self, link: Link, packet: Packet) -> None:
        handler = self._handlers[link.key]
        kind = packet.type
        if handler.sid == -1:
            self._introduce(handler, packet)
        elif kind == q.ACK:
            self._acknowledge(handler, packet.zxid)
        elif kind == q.ACKEPOCH and not handler.ready:
            self._take_epoch(handler, packet)
        elif kind == q.PING:
            handler.pings_answered += handler.up_to_date
            touches = q.decode_touches(packet.data)
            if touches:
                self._peer.tell(Heard(touches))
            self._answers.pinged()
        elif not handler.up_to_date:
            raise WireError(f"packet of type {kind} from server {handler.sid}, which has not joined yet")
        elif kind == q.REQUEST:
            self._take_request(handler, packet)
        elif kind == q.REVALIDATE:
            self._peer.tell(Revalidate(link.key, *q.decode_revalidate(packet.data)))
        else:
            raise WireError(f"packet of type {kind} from a learner")

    # Phase 1: the epoch.

    def _introduce(self, handler: Handler, packet: Packet) -> None:
        handler.introduce(packet, self._membership, self._peer.settings.sid, self._peer.accepted_epoch)
        older = self._by_sid.get(handler.sid)
        if older is not None:
            older.link.close()
        self._by_sid[handler.sid] = handler
        if not self._epoch_asked:
            self.epoch = max(self.epoch, handler.accepted_epoch + 1)
        if self._epoch_fixed:
            self._offer_epoch(handler)
        elif handler.voter:
            self._promised.add(handler.sid)
            self._try_epoch()
        if self._established and handler.accepted_epoch > self.epoch:
            self._give_way(handler)

    def _give_way(self, handler: Handler) -> None:
        """It may not follow this epoch, for it has promised a later one to a leader that came to nothing.

        No epoch this server has a part in will be below that promise again: the same promise ends one leadership, and
        there is no further one without a quorum that has tried, so that a single server cannot end one after another.
        """
        if self._giving_way:
            return
        self._giving_way = True
        sid, epoch = handler.sid, handler.accepted_epoch
        why = f"server {sid} has promised epoch {epoch} and can only join a later one"
        self._peer.carry_out(EpochWrite(ACCEPTED_EPOCH, epoch), lambda: self._peer.look(why))

    def _try_epoch(self) -> None:
        if not self._epoch_asked and self._membership.is_quorum(self._promised):
            self._epoch_asked = True
            self._peer.carry_out(EpochWrite(ACCEPTED_EPOCH, self.epoch), self._fix_epoch)

    def _fix_epoch(self) -> None:
        self._epoch_fixed = True
        self._more_time()
        for handler in self._by_sid.values():
            self._offer_epoch(handler)
        self._try_history()

    def _offer_epoch(self, handler: Handler) -> None:
        handler.send(q.LEADERINFO, self.epoch << 32, q.encode_leader_info())

    # Phase 2: the history.

    def _take_epoch(self, handler: Handler, packet: Packet) -> None:
        if not self._epoch_fixed:
            raise WireError("ACKEPOCH before LEADERINFO")
        current_epoch = q.decode_epoch(packet.data)
        handler.last_zxid = packet.zxid
        handler.ready = True
        if self._synchronizer is not None:
            self._synchronizer.begin(handler)
            return
        if current_epoch != -1:  # -1: it has promised this epoch before, and does not count again
            if (current_epoch, packet.zxid) > self._own:
                raise WireError(f"server {handler.sid} has a later history than this leader")
            if handler.voter and packet.zxid != -1:
                self._acked_epoch.add(handler.sid)
                self._try_history()

    def _try_history(self) -> None:
        if self._epoch_fixed and not self._history_asked and self._membership.is_quorum(self._acked_epoch):
            self._history_asked = True
            self._peer.carry_out(EpochWrite(CURRENT_EPOCH, self.epoch), self._start_syncing)

    def _start_syncing(self) -> None:
        self._synchronizer = Synchronizer(self._peer, self.epoch)
        self._more_time()
        # All that is in this server's log is committed if this epoch comes to anything; if it does not, a later leader
        # takes back what is not. So the tree has it from here on, without which a SNAP would take committed entries
        # from a learner's disk for as long as it writes what follows.
        self._peer.commit(self._initial_zxid)
        for handler in list(self._by_sid.values()):
            if handler.ready:
                self._synchronizer.begin(handler)
        self._try_establish()

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """Answer a DumpWanted: the tree as it was at `zxid`, some changes behind it perhaps included."""
        handler = self._handlers.get(link)
        if handler is not None and self._synchronizer is not None:
            self._synchronizer.dumped(handler, zxid, chunks)

    def _try_establish(self) -> None:
        if self._established or self._synchronizer is None or not self._membership.is_quorum(self._alive()):
            return
        peer = self._peer
        self._established = True
        self._broadcast = Broadcast(self._membership, self.epoch)
        for sid, handler in self._by_sid.items():
            if handler.acked_zxid is not None and handler.voter:
                self._broadcast.hold(sid, handler.acked_zxid)
        self._answers.committed(self._broadcast.committed_zxid)
        peer.serve(self.epoch)
        for handler in self._by_sid.values():
            if handler.acked_zxid is not None:
                handler.bring_up_to_date()
        self._next_ping_ms = peer.now_ms

    def _more_time(self) -> None:
        settings = self._peer.settings
        self._limit_ms = self._peer.now_ms + settings.tick_ms * settings.init_limit

    # Phase 3: broadcast.

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""
        broadcast, peer = self._broadcast, self._peer
        if peer.leader is not self:
            return  # over since this turn began; the vote has been cast, and nothing may come behind it in the log
        invariant(broadcast is not None, "a proposal before the leader is established")
        if entry.zxid & 0xFFFFFFFF > _LAST_COUNTER:
            peer.look("the epoch has no zxids left")
            return
        broadcast.propose(entry)  # type: ignore[union-attr]
        peer.append(entry)
        packet = q.encode_packet(q.PROPOSAL, entry.zxid, entry.payload)
        for handler in self._by_sid.values():
            handler.propose(packet)

    def flushed(self, zxid: int) -> None:
        """This server has everything up to `zxid` on disk."""
        self._hold(self._peer.settings.sid, zxid)

    def _acknowledge(self, handler: Handler, zxid: int) -> None:
        if not handler.new_leader_sent or (handler.observer and zxid & 0xFFFFFFFF):
            raise WireError(f"ACK 0x{zxid:x} that was not asked for")
        if zxid & 0xFFFFFFFF == 0:
            if zxid == self.epoch << 32 and handler.acked_zxid is None:  # it comes once more after UPTODATE
                handler.ack_new_leader()
                if self._established:
                    handler.bring_up_to_date()
                    self._hold_for(handler)
                else:
                    self._try_establish()
            return
        if zxid > max(self._last_zxid, self._initial_zxid):
            raise WireError(f"ACK 0x{zxid:x} of what was never proposed")
        handler.ack(zxid)
        self._hold_for(handler)

    def _hold_for(self, handler: Handler) -> None:
        if handler.voter and handler.acked_zxid is not None:
            self._hold(handler.sid, handler.acked_zxid)

    def _hold(self, sid: int, zxid: int) -> None:
        if self._broadcast is None:
            return
        done = self._broadcast.hold(sid, zxid)
        if not done:
            return
        packets = CommitPackets(done)
        for handler in self._by_sid.values():
            handler.commit(packets)
        self._peer.commit(done[-1].zxid)
        self._answers.committed(done[-1].zxid)

    # What learners ask on behalf of their clients.

    def _take_request(self, handler: Handler, packet: Packet) -> None:
        session_id, cxid, kind, body = q.decode_request(packet.data)
        self._peer.tell(Forwarded(handler.link.key, session_id, cxid, kind, body, packet.ids or ()))

    def sync_learner(self, link: int) -> None:
        """A learner asks for a `sync`, behind what it has forwarded before."""
        self.sync(link, None)

    def sync(self, link: int | None, token: object) -> None:
        """Answer once all that is committed by now is here. link: of the learner that asks; None: us, for `token`."""
        self._answers.sync(self._last_zxid, link, token)

    def answer_revalidate(self, link: int, session_id: int, valid: bool) -> None:
        """Answer a Revalidate; its learner may be gone."""
        handler, answer = self._handlers.get(link), q.encode_revalidated(session_id, valid)
        if handler is None:
            return
        if handler.observer:
            self._answers.revalidated(self._last_zxid, handler, answer)
        else:
            handler.send(q.REVALIDATE, -1, answer)
