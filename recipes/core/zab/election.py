"""Phase 0, fast leader election: votes alone choose the leader.

It finds the server with the longest history among a quorum. For a moment two servers may both take themselves for the
leader; only one of them gets through discovery, which needs a quorum of its own.
Source: FastLeaderElection.java, Vote.java.
"""

from typing import NamedTuple

from recipes.core.errors import InvariantBroken
from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, MIN_ZXID, OBSERVING, Notification
from recipes.core.quorum import Membership

IDLE = -1  # neither looking nor decided: sends nothing

RESEND_MS = 200
# ZooKeeper doubles the time between notifications up to a minute, and a server that missed one waits that long for the
# next. A packet per peer every few seconds costs nothing.
LONGEST_RESEND_MS = 3200
UNREACHABLE_WAIT_MS = 20
_LAST_ROUND = 2**63 - 1  # no round follows this one: a server that claims it pulls all others into it


class Vote(NamedTuple):
    """The fields of a notification that make up the vote: the candidate, and why it should lead.

    zxid, peer_epoch: last zxid and current epoch of `leader` when the election was held; later its new epoch.
    """

    leader: int
    zxid: int
    round: int
    peer_epoch: int


NO_VOTE = Vote(MIN_ZXID, MIN_ZXID, 0, MIN_ZXID)  # of an observer


class Election:
    """One server's part in the elections of an ensemble.

    sid: of this server. observer: it only looks for a leader.
    finalize_wait_ms: how long a vote that has a quorum waits for a better one, unless every voter has been heard.
    answers_worse: who votes worse in the same round is sent this server's vote. ZooKeeper only files such a vote.
    """

    def __init__(
        self, sid: int, membership: Membership, observer: bool = False, finalize_wait_ms: int = RESEND_MS
    ) -> None:
        self.state: int = IDLE  # or LOOKING, FOLLOWING, LEADING, OBSERVING
        self.vote: Vote | None = None  # the one decided on, unless LOOKING
        self.answers_worse: bool = True
        self._sid = sid
        self._membership = membership
        self._config = membership.config_text()
        self._observer = observer
        self._finalize_wait_ms = finalize_wait_ms
        self._unreachable: set[int] = set()
        self._round = 0
        self._takes_part = False  # its vote counts and it counts others': it has a history, and is no observer
        self._initial = self._proposal = NO_VOTE
        self._votes: dict[int, Notification] = {}  # voter -> what it said last, in this round
        self._heard: set[int] = set()  # voters whose votes in this round are in, or that do not vote
        self._established: dict[int, Notification] = {}  # voter -> what it said when it was last not LOOKING, any round
        self._quorum_since_ms: int | None = None  # since when a quorum votes as this server does
        self._resend_ms = RESEND_MS
        self._resend_at_ms = 0
        self._out: list[tuple[int, Notification]] = []

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is wanted; None when nothing is under way. An input can bring it forward."""
        if self.state != LOOKING:
            return None
        if self._quorum_since_ms is None:
            return self._resend_at_ms
        return min(self._resend_at_ms, self._quorum_since_ms + self._wait_ms())

    def leave(self) -> None:
        """Stop following or leading. Send nothing until `look`: entries may still be on their way to the disk."""
        self.state, self.vote = IDLE, None
        self._votes, self._established = {}, {}

    def look(self, last_zxid: int, current_epoch: int, now_ms: int) -> None:
        """Start a round.

        last_zxid: of the last entry in the log, committed or not; -1 for a database that cannot be used. This server
            then neither votes nor leads, but follows the leader of the others.
        """
        early = {} if self.state != IDLE else self._votes
        self.state, self.vote = LOOKING, None
        self._takes_part = not self._observer and last_zxid != -1
        self._initial = NO_VOTE if self._observer else Vote(self._sid, last_zxid, 0, current_epoch)
        self._established = {}
        self._resend_ms = RESEND_MS
        self._resend_at_ms = now_ms + RESEND_MS
        self._begin_round(min(self._round + 1, _LAST_ROUND), self._initial)
        self._settle(now_ms)
        for sender, note in early.items():
            self.receive(sender, note, now_ms)

    def receive(self, sender: int, note: Notification, now_ms: int) -> None:
        """A notification from another server, in any state."""
        if sender == self._sid or sender not in self._membership.servers:
            return
        if self.state == IDLE:
            self._votes[sender] = note  # for `look`, so that nobody has to send it again
        elif self.state != LOOKING or sender not in self._membership.voters:
            if note.state == LOOKING and (self.state != LOOKING or self._takes_part):
                self._send(sender)
        elif note.leader in self._membership.voters:
            if note.state == LOOKING:
                self._looking(sender, note)
            elif note.state != OBSERVING:
                self._decided_elsewhere(sender, note)
            if self.state == LOOKING:
                self._settle(now_ms)

    def unreachable(self, sid: int, is_unreachable: bool) -> None:
        """Note whether `sid` can be reached. This server waits only briefly for the vote of a server that cannot.

        That is safe: an election is right because a quorum voted, however long it waited. A better vote that comes too
        late loses, as it does after any wait.
        """
        (self._unreachable.add if is_unreachable else self._unreachable.discard)(sid)

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        if self.state != LOOKING:
            return
        self._settle(now_ms)
        if self.state == LOOKING and now_ms >= self._resend_at_ms:
            self._resend_ms = min(2 * self._resend_ms, LONGEST_RESEND_MS)
            self._resend_at_ms = now_ms + self._resend_ms
            self._send(*self._membership.voters)

    def established(self, epoch: int) -> None:
        """The chosen leader serves in this epoch. Servers that join late are told it; all must be told the same one."""
        if self.vote is None:
            raise InvariantBroken("an epoch was established without an election")
        self.vote = self.vote._replace(peer_epoch=epoch)

    def take_votes(self) -> list[tuple[int, Notification]]:
        """(server, notification) pairs to send, in order. Of several to one server only the last matters."""
        out, self._out = self._out, []
        return out

    def _begin_round(self, number: int, proposal: Vote) -> None:
        self._round = number
        self._votes, self._heard = {}, {self._sid}
        self._propose(proposal._replace(round=number))

    def _propose(self, vote: Vote) -> None:
        self._proposal = vote
        self._quorum_since_ms = None
        if self._takes_part:
            self._votes[self._sid] = self._note()
        self._send(*self._membership.voters)

    def _looking(self, sender: int, note: Notification) -> None:
        self._established.pop(sender, None)
        if note.zxid == -1:
            self._heard.add(sender)
        elif self._takes_part:
            vote = Vote(*note[1:5])
            if vote.round > self._round:
                self._begin_round(vote.round, max(self._initial, vote, key=self._rank))
            elif vote.round < self._round:
                self._send(sender)
                return
            elif self._rank(vote) > self._rank(self._proposal):
                self._propose(vote)
            elif self.answers_worse and self._rank(vote) < self._rank(self._proposal):
                self._send(sender)  # it does not have our vote yet, and if that was lost, would wait for the next
            self._votes[sender] = note
            self._heard.add(sender)

    def _decided_elsewhere(self, sender: int, note: Notification) -> None:
        if note.round == self._round:
            self._votes[sender] = note
            if note[1:5] == self._proposal:  # else it has decided on a leader whose vote may still be on its way
                self._heard.add(sender)
            agreed = [
                sid
                for sid, held in self._votes.items()
                # In one round all votes for a leader are alike, until the new epoch takes the place of peer_epoch.
                if (held[1:5] == note[1:5] if held.state == LOOKING else held.leader == note.leader)
            ]
            if self._membership.is_quorum(agreed) and self._leader_agrees(self._votes, note):
                self._decide(Vote(*note[1:5]))
                return
        self._established[sender] = note
        # Servers that joined late have other rounds and zxids in their votes, but the same leader and epoch.
        same = [
            sid
            for sid, held in self._established.items()
            if held.leader == note.leader and held.peer_epoch == note.peer_epoch
        ]
        if self._membership.is_quorum(same) and self._leader_agrees(self._established, note):
            self._decide(Vote(*note[1:5]))

    def _leader_agrees(self, votes: dict[int, Notification], note: Notification) -> bool:
        """Whether the leader itself agrees.

        Without this check, servers that have not noticed that a leader died would elect it again and again.
        """
        if note.leader == self._sid:
            return self._takes_part and note.round == self._round
        leader = votes.get(note.leader)
        return leader is not None and leader.state == LEADING

    def _settle(self, now_ms: int) -> None:
        """Decide, once a quorum has voted as this server does and the wait for better votes is over."""
        same = [sid for sid, held in self._votes.items() if held[1:5] == self._proposal]
        if not self._takes_part or not self._membership.is_quorum(same):
            self._quorum_since_ms = None
            return
        if self._quorum_since_ms is None:
            self._quorum_since_ms = now_ms
        if now_ms >= self._quorum_since_ms + self._wait_ms():
            self._decide(self._proposal)

    def _wait_ms(self) -> int:
        missing = [sid for sid in self._membership.voters if sid not in self._heard]
        if not missing:
            return 0
        return min(UNREACHABLE_WAIT_MS if self._unreachable.issuperset(missing) else RESEND_MS, self._finalize_wait_ms)

    def _decide(self, vote: Vote) -> None:
        self.vote = vote
        self._round = vote.round
        self.state = LEADING if vote.leader == self._sid else OBSERVING if self._observer else FOLLOWING
        self._votes, self._established = {}, {}
        if not self._observer:
            # Nobody has asked, but this ends the wait of servers that wait for better votes, tells the observers, and
            # a connection made later begins with it instead of with an outdated vote.
            self._send(*self._membership.servers)

    def _rank(self, vote: Vote) -> tuple[bool, int, int, int]:
        """The better history ranks higher, the sid breaks the tie; a server without weight is never voted for."""
        return self._membership.weight(vote.leader) > 0, vote.peer_epoch, vote.zxid, vote.leader

    def _note(self) -> Notification:
        return Notification(self.state, *(self.vote or self._proposal), self._config)

    def _send(self, *sids: int) -> None:
        note = self._note()
        self._out += [(sid, note) for sid in sids if sid != self._sid]
