"""A server of an ensemble that one server leads, as a Replica: it looks for a leader, then leads or follows.

A SharedPeer keeps what outlives a leadership: the log, what is on disk, what has been handed over as committed, and the
operations under way. What it elects by, and what counts as committed, is the affair of each protocol: of its Election,
Leader and Follower, which are subclasses of the shared ones in this room. Nothing that a peer says depends on a value
or an entry that its disk does not have.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.core.awaiting_commit import AwaitingCommit
from recipes.core.errors import WireError, invariant
from recipes.core.history import History
from recipes.core.jute.records import Ids
from recipes.core.jute.votes import Notification
from recipes.core.link import Link
from recipes.core.outbox import Outbox
from recipes.core.quorum import Membership
from recipes.core.replicas.ballots import TERMS_AHEAD, Ballot, ensemble_id, from_notification, to_notification
from recipes.core.replicas.terms import term_cell
from recipes.core.replicas.wire import Dialect, Message, MessageReader
from recipes.core.replication import (
    Cell,
    Entry,
    Event,
    InstallSnapshot,
    LearnerStatus,
    Operation,
    Ready,
    Recovered,
    ReplicaSettings,
    ReplicaStatus,
    RoleChanged,
    Truncate,
)

if TYPE_CHECKING:
    from recipes.core.replicas.election import SharedElection
    from recipes.core.replicas.follower import SharedFollower
    from recipes.core.replicas.leader import SharedLeader


class SharedPeer:
    """One server's part in the replication. now_ms: a clock that never goes back."""

    dialect: Dialect  # of its messages

    def __init__(self, settings: ReplicaSettings, found: Recovered, term: int, now_ms: int) -> None:
        """term: the last one that this server has taken part in, as its disk says."""
        invariant(not settings.membership.has_groups, f"{self.dialect.protocol} counts voters, without weights")
        self.settings = settings
        self.ensemble: int = self._ensemble(settings.membership)
        self.now_ms: int = now_ms
        self.turn: int = 0
        self.term: int = term
        self.history: History = History(-1) if found.unsure else History(found.base_zxid, found.history)
        self.flushed_zxid: int = self.history.last_zxid
        self.committed_zxid: int = -1 if found.unsure else found.applied_zxid
        self.applied_zxid: int = self.committed_zxid
        self.role: str = "looking"
        self.serving: bool = False
        self.epoch: int = self.term
        self.why_looking: str = "it has just started"
        self.leader: SharedLeader | None = None
        self.follower: SharedFollower | None = None
        self.full: bool = False
        self._operations: deque[tuple[Operation, list[Callable[[], None]]]] = deque()
        self._replacing = 0  # operations under way that replace the log or its end
        self._awaiting = AwaitingCommit(self.history.behind(self.applied_zxid))
        self._outbox = Outbox()
        self._noted: set[tuple[int, str]] = set()
        self._next_key = 0
        self._config = settings.membership.config_text()
        self._election: SharedElection = self._new_election()

    # What a protocol adds.

    @property
    def abstains(self) -> bool:
        """Whether this server may have forgotten what it has said in some term: then it elects nobody."""
        return False

    def vote_again(self) -> None:
        """It knows of every term in which it may have said something: from the next one on it takes part again."""

    @property
    def most_term(self) -> int:
        """The latest term of another server that is believed."""
        return self.term + TERMS_AHEAD

    def _ensemble(self, membership: Membership) -> int:
        return ensemble_id(membership, self.dialect.protocol)

    def _new_election(self) -> "SharedElection":
        raise NotImplementedError

    def _new_follower(self, sid: int) -> "SharedFollower":
        raise NotImplementedError

    @property
    def _phase(self) -> "SharedLeader | SharedFollower | None":
        return self.leader or self.follower

    @property
    def silence_ms(self) -> int:
        """After so long a silence a server gives up its leader, and a leader its followers."""
        return self.settings.tick_ms * self.settings.sync_limit

    # What the shell calls.

    def begin_turn(self, now_ms: int) -> None:
        """Set the time, once per turn."""
        self.now_ms = now_ms
        self.turn += 1

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is wanted next, whatever else happens."""
        phase = self._phase
        mine, theirs = self._election.deadline_ms, None if phase is None else phase.deadline_ms
        return theirs if mine is None else mine if theirs is None else min(mine, theirs)

    def tick(self) -> None:
        """Do what is due."""
        phase = self._phase
        if phase is not None:
            phase.tick()
        self._election.tick()

    @property
    def listening(self) -> bool:
        """Whether followers may connect to the quorum port."""
        return self.leader is not None

    def accept(self) -> Link[Message] | None:
        """A server has connected to the quorum port; None: hang up."""
        return None if self.leader is None else self.leader.accept()

    def dialled(self, sid: int) -> Link[Message] | None:
        """The connection asked for is up; None: it is not wanted any more, hang up."""
        return None if self.follower is None else self.follower.dialled(sid)

    def dial_failed(self, sid: int) -> None:
        """The connection asked for cannot be made."""
        if self.follower is not None:
            self.follower.dial_failed(sid)

    def notified(self, sid: int, note: Notification) -> None:
        """A notification has come over the election port."""
        if sid == self.settings.sid or sid not in self.settings.membership.servers:
            return
        ballot = from_notification(note, self.ensemble, self.dialect.protocol)
        if isinstance(ballot, str):
            self.note_once(sid, f"server {sid} {ballot}")
        elif ballot.term > self.most_term:
            self.note_once(sid, f"server {sid} is in term {ballot.term}: expected {self.most_term} at most")
        else:
            self._election.receive(sid, ballot)

    def unreachable(self, sid: int, is_unreachable: bool) -> None:
        """Nobody waits for one server in particular."""

    def take_outbox(self) -> Outbox:
        """What has been decided for the network since the last call."""
        if self.leader is not None:
            self.leader.flush()
        outbox, self._outbox = self._outbox, Outbox()
        for link in outbox.touched:
            link.touched = False
        return outbox

    def status(self) -> ReplicaStatus:
        """Figures for operators."""
        leader, follower, last_zxid = self.leader, self.follower, self.history.last_zxid
        if leader is not None:
            voters = self.settings.membership.voters
            joined = [LearnerStatus(each.sid, each.sid in voters, each.sid not in voters) for each in leader.joined()]
            stage = "broadcast" if self.serving else "synchronization"
            return ReplicaStatus(stage, last_zxid, self.settings.sid, joined, leader.pending_syncs)
        if follower is not None:
            return ReplicaStatus("broadcast" if self.serving else "synchronization", last_zxid, follower.leader_sid)
        return ReplicaStatus("election", last_zxid)

    # What the Member calls.

    @property
    def learner(self) -> "SharedFollower | None":
        """What the Member calls on a server that follows; None while it is connected to no leader."""
        return self.follower if self.follower is not None and self.follower.connected else None

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Hand `token` back once everything committed by now has been handed over."""
        if self.leader is not None:
            self.leader.sync(None, token)
        elif self.follower is not None:
            self.follower.sync(token, session_id, cxid, body, ids)

    def in_touch(self, timeout_ms: int) -> bool:
        """Whether the leader, or a quorum, was heard from so recently that a session with this timeout which is kept
        alive at this server cannot have ended elsewhere.

        A leader asks for a sign of life twice a tick, and gets the sessions that were heard from with the answer. From
        this the limit follows, as `ZabPeer.in_touch` derives it.
        """
        phase, tick_ms = self._phase, self.settings.tick_ms
        limit_ms = max(timeout_ms // 2 - tick_ms // 3, 2 * tick_ms // 3)
        return phase is not None and self.now_ms - phase.quorum_heard_ms() <= limit_ms

    def remember(self, most_bytes: int) -> int:
        """Keep no more than this of the log's end for learners that lack it; how much is kept."""
        return self.history.keep_bytes(most_bytes, self.applied_zxid)

    def no_space(self, full: bool) -> None:
        """Take no part while the disk has no room: the other servers can go on without this one."""
        self.full = full
        if full:
            self.look("there is no space on the disk")
        self._election.rest()

    def flushed(self, zxid: int) -> None:
        """Every entry up to `zxid` is on this server's disk."""
        if self._replacing:
            return  # some of what was written goes again
        invariant(self.flushed_zxid <= zxid <= self.history.last_zxid, "flushed what was never written")
        self.flushed_zxid = zxid
        phase = self._phase
        if phase is not None:
            phase.flushed(zxid)
        self.release()
        self._election.drained()

    def written(self, operation: Operation, last_zxid: int) -> None:
        """The operation is on disk. last_zxid: where the log then ends, if the whole tree was replaced."""
        first, actions = self._operations.popleft()
        invariant(first is operation, "operations are done out of order")
        if not isinstance(operation, Cell):
            self._replacing -= 1
            if isinstance(operation, InstallSnapshot):
                self.applied_zxid = operation.zxid
            if not self._replacing:
                self.flushed_zxid = operation.zxid
            phase = self._phase
            if phase is not None:
                phase.flushed(self.flushed_zxid)
            self.release()
        for action in actions:
            action()
        self._election.drained()

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""
        awaiting = self._awaiting
        ready, awaiting.ready = awaiting.ready, Ready()
        return ready

    # What leader, follower and election call.

    @property
    def is_drained(self) -> bool:
        """Whether everything that this server has decided to write is on its disk."""
        return not self._operations and self.flushed_zxid == self.history.last_zxid

    @property
    def is_unsure(self) -> bool:
        """Whether the log cannot be relied on, or is just being replaced."""
        return self.history.last_zxid == -1 or self._replacing > 0

    def new_link(
        self, handle: Callable[[Link[Message], Message], None], gone: Callable[[Link[Message]], None]
    ) -> Link[Message]:
        """A new link of this peer."""
        self._next_key += 1
        return Link(self, self._next_key, MessageReader(self.dialect, self.settings.max_packet_bytes), handle, gone)

    def touch_link(self, link: Link[Message]) -> None:
        """The link has something for the shell."""
        if not link.touched and not link.closed:
            link.touched = True
            self._outbox.touched.append(link)

    def dial(self, sid: int) -> None:
        """Ask for a connection."""
        self._outbox.dial = sid

    def say(self, sid: int, ballot: Ballot) -> None:
        """Send a ballot."""
        self._outbox.votes.append((sid, to_notification(ballot, self.ensemble, self._config)))

    def note(self, text: str) -> None:
        """Have `text` logged, for an operator."""
        self._outbox.notes.append(text)

    def note_once(self, sid: int, text: str) -> None:
        """Have a text about another server logged, unless it was before."""
        if (sid, text) not in self._noted and len(self._noted) < 100:
            self._noted.add((sid, text))
            self.note(text)

    def tell(self, event: Event) -> None:
        """Pass an event to the Member."""
        self._awaiting.ready.events.append(event)

    def append(self, entry: Entry) -> None:
        """Write an entry to the log."""
        self.history.append(entry)
        self._awaiting.append(entry)

    def cut(self, zxid: int) -> None:
        """Delete everything behind `zxid` from the log. Raises WireError if something there is committed."""
        if zxid < self.committed_zxid:
            raise WireError(f"its log differs from this one at 0x{zxid:x}: committed up to 0x{self.committed_zxid:x}")
        self._carry_out(Truncate(zxid))
        self._replacing += 1
        self.history.truncate(zxid)
        self.flushed_zxid = min(self.flushed_zxid, zxid)
        self._awaiting.cut(zxid)

    def install(self, zxid: int, body: bytes) -> None:
        """Replace log and tree by a leader's snapshot."""
        if zxid < self.committed_zxid:
            raise WireError(f"a snapshot of 0x{zxid:x}: committed up to 0x{self.committed_zxid:x}")
        self._carry_out(InstallSnapshot(zxid, body))
        self._replacing += 1
        self.history.reset(zxid)
        self._awaiting.restart()
        self.committed_zxid = zxid
        self.flushed_zxid = self.applied_zxid = 0  # until the snapshot is on disk

    def adopt(self, term: int, why: str) -> None:
        """Enter a later term: what was said in the earlier one is void."""
        invariant(term > self.term, "a term never goes back")
        self.look(why)
        self.term = term
        self._carry_out(term_cell(term))
        self._election.rest()

    def heard_term(self, sid: int, term: int) -> None:
        """A voter is in this term."""
        self._election.heard_term(sid, term)

    def when_durable(self, action: Callable[[], None]) -> None:
        """Do this once every cell decided so far is on disk; at once if they are."""
        if self._operations:
            self._operations[-1][1].append(action)
        else:
            action()

    def follow(self, sid: int) -> None:
        """A server leads this term."""
        follower = self.follower
        if follower is None or follower.leader_sid != sid:
            self.look(f"server {sid} leads term {self.term}")
            self._election.stop()
            self.follower = self._new_follower(sid)
            self.when_durable(self.follower.dial)
        else:
            self.when_durable(follower.dial)

    def commit(self, zxid: int) -> None:
        """Everything up to `zxid` is committed."""
        invariant(zxid >= self.committed_zxid, "what is committed stays so")
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
        if not self.serving and self._phase is not None:
            self._phase.applied(self.applied_zxid)

    def serve(self) -> None:
        """Clients may be served."""
        self.epoch = self.term
        self.role = "leader" if self.leader else "observer" if self.settings.observer else "follower"
        self.serving = True
        self._election.succeeded()
        self.tell(RoleChanged(True))

    def look(self, why: str) -> None:
        """Give up leading or following, and look for a leader."""
        phase = self._phase
        self.leader = self.follower = None
        if phase is None:
            return
        self.why_looking = why
        phase.end()
        if self.serving:
            self.serving = False
            self.tell(RoleChanged(False))
        self.role = "looking"
        self._awaiting.drop_syncs()
        self._election.rest()

    # Inside.

    def _carry_out(self, operation: Operation) -> None:
        self._operations.append((operation, []))
        self._awaiting.ready.writes.append(operation)
