"""The properties that are raft's own: what a server says, compared with its disk and with what others have said."""

from collections.abc import Mapping, Sequence
from struct import Struct

from recipes.core.errors import WireError
from recipes.core.jute.votes import Notification
from recipes.core.raft.terms import Vote, stored_vote
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind, from_notification
from recipes.core.replicas.terms import TERM, stored_term
from recipes.core.replication import Cell, InstallSnapshot, Operation
from recipes.core.sim.checks import Ledger
from recipes.core.sim.rules import Rules, Tap
from recipes.core.zxid import epoch_of, start_of

_LENGTH = Struct(">i")

# The properties of every protocol under the names that they have in raft.
_NAMES = {
    "Z1": "RF1", "Z2": "RF6", "Z3": "RF4", "Z4": "RF4", "Z5": "RF6", "Z6": "RF4", "Z8": "A1", "Z9": "RF8", "Z11": "A4",
    "Z12": "A3", "Z13": "A2",
}  # fmt: skip


class RaftTap(Tap):
    """Observes what one server sends over one connection of the quorum port.

    counts: name of a type of message -> how often it was sent.
    """

    __slots__ = ("_commit", "_counts", "_rules", "_sid")

    def __init__(self, rules: "RaftRules", sid: int, counts: dict[str, int]) -> None:
        self._rules = rules
        self._sid = sid
        self._counts = counts
        self._commit = 0

    def sent(self, data: bytes) -> None:
        """Check bytes that the server sends: whole frames."""
        at = 0
        while at < len(data):
            length = _LENGTH.unpack_from(data, at)[0]
            self._look(data[at + 4 : at + 4 + length])
            at += 4 + length

    def _look(self, payload: bytes) -> None:
        rules, sid = self._rules, self._sid
        name = RAFT_MESSAGES.message_name(payload[0])
        self._counts[name] = self._counts.get(name, 0) + 1
        if payload[0] in (w.PART, w.END):
            return
        try:
            message = RAFT_MESSAGES.decode(payload)
        except WireError:
            return  # a planted bug; its receiver says so
        if isinstance(message, w.Hello):
            rules.speaks(sid, message.term)
        elif isinstance(message, w.Append):
            rules.speaks(sid, message.term)
            if message.commit_zxid < self._commit:
                rules.ledger.fail("RF9", f"server {sid} commits 0x{message.commit_zxid:x} behind 0x{self._commit:x}")
            self._commit = message.commit_zxid
            rules.commits(sid, message.term, message.commit_zxid)
        elif isinstance(message, w.Appended):
            rules.speaks(sid, message.term)
            rules.acknowledges(sid, message.term, message.durable_zxid)
        elif isinstance(message, w.Snapshot):
            rules.speaks(sid, message.term)
            rules.dumps(sid, message.zxid)


class _Terms:
    """Term and vote on one server's disk."""

    __slots__ = ("term", "vote")

    def __init__(self) -> None:
        self.term = 0
        self.vote = Vote(0, -1)


class RaftRules(Rules):
    """packets, states: how often servers sent each type of message, and each kind of ballot."""

    def __init__(self, ledger: Ledger, packets: dict[str, int], states: dict[str, int]) -> None:
        self.ledger: Ledger = ledger
        self._fail = ledger.fail
        self._contains = ledger.contains
        self._packets = packets
        self._states = states
        self._terms: dict[int, _Terms] = {sid: _Terms() for sid in ledger.shadows}
        self._leaders: dict[int, int] = {}  # term -> the server that has said that it leads
        self._granted: dict[tuple[int, int], int] = {}  # (server, term) -> the candidate that it has told so
        self._committed = 0  # the last zxid that a leader has called committed
        self._counted = 0  # the last one that was on a majority's disks while there was no leader of a later term

    def name(self, name: str) -> str:
        """The name that a property of every protocol has in raft."""
        return _NAMES.get(name, name)

    # What a server's disk holds.

    def recovered(self, sid: int, last_zxid: int, cells: Mapping[str, bytes], unsure: bool) -> None:
        """A server starts with this term and this vote."""
        terms, term, vote = self._terms[sid], stored_term(cells), stored_vote(cells)
        if not self.ledger.shadows[sid].damaged and (term < terms.term or vote.term < terms.vote.term):
            self._fail("RF2", f"server {sid} comes back in term {term} with {vote}, was in {terms.term}, {terms.vote}")
        if term < epoch_of(max(last_zxid, 0)):
            self._fail("RF2", f"server {sid} comes back in term {term} with a log up to 0x{last_zxid:x}")
        terms.term, terms.vote = term, vote

    def wiped(self, sid: int) -> None:
        """A server has no term and no vote any more."""
        self._terms[sid] = _Terms()

    def stored(self, sid: int, cell: Cell) -> None:
        """A term or a vote is durable."""
        terms = self._terms[sid]
        if cell.name == TERM:
            term = stored_term({cell.name: cell.value})
            if term < terms.term:
                self._fail("RF2", f"server {sid} stores term {term} behind {terms.term}")
            terms.term = term
            return
        vote, old = stored_vote({cell.name: cell.value}), terms.vote
        if vote.term < old.term or (
            vote.term == old.term and vote.candidate != old.candidate and old.candidate >= 0 and vote.candidate >= 0
        ):
            self._fail("RF2", f"server {sid} stores {vote} behind {old}")
        terms.vote = vote

    def replaces(self, sid: int, operation: Operation, common_zxid: int) -> None:
        """A server is about to cut its log, or to replace it. common_zxid: the last committed entry in it."""
        shadow, term = self.ledger.shadows[sid], self._terms[sid].term
        if isinstance(operation, InstallSnapshot):
            return
        zxid = operation.zxid if not isinstance(operation, Cell) else 0
        if self._leaders.get(term) == sid:
            self._fail("RF3", f"server {sid} leads term {term} and cuts its log at 0x{zxid:x}")
        if common_zxid > zxid and not shadow.damaged:
            self._fail("A3", f"server {sid} cuts its log at 0x{zxid:x}, committed up to 0x{common_zxid:x}")

    def synced(self, sid: int) -> None:
        """Entries are durable: perhaps the leader of their term may count them."""
        durable = self.ledger.shadows[sid].durable
        if durable and epoch_of(durable) >= max(self._leaders, default=0):
            if len(self.ledger.holders(durable)) >= self.ledger.majority:
                self._counted = durable

    def applied(self, sid: int, zxid: int) -> None:
        """A server applies a txn: a leader has called it committed, or this server leads and has just counted it."""
        if self._contains(self._committed, zxid):
            return
        term = self._terms[sid].term
        if self._leaders.get(term) != sid:
            self._fail("A4", f"server {sid} applies 0x{zxid:x}, which no leader has called committed")
        if epoch_of(zxid) == term:
            self.commits(sid, term, zxid)
        elif not self._contains(self._counted, zxid):
            self._fail("RF7", f"server {sid} in term {term} applies 0x{zxid:x}, which no leader of its term has")

    def named_snapshot(self, sid: int, zxid: int) -> None:
        """A snapshot is complete."""
        shadow = self.ledger.shadows[sid]
        if zxid > shadow.applied:
            self._fail("RF8", f"server {sid} has a snapshot of 0x{zxid:x}, applied up to 0x{shadow.applied:x}")

    # What a server sends.

    def tap(self, sid: int) -> RaftTap:
        """An observer that checks and counts messages."""
        return RaftTap(self, sid, self._packets)

    def votes(self, sid: int, votes: Sequence[tuple[int, Notification]]) -> None:
        """Check and count ballots."""
        for other, note in votes:
            ballot = from_notification(note, note.peer_epoch, RAFT_MESSAGES.protocol)
            if isinstance(ballot, Ballot):
                name = ballot.kind.name
                self._states[name] = self._states.get(name, 0) + 1
                self._balloted(sid, other, ballot)

    def _balloted(self, sid: int, other: int, ballot: Ballot) -> None:
        shadow, terms, kind = self.ledger.shadows[sid], self._terms[sid], ballot.kind
        if kind not in (Kind.ASK_EARLY, Kind.GRANT_EARLY):  # they change no term: theirs is one in which another is
            self.speaks(sid, ballot.term)
        if kind in (Kind.ASK, Kind.ASK_EARLY) and ballot.zxid != -1 and ballot.zxid != shadow.durable:
            self._fail("RF10", f"server {sid} asks with 0x{ballot.zxid:x}: its disk holds 0x{shadow.durable:x}")
        if kind is Kind.ASK and terms.vote != (ballot.term, sid):
            self._fail("RF2", f"server {sid} asks in term {ballot.term}, its disk says {terms.vote}")
        if kind is Kind.GRANT:
            if terms.vote != (ballot.term, other):
                self._fail("RF2", f"server {sid} votes for {other} in {ballot.term}, its disk says {terms.vote}")
            if self._granted.setdefault((sid, ballot.term), other) != other:
                self._fail("RF2", f"server {sid} votes for {other} in term {ballot.term}, and before for another")
        if kind is Kind.LEADS:
            self.leads(sid, ballot.term)

    def speaks(self, sid: int, term: int) -> None:
        """A server says something in a term."""
        if self._terms[sid].term < term:
            self._fail("RF2", f"server {sid} speaks in term {term}, its disk says {self._terms[sid].term}")

    def leads(self, sid: int, term: int) -> None:
        """A server says that it leads a term."""
        if term in self._leaders:
            if self._leaders[term] != sid:
                self._fail("RF1", f"servers {self._leaders[term]} and {sid} both lead term {term}")
            return
        self._leaders[term] = sid
        voters = [each for each, shadow in self.ledger.shadows.items() if shadow.voter]
        voted = [each for each in voters if each == sid or self._granted.get((each, term)) == sid]
        if len(voted) < self.ledger.majority:
            self._fail("RF1", f"server {sid} leads term {term} with the votes of {voted}")
        shadow = self.ledger.shadows[sid]
        for zxid in (self.ledger.tip, self._committed):
            if not self._contains(shadow.logged, zxid) and not any(later > term for later in self._leaders):
                self._fail("RF5", f"server {sid} leads term {term} without the committed 0x{zxid:x}")

    def commits(self, sid: int, term: int, zxid: int) -> None:
        """A leader says how far is committed."""
        if self._contains(self._committed, zxid):
            return
        if epoch_of(zxid) != term and not self._contains(self._counted, zxid):
            self._fail("RF7", f"server {sid} in term {term} commits 0x{zxid:x}, which no leader of its term has")
        holders = self.ledger.holders(zxid)
        if len(holders) < self.ledger.majority:
            self._fail("RF10", f"server {sid} commits 0x{zxid:x}, which only {holders} hold")
        if not self._contains(zxid, self._committed):
            self._fail("RF6", f"server {sid} commits 0x{zxid:x} without the committed 0x{self._committed:x}")
        self._committed = zxid

    def acknowledges(self, sid: int, term: int, zxid: int) -> None:
        """A server says that its disk has what the leader has, up to `zxid`."""
        shadow = self.ledger.shadows[sid]
        if zxid <= 0:
            return
        if not self._contains(shadow.durable, zxid):
            self._fail("RF10", f"server {sid} acknowledges 0x{zxid:x}, its disk holds 0x{shadow.durable:x}")
        if shadow.damaged and not shadow.unsure and not shadow.rotten and self._contains(zxid, self.ledger.tip):
            shadow.damaged = False

    def dumps(self, sid: int, zxid: int) -> None:
        """A server sends its tree."""
        if zxid > self.ledger.shadows[sid].applied:
            self._fail("RF8", f"server {sid} sends a tree of 0x{zxid:x}, which it has not applied")

    def established(self, sid: int, epoch: int) -> None:
        """A majority must be in the term of a leader that serves, and have its first entry."""
        self.leads(sid, epoch)
        voters = [shadow for shadow in self.ledger.shadows.values() if shadow.voter]
        entered = [each.sid for each in voters if self._terms[each.sid].term >= epoch or each.damaged]
        if len(entered) < self.ledger.majority:
            self._fail("RF1", f"server {sid} leads term {epoch}, which only {entered} have entered")
        holders = self.ledger.holders(start_of(epoch) + 1)
        if len(holders) < self.ledger.majority:
            self._fail("RF10", f"server {sid} serves in term {epoch}, whose first entry only {holders} hold")
