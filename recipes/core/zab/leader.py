"""Phases 1 to 3 at the leader: agree on an epoch, bring a quorum to this server's history, then broadcast.

Each step waits for a quorum, and is on disk before the leader sends a packet of the next step: acceptedEpoch before
LEADERINFO, currentEpoch before it syncs a learner. Only where the epoch rests on what a learner says it has promised,
LEADERINFO goes to that learner first, and acceptedEpoch is written once it has acknowledged that: the promise of this
server counts for nothing before it is on its disk. Stages: stages.py. Source: Leader.java, LearnerHandler.java.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from recipes.core.build import mypyc_attr
from recipes.core.errors import InvariantBroken, WireError, invariant
from recipes.core.forwarding import Forwarded, Revalidate, SessionsTouched
from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.link import Link, make_room
from recipes.core.replication import Entry
from recipes.core.zab.broadcast import Broadcast, CommitPackets
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell
from recipes.core.zab.newcomers import Newcomers
from recipes.core.zab.pending_syncs import PendingSyncs
from recipes.core.zab.progress import LearnerProgress
from recipes.core.zab.promises import needed_promise
from recipes.core.zab.stages import LEADER_EVENTS, PROGRESS_PACKETS, Event, LeaderStage, ProgressStage, bound, refusal
from recipes.core.zab.synchronize import Synchronizer
from recipes.core.zxid import LAST_COUNTER, counter_of, start_of

if TYPE_CHECKING:
    from recipes.core.zab.peer import ZabPeer

_ESTABLISHED: Final = (LeaderStage.BROADCASTING, LeaderStage.GIVING_WAY)


@mypyc_attr(allow_interpreted_subclasses=True)
class Leader:
    """One leadership, from being elected to losing a quorum."""

    def __init__(self, peer: "ZabPeer") -> None:
        self._peer = peer
        settings = peer.settings
        self._membership = settings.membership
        self._packet_rows = bound(self, PROGRESS_PACKETS)
        self._event_rows = bound(self, LEADER_EVENTS)
        self.stage: LeaderStage = LeaderStage.GATHERING
        self._own = (peer.current_epoch, peer.history.last_zxid)
        # Stored before currentEpoch, here as at each learner: so whoever is elected later has it.
        self._secret = peer.secret or settings.new_secret
        self._initial_zxid = peer.history.last_zxid  # all of it is proposed anew, committed or not
        self._learners: dict[int, LearnerProgress] = {}  # by key of the link
        self._by_sid: dict[int, LearnerProgress] = {}  # those that have introduced themselves
        self.epoch: int = peer.accepted_epoch + 1  # may rise in GATHERING, and is fixed from then on
        self._newcomers = Newcomers(settings.tick_ms, settings.sync_limit)
        self._began_ms = peer.now_ms  # in GATHERING; in PROVING, when it offered the epoch
        self._acked_epoch = {settings.sid}  # in OFFERING: those of them that have promised this epoch
        self._synchronizer: Synchronizer  # from SYNCING on
        self._broadcast: Broadcast  # from BROADCASTING on
        self._why_giving_way = ""
        self._pending_syncs = PendingSyncs(peer, self._learners)
        self._unsent: list[Entry] = []  # proposed, and not sent to the learners yet
        self._proposed: deque[tuple[int, int]] = deque()  # (time, last zxid then), for syncLimit ticks
        self._next_ping_ms = peer.now_ms
        self._limit_ms = peer.now_ms + settings.tick_ms * settings.init_limit

    def begin(self) -> None:
        """Start, and begin to write the epoch at once where this server alone is a quorum."""
        self._try_epoch()

    def happened(self, event: Event, *learner: LearnerProgress) -> None:
        """Handle an event, as the table says for this stage. learner: the one that it is about, if any."""
        step = self._event_rows[self.stage].get(event)
        if step is None:
            raise InvariantBroken(f"{event.name} cannot happen to a leader in the stage {self.stage.name}")
        step(*learner)

    # Connections and time.

    @property
    def deadline_ms(self) -> int:
        """When `tick` is wanted next."""
        return self._next_ping_ms

    def accept(self) -> Link[Packet] | None:
        """A server has connected."""
        make_room(learner.link for learner in self._learners.values())
        link = self._peer.new_link(self._receive, self._gone, takes_dumps=False)
        self._learners[link.key] = LearnerProgress(link, self._packet_rows)
        return link

    def synced(self) -> list[LearnerProgress]:
        """The learners that have taken over the history."""
        return [learner for learner in self._by_sid.values() if learner.counted]

    @property
    def pending_syncs(self) -> int:
        """How many `sync`s are not answered yet."""
        return len(self._pending_syncs)

    def tick(self) -> None:
        """Twice a tick: ask all learners for a sign of life, drop the silent, and see whether a quorum is left."""
        peer, settings = self._peer, self._peer.settings
        if peer.now_ms < self._next_ping_ms:
            return
        self._next_ping_ms = peer.now_ms + settings.tick_ms // 2
        self._drop_silent()
        if peer.leader is not self:
            return
        self._newcomers.settle(self._by_sid, peer.now_ms)
        self._settle_epoch()
        if self.stage not in _ESTABLISHED:
            if peer.now_ms >= self._limit_ms:
                peer.look("no quorum has joined in time")
                return
        elif not self._membership.is_quorum(self._alive()):
            peer.look("a quorum has been silent for too long")
            return
        self.flush()
        # A learner that joins before a quorum has joined gives up after syncLimit, unless it hears from the leader.
        for learner in self._by_sid.values():
            learner.ping(self._last_zxid)

    @property
    def _last_zxid(self) -> int:
        return self._broadcast.last_zxid if self.stage in _ESTABLISHED else self._initial_zxid

    def _alive(self) -> set[int]:
        """The learners that have joined, and this server. Observers among them count for no quorum."""
        return {self._peer.settings.sid, *(learner.sid for learner in self.synced())}

    def _drop_silent(self) -> None:
        peer, settings = self._peer, self._peer.settings
        sync_ms = settings.tick_ms * settings.sync_limit
        late_zxid = 0  # proposed so long ago that it must be acknowledged by now
        while self._proposed and self._proposed[0][0] <= peer.now_ms - sync_ms:
            late_zxid = self._proposed.popleft()[1]
        last_zxid, noted_zxid = self._last_zxid, self._proposed[-1][1] if self._proposed else 0
        if counter_of(last_zxid) and last_zxid > noted_zxid and self.stage in _ESTABLISHED:
            self._proposed.append((peer.now_ms, last_zxid))
        if peer.flushed_zxid < late_zxid:  # it applies nothing, and its clients would read old data
            peer.look("this server's own disk is too slow to lead")
        for learner in list(self._learners.values()):
            heard_ms, limit_ms = learner.link.heard_ms, sync_ms
            if learner.stage is ProgressStage.CONNECTED:  # only an introduction counts, not just any bytes
                heard_ms = learner.link.since_ms
            elif learner.stage is not ProgressStage.UP_TO_DATE:  # nobody answers a ping before UPTODATE
                limit_ms += settings.tick_ms * settings.init_limit
            if learner.counted and not learner.observer and learner.acked_zxid < late_zxid:
                learner.link.close(f"it has not acknowledged 0x{late_zxid:x} within {sync_ms} ms")
            elif peer.now_ms - heard_ms > limit_ms:
                learner.link.close(f"it was silent for {limit_ms} ms")

    def quorum_heard_ms(self) -> int:
        """The latest time at which, or after which, each server of some quorum was heard from."""
        heard = {learner.sid: learner.link.heard_ms for learner in self.synced()}
        return self._membership.committed(heard | {self._peer.settings.sid: self._peer.now_ms})

    def end(self, why: str) -> None:
        """End this leadership: hang up on all learners."""
        learners = list(self._learners.values())
        self._learners.clear()
        self._by_sid.clear()
        for learner in learners:
            learner.link.bid_farewell(f"it leads no more: {why}")

    def _gone(self, link: Link[Packet]) -> None:
        learner = self._learners.pop(link.key, None)
        if learner is None:
            return
        self._newcomers.gone(learner)
        if self._by_sid.get(learner.sid) is learner:
            del self._by_sid[learner.sid]
            self._acked_epoch.discard(learner.sid)
            if self.stage in _ESTABLISHED:
                self._broadcast.forget(learner.sid)
            elif self.stage is LeaderStage.PROVING and not self._offered():
                self.happened(Event.UNPROVEN)
            newcomer = self._newcomers.next(learner.sid)
            if newcomer is not None:
                self._take_in(newcomer)

    def _receive(self, link: Link[Packet], packet: Packet) -> None:
        learner = self._learners[link.key]
        step = learner.steps.get(packet.type)
        if step is None:
            if packet.type == q.FAREWELL and learner.ours:
                link.leave(f"it leaves: {q.decode_farewell(packet.data)}")
                return
            raise WireError(refusal(learner.stage, packet.type, learner.steps))
        step(learner, packet)

    # Phase 1: the epoch.

    def _introduce(self, learner: LearnerProgress, packet: Packet) -> None:
        learner.introduce(packet, self._membership, self._peer.settings.sid, self._peer.accepted_epoch)
        if self._secret and not learner.ours:
            raise WireError("it is no server of this project, and only these share a session secret")
        older = self._by_sid.get(learner.sid)
        if older is not None and older.proven:
            self._newcomers.wait(learner, older, self._last_zxid, self._peer.now_ms)
            return
        if older is not None:
            older.link.close("it has made a new connection")
        self._take_in(learner)

    def _take_in(self, learner: LearnerProgress) -> None:
        self._by_sid[learner.sid] = learner
        self.happened(Event.LEARNER_INTRODUCED, learner)

    def _count_promise(self, learner: LearnerProgress) -> None:
        if learner.voter:
            self._try_epoch()

    def _try_epoch(self) -> None:
        """Choose the lowest epoch that a quorum of those connected can promise."""
        peer, own_epoch = self._peer, self._peer.accepted_epoch
        promised = {learner.sid: learner.accepted_epoch for learner in self._by_sid.values() if learner.voter}
        needed = needed_promise(self._membership, peer.settings.sid, own_epoch, promised)
        if needed is None:
            return
        if needed == own_epoch:
            self._promise_epoch()
        # A promise that is far ahead of this server's is rarely true: others have a tick to come and make it needless.
        elif (
            needed == own_epoch + 1
            or len(promised) == len(self._membership.voters) - 1
            or peer.now_ms - self._began_ms >= peer.settings.tick_ms
        ):
            self.stage = LeaderStage.PROVING
            self._began_ms = peer.now_ms
            self.epoch = needed + 1
            for learner in self._by_sid.values():
                if learner.voter and learner.accepted_epoch == needed:
                    learner.offer(self.epoch, self._secret)

    def _promise_epoch(self) -> None:
        self.stage = LeaderStage.PROMISING
        self._peer.carry_out(epoch_cell(ACCEPTED_EPOCH, self.epoch), Event.STORED)

    def _offered(self) -> list[LearnerProgress]:
        return [learner for learner in self._by_sid.values() if learner.stage is ProgressStage.OFFERED]

    def _take_proof(self, learner: LearnerProgress) -> None:
        self._compare_history(learner)
        self._promise_epoch()

    def _gather_again(self) -> None:
        self.stage = LeaderStage.GATHERING
        self.epoch = self._peer.accepted_epoch + 1
        self._try_epoch()

    def _settle_epoch(self) -> None:
        """Wait no longer for others to come, nor for a learner to prove what it said, if others make that needless."""
        if self.stage is LeaderStage.GATHERING:
            self._try_epoch()
        elif self.stage is LeaderStage.PROVING:
            own_epoch, waited_ms = self._peer.accepted_epoch, self._peer.now_ms - self._began_ms
            others = [each.sid for each in self._by_sid.values() if each.voter and each.accepted_epoch <= own_epoch]
            if waited_ms >= self._peer.settings.tick_ms and self._membership.is_quorum(
                [self._peer.settings.sid, *others]
            ):
                for learner in self._offered():
                    learner.link.close(f"it has not acknowledged epoch {self.epoch} within {waited_ms} ms")

    def _wait(self, learner: LearnerProgress) -> None:
        """Nothing to do: `_fix_epoch` offers the epoch to all learners."""

    def _fix_epoch(self) -> None:
        self.stage = LeaderStage.OFFERING
        self._more_time()
        for learner in self._by_sid.values():
            if learner.stage is ProgressStage.INTRODUCED:
                self._offer_epoch(learner)
            elif learner.proven:  # it was offered the epoch before all others
                self._count_promised(learner)
        self._try_history()

    def _offer_epoch(self, learner: LearnerProgress) -> None:
        learner.offer(self.epoch, self._secret)

    def _offer_epoch_late(self, learner: LearnerProgress) -> None:
        """Offer the epoch, or a later one to a learner that has promised a later one.

        Such a learner may not follow: it promised its epoch to a leader that was never established. If it acknowledges
        an epoch above its promise, the leader gives way. A promise ends at most one leadership: this server writes the
        acknowledged epoch as its own acceptedEpoch first, so that it takes part in no epoch up to it again.
        """
        peer, promised = self._peer, learner.accepted_epoch
        late = peer.late_promises.count(learner.sid, promised - self.epoch, peer.now_ms)
        text = peer.late_promises.name(learner.sid, promised, self.epoch)
        if text:
            peer.note(text)
        learner.offer(promised + 1 if late else self.epoch, self._secret)

    def _sync_or_give_way(self, learner: LearnerProgress) -> None:
        if learner.offered_epoch == self.epoch:
            self._sync(learner)
            return
        peer, sid = self._peer, learner.sid
        self.stage = LeaderStage.GIVING_WAY
        self._why_giving_way = f"server {sid} has promised epoch {learner.accepted_epoch} and can only join a later one"
        peer.late_promises.gave_way(sid, peer.now_ms)
        peer.carry_out(epoch_cell(ACCEPTED_EPOCH, learner.offered_epoch), Event.STORED)

    def _sync_or_wait(self, learner: LearnerProgress) -> None:
        if learner.offered_epoch == self.epoch:
            self._sync(learner)

    def _give_way(self) -> None:
        self._peer.look(self._why_giving_way)

    # Phase 2: the history.

    def _take_epoch(self, learner: LearnerProgress, packet: Packet) -> None:
        learner.promise(packet)
        self.happened(Event.LEARNER_READY, learner)

    def _compare_history(self, learner: LearnerProgress) -> None:
        # -1: the learner has promised this epoch before, and does not count again
        if learner.current_epoch != -1 and (learner.current_epoch, learner.last_zxid) > self._own:
            raise WireError(
                f"its history ends at 0x{learner.last_zxid:x} in epoch {learner.current_epoch}, "
                f"and so is later than that of this leader, 0x{self._own[1]:x} in epoch {self._own[0]}"
            )

    def _count_history(self, learner: LearnerProgress) -> None:
        self._compare_history(learner)
        self._count_promised(learner)
        self._try_history()

    def _count_promised(self, learner: LearnerProgress) -> None:
        if learner.current_epoch != -1 and learner.voter and learner.last_zxid != -1:
            self._acked_epoch.add(learner.sid)

    def _try_history(self) -> None:
        if self._membership.is_quorum(self._acked_epoch):
            self.stage = LeaderStage.BEGINNING
            self._peer.share_secret(self._secret)
            self._peer.carry_out(epoch_cell(CURRENT_EPOCH, self.epoch), Event.STORED)

    def _start_syncing(self) -> None:
        self.stage = LeaderStage.SYNCING
        self._synchronizer = Synchronizer(self._peer, self.epoch, self._by_sid)
        self._more_time()
        # If this epoch is established, all of this server's log is committed; if it is not, a later leader takes back
        # the rest. So the tree gets the whole log now. Otherwise a SNAP might lack committed entries that the learner
        # had on its disk: they would be gone from there until it has written the entries behind the SNAP.
        self._peer.commit(self._initial_zxid)
        for learner in list(self._by_sid.values()):
            if learner.stage is ProgressStage.READY:
                self._sync(learner)
        self._try_establish()

    def _sync(self, learner: LearnerProgress) -> None:
        self.flush()  # to those that follow already: this one gets the whole history
        self._synchronizer.begin(learner)

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """Answer a SnapshotRequested: the tree as it was at `zxid`, perhaps with some later changes."""
        learner = self._learners.get(link)
        if learner is not None:
            self.flush()
            self._synchronizer.dumped(learner, zxid, chunks)

    def _count_joined(self, learner: LearnerProgress) -> None:
        self._try_establish()

    def _try_establish(self) -> None:
        if not self._membership.is_quorum(self._alive()):
            return
        peer = self._peer
        self._broadcast = Broadcast(self._membership, self.epoch)
        self.stage = LeaderStage.BROADCASTING
        joined = self.synced()
        for learner in joined:
            if learner.voter:
                self._broadcast.acknowledged(learner.sid, learner.acked_zxid)
        self._pending_syncs.committed(self._broadcast.committed_zxid)
        peer.late_promises.established()
        peer.serve(self.epoch)
        for learner in joined:
            learner.bring_up_to_date()
        self._next_ping_ms = peer.now_ms

    def _admit(self, learner: LearnerProgress) -> None:
        learner.bring_up_to_date()
        self._count_acknowledged(learner)

    def _more_time(self) -> None:
        settings = self._peer.settings
        self._limit_ms = self._peer.now_ms + settings.tick_ms * settings.init_limit

    # Phase 3: broadcast.

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""
        peer = self._peer
        if peer.leader is not self:
            return  # it ended in this turn: the vote names the end of the log, so nothing may be appended
        invariant(self.stage in _ESTABLISHED, "a proposal before the leader is established")
        if counter_of(entry.zxid) > LAST_COUNTER:
            peer.look("the epoch has no zxids left")
            return
        self._broadcast.propose(entry.zxid)
        peer.append(entry)
        self._unsent.append(entry)

    def flush(self) -> None:
        """Send the proposals of this turn, before anything else that a learner is sent behind them."""
        if self._unsent:
            data = q.encode_proposals(self._unsent)
            self._unsent = []
            for learner in self._by_sid.values():
                learner.propose(data)

    def flushed(self, zxid: int) -> None:
        """This server has everything up to `zxid` on disk."""
        self._count_disk(self._peer.settings.sid, zxid)

    def _acknowledge_history(self, learner: LearnerProgress, packet: Packet) -> None:
        zxid = packet.zxid
        if counter_of(zxid):
            self._check_ack(learner, zxid)
            learner.ack_early(zxid)
        elif zxid == start_of(self.epoch):
            learner.join()
            self.happened(Event.LEARNER_JOINED, learner)

    def _acknowledge(self, learner: LearnerProgress, packet: Packet) -> None:
        zxid = packet.zxid
        if counter_of(zxid):  # else the ACK of NEWLEADER, which comes once more behind UPTODATE
            self._check_ack(learner, zxid)
            learner.ack(zxid)
            self._count_acknowledged(learner)

    def _check_ack(self, learner: LearnerProgress, zxid: int) -> None:
        if learner.observer:
            raise WireError(f"ACK 0x{zxid:x} from an observer, which was not asked for it")
        if zxid > self._last_zxid:
            raise WireError(f"ACK 0x{zxid:x} of what was never proposed: the last is 0x{self._last_zxid:x}")

    def _count_acknowledged(self, learner: LearnerProgress) -> None:
        if learner.voter:
            self._count_disk(learner.sid, learner.acked_zxid)

    def _count_disk(self, sid: int, zxid: int) -> None:
        if self.stage not in _ESTABLISHED:
            return
        broadcast, peer = self._broadcast, self._peer
        before_zxid = broadcast.committed_zxid
        if not broadcast.acknowledged(sid, zxid):
            return
        committed_zxid = broadcast.committed_zxid
        self.flush()
        packets = CommitPackets(peer.history, before_zxid, committed_zxid)
        for learner in self._by_sid.values():
            learner.commit(packets)
        peer.commit(committed_zxid)
        self._pending_syncs.committed(committed_zxid)

    # What learners ask on behalf of their clients.

    def _take_touches(self, learner: LearnerProgress, packet: Packet) -> None:
        """The answer to a ping: it names the sessions heard from since the last answer."""
        touches = q.decode_touches(packet.data)
        if touches and learner.counted:  # others have not shown yet that they are members
            self._peer.tell(SessionsTouched(touches))

    def _take_answer(self, learner: LearnerProgress, packet: Packet) -> None:
        learner.pings_answered += 1
        self._take_touches(learner, packet)
        self._pending_syncs.pinged()

    def _take_request(self, learner: LearnerProgress, packet: Packet) -> None:
        _, _, data, ids = packet
        session_id, cxid, kind, body = q.decode_request(data)
        self._peer.tell(Forwarded(learner.link.key, session_id, cxid, kind, body, ids or ()))

    def _take_revalidate(self, learner: LearnerProgress, packet: Packet) -> None:
        self._peer.tell(Revalidate(learner.link.key, *q.decode_revalidate(packet.data)))

    def sync_learner(self, link: int) -> None:
        """A learner asks for a `sync`, after everything that it has forwarded before."""
        self.sync(link, None)

    def sync(self, link: int | None, token: object) -> None:
        """Answer once all that is proposed by now is committed. link: of the learner that asks; None: the Member."""
        self.flush()
        self._pending_syncs.sync(self._last_zxid, link, token)

    def answer_revalidate(self, link: int, session_id: int, valid: bool) -> None:
        """Answer a Revalidate; its learner may be gone."""
        learner, answer = self._learners.get(link), q.encode_revalidated(session_id, valid)
        if learner is None:
            return
        self.flush()
        if learner.observer:
            self._pending_syncs.revalidated(self._last_zxid, learner, answer)
        else:
            learner.send(q.REVALIDATE, -1, answer)
