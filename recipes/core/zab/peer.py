"""A server of an ensemble, as a Replica: looks for a leader, then leads or follows, until that ends.

ZabPeer keeps what outlives a leadership: the epochs, the history, what is on disk and what has been handed over as
committed. It votes for, acknowledges and applies only what is on this server's disk. Source: QuorumPeer.java;
Junqueira, Reed and Serafini, "Zab: High-performance broadcast for primary-backup systems" (2011).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from recipes.core.awaiting_commit import AwaitingCommit
from recipes.core.build import mypyc_attr
from recipes.core.errors import invariant
from recipes.core.history import History
from recipes.core.jute.quorum import Packet, PacketReader
from recipes.core.jute.records import Ids
from recipes.core.jute.votes import LEADING, LOOKING, OTHER_PROTOCOL, Notification
from recipes.core.link import Link
from recipes.core.outbox import Outbox
from recipes.core.replication import (
    SECRET_CELL,
    Cell,
    Entry,
    Event,
    InstallSnapshot,
    LearnerStatus,
    Operation,
    Ready,
    ReplicaSettings,
    ReplicaStatus,
    RoleChanged,
    SecretShared,
    Truncate,
)
from recipes.core.zab.absentees import Absentees
from recipes.core.zab.election import Election
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.promises import LatePromises
from recipes.core.zab.stages import Event as StageEvent

_FIRST_PAUSE_MS: Final = 50


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """What recovery found on the disk.

    history: the last entries of the log, behind base_zxid. unsure: the log cannot be relied on, so that this server
    must neither lead nor vote until a leader has sent it the whole tree. may_cut: unless the others make no quorum;
    then the log is cut behind history.
    """

    accepted_epoch: int = 0
    current_epoch: int = 0
    base_zxid: int = 0
    history: list[Entry] = field(default_factory=list)
    unsure: bool = False
    may_cut: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)
class ZabPeer:
    """One server's part in the replication. now_ms: a clock that never goes back."""

    election_class: ClassVar[type[Election]] = Election
    leader_class: ClassVar[type[Leader]] = Leader
    learner_class: ClassVar[type[Learner]] = Learner

    def __init__(self, settings: ReplicaSettings, recovered: RecoveredState, now_ms: int) -> None:
        self.settings = settings
        self.now_ms: int = now_ms
        self.turn: int = 0
        self.accepted_epoch: int = recovered.accepted_epoch
        self.current_epoch: int = recovered.current_epoch
        self.history: History = History(-1) if recovered.unsure else History(recovered.base_zxid, recovered.history)
        self.flushed_zxid: int = self.history.last_zxid
        self.committed_zxid: int = self.history.last_zxid
        self.applied_zxid: int = self.history.last_zxid
        self.role: str = "looking"
        self.serving: bool = False
        self.epoch: int = recovered.current_epoch
        self.why_looking: str = "it has just started"
        self.leader: Leader | None = None
        self.learner: Learner | None = None
        self.diffs_sent: int = 0  # for operators
        self.secret: bytes = settings.secret
        self.late_promises: LatePromises = LatePromises(settings.tick_ms)
        self._full = False
        # Its log where it may be cut, and the voters without a vote that it has heard.
        self._spare = History(recovered.base_zxid, recovered.history) if recovered.may_cut else None
        self._voteless = {settings.sid}
        self._turned_away = 0  # leaders in a row that this server could not join
        self._look_at_ms: int | None = None  # where it waits before it looks for a leader
        self._election = self.election_class(settings.sid, settings.membership, settings.observer)
        self._operations: deque[tuple[Operation, Leader | Learner | None, StageEvent | None]] = deque()
        self._awaiting = AwaitingCommit()
        self._outbox = Outbox()
        self._next_key = 0
        self._foreign: set[int] = set()  # servers of another protocol, which were named in the log
        self._look_when_drained()
        self._cut_if_needed()

    @property
    def _phase(self) -> Leader | Learner | None:
        return self.leader or self.learner

    def vote_silently(self) -> None:
        """Answer no worse vote of the same round, as ZooKeeper does: the laboratory compares the two."""
        self._election.answers_worse = False

    # What the shell calls.

    def begin_turn(self, now_ms: int) -> None:
        """Set the time, once per turn."""
        self.now_ms = now_ms
        self.turn += 1

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is wanted next, whatever else happens."""
        phase = self._phase
        if phase is not None:
            return phase.deadline_ms
        return self._election.deadline_ms if self._look_at_ms is None else self._look_at_ms

    def tick(self) -> None:
        """Do what is due."""
        phase = self._phase
        if phase is not None:
            phase.tick()
        else:
            if self._look_at_ms is not None and self.now_ms >= self._look_at_ms:
                self._look_at_ms = None
                self._look_when_drained()
            self._election.tick(self.now_ms)
            self._follow_election()

    @property
    def listening(self) -> bool:
        """Whether learners may connect to the quorum port."""
        return self.leader is not None

    def accept(self) -> Link[Packet] | None:
        """A server has connected to the quorum port; None: hang up."""
        return None if self.leader is None else self.leader.accept()

    def dialled(self, sid: int) -> Link[Packet] | None:
        """The connection asked for is up; None: it is not wanted any more, hang up."""
        return None if self.learner is None else self.learner.dialled(sid)

    def dial_failed(self, sid: int) -> None:
        """The connection asked for cannot be made."""
        if self.learner is not None:
            self.learner.dial_failed(sid)

    def notified(self, sid: int, note: Notification) -> None:
        """A notification has come over the election port."""
        if note.state == OTHER_PROTOCOL:
            if sid not in self._foreign:
                self._foreign.add(sid)
                self.note(
                    f"server {sid} runs another protocol than zab: set protocol= to the same value on all servers"
                )
            return
        self._election.receive(sid, note, self.now_ms)
        if note.state == LOOKING:
            self.late_promises.looks(sid)
            (self._voteless.add if note.zxid == -1 else self._voteless.discard)(sid)
            self._cut_if_needed()
        if self.leader is not None and not self.serving and not self._absentees.leave_quorum(sid, note, self.now_ms):
            self.look("a quorum looks for another leader")
        self._follow_election()

    def unreachable(self, sid: int, is_unreachable: bool) -> None:
        """Whether the election port of another server cannot be reached at all."""
        self._election.unreachable(sid, is_unreachable)
        self._follow_election()

    def take_outbox(self) -> Outbox:
        """What has been decided for the network since the last call."""
        if self.leader is not None:
            self.leader.flush()
        outbox, self._outbox = self._outbox, Outbox()
        outbox.votes = self._election.take_votes()
        for link in outbox.touched:
            link.touched = False
        return outbox

    def status(self) -> ReplicaStatus:
        """Figures for operators."""
        leader, learner, last_zxid = self.leader, self.learner, self.history.last_zxid
        if leader is not None:
            learners = [LearnerStatus(each.sid, each.voter, each.observer) for each in leader.synced()]
            stage = "broadcast" if self.serving else "synchronization"
            return ReplicaStatus(stage, last_zxid, self.settings.sid, learners, leader.pending_syncs, self.diffs_sent)
        stage, leads = "election", None
        if learner is not None:
            stage, leads = "broadcast" if self.serving else "synchronization", learner.leader_sid
        return ReplicaStatus(stage, last_zxid, leads, diffs_sent=self.diffs_sent)

    # What the Member calls.

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Hand `token` back once everything committed by now has been handed over."""
        if self.leader is not None:
            self.leader.sync(None, token)
        elif self.learner is not None:
            self.learner.sync(token, session_id, cxid, body, ids)

    def in_touch(self, timeout_ms: int) -> bool:
        """Whether the leader, or a quorum, was heard from so recently that a session with this timeout which is kept
        alive at this server cannot have ended elsewhere.

        A leader ends a session of timeout T when no learner has reported it for T. A learner reports its sessions in
        its answer to each ping, twice a tick. Say that a learner is cut off, and last heard its leader at t_heard:

        1. Its last answer that surely arrived was sent at t_answer >= t_heard - tick/2.
        2. Clients ping every T/3, so this answer reports a client heard at t_client >= t_answer - T/3.
        3. So the session lives until t_client + T >= t_heard - tick/2 + 2T/3.
        4. The learner answers the client's pings until t_heard + T/2 - tick/3, which is (T - tick)/6 earlier. That
           margin is for delays, and for clients that ping a little late.

        For a leader the limit is safe too: the next leader gives every session its whole T. If only packets from the
        learner are lost, the leader's pings still arrive; the learner notices when the leader hangs up.

        Pings come every half tick, so a limit below 2/3 tick would hang up on healthy clients. For sessions shorter
        than two ticks, which only a minSessionTimeout set by hand allows, the limit is 2/3 tick and guarantees nothing.
        """
        phase, tick_ms = self._phase, self.settings.tick_ms
        limit_ms = max(timeout_ms // 2 - tick_ms // 3, 2 * tick_ms // 3)
        return phase is not None and self.now_ms - phase.quorum_heard_ms() <= limit_ms

    def remember(self, most_bytes: int) -> int:
        """Keep no more than this of the log's end for learners that lack it; how much is kept."""
        return self.history.keep_bytes(most_bytes, self.applied_zxid)

    def no_space(self, full: bool) -> None:
        """Take no part while the disk has no room: the other servers can go on without this one."""
        self._full = full
        if full:
            self.look("there is no space on the disk")
        else:
            self._look_when_drained()

    def flushed(self, zxid: int) -> None:
        """Every entry up to `zxid` is on this server's disk."""
        invariant(self.flushed_zxid <= zxid <= self.history.last_zxid, "flushed what was never written")
        self.flushed_zxid = zxid
        phase = self._phase
        if phase is not None:
            phase.flushed(zxid)
            self.release()
        else:
            self._look_when_drained()

    def written(self, operation: Operation, last_zxid: int) -> None:
        """The operation is on disk. last_zxid: where the log then ends; -1 where it could not be truncated."""
        first, phase, event = self._operations.popleft()
        invariant(first is operation, "operations are done out of order")
        if isinstance(operation, Cell):
            if operation.name == ACCEPTED_EPOCH:
                self.accepted_epoch = int(operation.value)
            elif operation.name == CURRENT_EPOCH:
                self.current_epoch = int(operation.value)
        elif last_zxid != operation.zxid:
            self.history.reset(-1)
            self._restart_from(-1)
            self.look("the log cannot be cut where the leader wants it cut")
        if event is not None and phase is not None and phase is self._phase:
            phase.happened(event)
        self._look_when_drained()

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""
        awaiting = self._awaiting
        ready, awaiting.ready = awaiting.ready, Ready()
        return ready

    # What the phases call.

    def new_link(
        self, handle: Callable[[Link[Packet], Packet], None], gone: Callable[[Link[Packet]], None], takes_dumps: bool
    ) -> Link[Packet]:
        """A new link of this peer. takes_dumps: the other end is its leader, which may send dumps."""
        self._next_key += 1
        reader = PacketReader(self.settings.max_packet_bytes, takes_dumps)
        return Link(self, self._next_key, reader, handle, gone)

    def touch_link(self, link: Link[Packet]) -> None:
        """The link has something for the shell."""
        if not link.touched and not link.closed:
            link.touched = True
            self._outbox.touched.append(link)

    def dial(self, sid: int) -> None:
        """Ask for a connection."""
        self._outbox.dial = sid

    def note(self, text: str) -> None:
        """Have `text` logged, for an operator."""
        self._outbox.notes.append(text)

    def tell(self, event: Event) -> None:
        """Pass an event to the Member."""
        self._awaiting.ready.events.append(event)

    def append(self, entry: Entry) -> None:
        """Write an entry to the log."""
        self.history.append(entry)
        self._awaiting.append(entry)

    def carry_out(self, operation: Operation, event: StageEvent | None = None) -> None:
        """Queue an operation behind all writes so far. event: for the leader or learner of now,
        once the operation is done, unless that role has ended."""
        self._operations.append((operation, self._phase, event))
        self._awaiting.ready.writes.append(operation)
        if isinstance(operation, Truncate):
            self.history.truncate(operation.zxid)
            self._restart_from(operation.zxid)
        elif isinstance(operation, InstallSnapshot):
            self._spare = None
            self.history.reset(operation.zxid)
            self._restart_from(operation.zxid)

    def share_secret(self, secret: bytes) -> None:
        """Use the secret that the members share. It is on disk before anything that is written behind it."""
        if secret != self.secret:
            self.secret = secret
            self.carry_out(Cell(SECRET_CELL, secret))
            self.tell(SecretShared(secret))

    def commit(self, zxid: int) -> None:
        """Everything up to `zxid` is committed: a quorum has it, or this server's own epoch begins with it."""
        self.committed_zxid = zxid
        self.release()

    def synced(self, token: object) -> None:
        """Hand `token` back once everything committed so far has been handed over."""
        self._awaiting.sync(self.committed_zxid, token)
        self.release()

    def release(self) -> None:
        """Hand over what is committed and on this server's disk."""
        awaiting, up_to = self._awaiting, min(self.committed_zxid, self.flushed_zxid)
        if up_to > self.applied_zxid or awaiting.syncs:
            self.applied_zxid = awaiting.release(up_to, self.applied_zxid)
            self.history.forget(self.applied_zxid)

    def serve(self, epoch: int) -> None:
        """The leader is established: clients may be served."""
        self.epoch = epoch
        self.role = "leader" if self.leader else "observer" if self.settings.observer else "follower"
        self.serving = True
        self._turned_away = 0
        self._election.established(epoch)
        self.tell(RoleChanged(True))

    def look(self, why: str) -> None:
        """Give up leading or following, and look for a leader once everything is on disk."""
        self.why_looking = why
        phase = self._phase
        self.leader = self.learner = None
        if phase is not None:
            phase.end(why)
        self._election.leave()
        if self.serving:
            self.serving = False
            self.tell(RoleChanged(False))
        self.role = "looking"
        self._awaiting.drop_syncs()
        self._look_when_drained()

    def turned_away(self, why: str) -> None:
        """Look for another leader than one that this server cannot join; the more of them in a row, the later."""
        if self._turned_away:
            self._look_at_ms = self.now_ms + min(
                _FIRST_PAUSE_MS << min(self._turned_away - 1, 8), self.settings.tick_ms
            )
        self._turned_away += 1
        self.look(why)

    # Inside.

    def _cut_if_needed(self) -> None:
        """Cut the end of a log that cannot be relied on, where those with a vote are no quorum.

        All of them may have lost power at once: then a record that looks rotten was torn, and nobody has acknowledged
        it.
        """
        spare, membership = self._spare, self.settings.membership
        if spare is None or self._phase is not None or self.settings.observer:
            return
        if not membership.is_quorum([voter for voter in membership.voters if voter not in self._voteless]):
            self._spare = None
            self.note(
                f"the log is cut behind 0x{spare.last_zxid:x}, and this server votes: the servers whose logs are whole "
                "are no quorum; had the record behind it been acknowledged, it is lost"
            )
            self._election.leave()
            self.history = spare
            self.carry_out(Truncate(spare.last_zxid))

    def _look_when_drained(self) -> None:
        if self._phase is not None or self._look_at_ms is not None or self._full or self._operations:
            return
        if self._election.state == LOOKING:
            return
        if self.flushed_zxid == self.history.last_zxid:
            self._election.look(self.history.last_zxid, self.current_epoch, self.now_ms)
            self._follow_election()

    def _follow_election(self) -> None:
        election = self._election
        if self._phase is not None or election.vote is None:
            return
        if election.state == LEADING:
            settings = self.settings
            self._absentees = Absentees(
                settings.sid, settings.membership, election.vote.round, self.now_ms, settings.tick_ms
            )
            self.leader = self.leader_class(self)
            self.leader.begin()
        else:
            self.learner = self.learner_class(self, election.vote.leader)

    def _restart_from(self, zxid: int) -> None:
        """Start again with the tree as it is at `zxid`."""
        self._awaiting.restart()
        self.flushed_zxid = self.committed_zxid = self.applied_zxid = zxid
