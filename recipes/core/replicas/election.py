"""Finds a leader: who asks, who says yes, and who waits. Each protocol adds how a server stands, and what it answers.

Before a server stands it asks whether the others hear a leader (pre-vote), so that one that was cut off does not depose
a working leader when it comes back. stages.py has the stages. A server that rests follows, leads, or waits a moment.
Source: Ongaro (2014), sections 3.4, 4.2.3, 6.4 and 9.6.
"""

from struct import Struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.stages import ElectionStage

if TYPE_CHECKING:
    from recipes.core.replicas.peer import SharedPeer

ASK_AGAIN_MS: Final = 200  # the shortest wait for answers; it doubles with each attempt
_MOST_DOUBLINGS: Final = 4
_FIRST_WAIT_MS: Final = 10  # the others may still be about to notice that the leader is gone
_SEED: Final = Struct(">qqq")

_RESTING: Final = ElectionStage.RESTING
_ASKING: Final = ElectionStage.ASKING


class SharedElection:
    """This server's part in elections, through all of its life."""

    asks_first: bool = True  # before it stands (pre-vote)
    checks_quorum: bool = True  # a server that hears from a leader elects no other

    def __init__(self, peer: "SharedPeer") -> None:
        self._peer = peer
        self._voters = peer.settings.membership.voters
        self.stage: ElectionStage = _RESTING
        self._granted: set[int] = set()
        self._attempts = 0
        self._at_ms: int | None = None
        self._waits_for_disk = False
        self._heard: dict[int, int] = {}  # while it abstains: voter -> the term it was last heard in

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` is wanted next."""
        return self._at_ms

    # Its own attempts.

    def rest(self) -> None:
        """Drop an attempt that is under way; begin one in a moment, unless a leader is found before."""
        peer = self._peer
        self.stage = _RESTING
        self._granted = set()
        self._at_ms = None
        self._waits_for_disk = False
        if peer.leader is None and peer.follower is None and not peer.full:
            self._at_ms = peer.now_ms + self._jitter(ASK_AGAIN_MS if self._attempts else _FIRST_WAIT_MS)

    def succeeded(self) -> None:
        """This server serves."""
        self._attempts = 0

    def stop(self) -> None:
        """A leader is found."""
        self.stage = _RESTING
        self._granted = set()
        self._waits_for_disk = False
        self._at_ms = None if not self._peer.abstains else self._peer.now_ms + ASK_AGAIN_MS

    def drained(self) -> None:
        """Something is on disk: go on, if this server waits for its disk, and all of it is there."""
        if self._waits_for_disk and self._peer.is_drained:
            self._waits_for_disk = False
            self._at_ms = self._peer.now_ms
            self.tick()

    def tick(self) -> None:
        """Begin an attempt, or the next one."""
        peer = self._peer
        if self._at_ms is None or peer.now_ms < self._at_ms or peer.full:
            return
        self._count_terms()
        if peer.leader is not None or peer.follower is not None:
            self._at_ms = None
            if peer.abstains:
                self._ask_terms()
        elif not self._may_stand():
            # It cannot be elected; the question makes a leader tell that it leads, and the others tell their term.
            self._await_answers()
            self._ask_terms()
        elif not peer.is_drained:
            self.stage = _RESTING
            self._at_ms = None
            self._waits_for_disk = True
        elif self.asks_first:
            self._choose_term()
            self.stage = _ASKING
            self._granted = {peer.settings.sid}
            self._await_answers()
            for sid in self._others():
                peer.say(sid, Ballot(Kind.ASK_EARLY, self.asks_about, peer.history.last_zxid))
            self._count_votes()
        else:
            self._stand()

    @property
    def asks_about(self) -> int:
        """The term that the one of which this server asks (pre-vote) is to follow."""
        return self._peer.term

    def _choose_term(self) -> None:
        """This server is about to ask: decide `asks_about`."""

    def _stand(self) -> None:
        """Begin a term of this server's own."""
        raise NotImplementedError

    def _count_votes(self) -> None:
        """See whether enough servers have said yes."""
        if self.stage is _ASKING and self._peer.settings.membership.is_quorum(self._granted):
            self._stand()

    def _await_answers(self) -> None:
        self._at_ms = self._peer.now_ms + self.patience_ms()

    def patience_ms(self) -> int:
        """How long to wait for answers: longer with each attempt."""
        self._attempts += 1
        least_ms = ASK_AGAIN_MS << min(self._attempts - 1, _MOST_DOUBLINGS)
        return least_ms + self._jitter(least_ms)

    def _jitter(self, most_ms: int) -> int:
        """A time from 0 to `most_ms` that differs from server to server and from attempt to attempt."""
        peer = self._peer
        return crc32(_SEED.pack(peer.settings.sid, peer.now_ms, self._attempts)) % (most_ms + 1)

    def _may_stand(self) -> bool:
        peer = self._peer
        return not (peer.settings.observer or peer.is_unsure or peer.abstains)

    def _others(self) -> list[int]:
        return [sid for sid in self._voters if sid != self._peer.settings.sid]

    # What comes from others.

    def receive(self, sid: int, ballot: Ballot) -> None:
        """A ballot from another server."""
        peer = self._peer
        if ballot.kind is not Kind.ASK_EARLY:  # its term need not be the sender's
            self._hear(sid, ballot.term)
        if peer.full:
            return
        kind, term = ballot.kind, ballot.term
        if kind is Kind.ASK_EARLY:
            self._asked_early(sid, ballot)
        elif kind is Kind.LEADS:
            self._led(sid, term)
        elif kind is Kind.GRANT_EARLY:
            if term == self.asks_about and sid in self._voters and self.stage is _ASKING:
                self._granted.add(sid)
                self._count_votes()
        else:
            self._told(sid, ballot)

    def _told(self, sid: int, ballot: Ballot) -> None:
        """A ballot of another kind."""
        raise NotImplementedError

    def _asked_early(self, sid: int, ballot: Ballot) -> None:
        peer = self._peer
        if peer.leader is not None:
            self._say_leader(sid)
        elif (
            ballot.term >= peer.term
            and sid in self._voters
            and self._may_vote()
            and self._would_do(ballot)
            and not self._hears_a_leader()
            and self._gives_way(sid, ballot)
        ):
            if self.stage is not _RESTING:
                self.rest()
                self._await_answers()
            self._grants_early(sid, ballot.term)
            peer.say(sid, Ballot(Kind.GRANT_EARLY, ballot.term))
        else:
            self._say(sid, Kind.REFUSE)

    def _grants_early(self, sid: int, term: int) -> None:
        """This server tells another one that it would vote for it in the term behind `term`."""

    def _say_leader(self, sid: int) -> None:
        """Answer a server that looks for a leader, which this one is."""
        self._say(sid, Kind.LEADS)

    def _would_do(self, ballot: Ballot) -> bool:
        """Whether the server that asks could lead, as far as its log goes."""
        return ballot.zxid >= self._peer.history.last_zxid

    def _gives_way(self, sid: int, ballot: Ballot) -> bool:
        """Of two servers that ask at once, the one whose log ends later is to stand; the sid breaks the tie."""
        peer = self._peer
        return self.stage is _RESTING or (ballot.zxid, sid) > (peer.history.last_zxid, peer.settings.sid)

    def _may_vote(self) -> bool:
        return self._may_stand()

    def _hears_a_leader(self) -> bool:
        """Whether a leader was heard from so lately that no other one is wanted. A leader: whether a quorum was."""
        peer = self._peer
        phase = peer.leader or peer.follower
        if phase is None or not self.checks_quorum:
            return False
        return phase.connected and peer.now_ms - phase.quorum_heard_ms() < peer.silence_ms

    def _led(self, sid: int, term: int) -> None:
        peer = self._peer
        if term < peer.term:
            self._say(sid, Kind.REFUSE)
            return
        if term > peer.term:
            peer.adopt(term, f"server {sid} leads term {term}")
        if peer.leader is None and sid in self._voters:
            peer.follow(sid)

    def _say(self, sid: int, kind: Kind) -> None:
        """Answer with this server's term, once that and all it stands for are on disk."""
        peer = self._peer
        term = peer.term

        def send() -> None:
            if peer.term == term and self._still(sid, kind, term):
                peer.say(sid, Ballot(kind, term))

        peer.when_durable(send)

    def _still(self, sid: int, kind: Kind, term: int) -> bool:
        """Whether an answer that waited for the disk is still true."""
        return kind is not Kind.LEADS or self._peer.leader is not None

    # A server that may have forgotten what it has said.

    def _hear(self, sid: int, term: int) -> None:
        if self._peer.abstains:
            self.heard_term(sid, term)

    def heard_term(self, sid: int, term: int) -> None:
        """A voter is in this term."""
        if sid in self._voters:
            self._heard[sid] = max(term, self._heard.get(sid, 0))
            self._count_terms()

    def _count_terms(self) -> None:
        """Vote again, from the next term on, once every other voter was heard from, and in no later term.

        A candidate that got a vote which is forgotten here stored its term before it asked. So every vote that may be
        forgotten is in a term up to this one.
        """
        peer = self._peer
        if not peer.abstains or peer.is_unsure:
            return
        if all(self._heard.get(sid, peer.term + 1) <= peer.term for sid in self._others()):
            peer.vote_again()
            peer.note(f"this server votes again, from term {peer.term + 1} on: it has heard from every other voter")

    def _ask_terms(self) -> None:
        peer = self._peer
        if peer.leader is None and peer.abstains and self._at_ms is None:
            self._at_ms = peer.now_ms + peer.settings.tick_ms
        term = peer.term

        def ask() -> None:
            if peer.term == term:
                for sid in self._others():
                    peer.say(sid, Ballot(Kind.ASK_EARLY, term, -1))

        peer.when_durable(ask)
