"""The properties that are Multi-Paxos's own: what is chosen, as disks have it, compared with what servers say.

An entry is chosen once a majority of disks has accepted it in one ballot. What a disk has accepted in a ballot is its
log, as long as the number beside it is that ballot; once it was accepted that stays true, whatever becomes of the disk.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.core.jute.votes import Notification
from recipes.core.paxos.numbers import FORGOTTEN, proposer_of, stored_accepted
from recipes.core.paxos.wire import PAXOS_MESSAGES, Promise
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind, from_notification
from recipes.core.replicas.terms import TERM, stored_term
from recipes.core.replication import Cell, InstallSnapshot, Operation
from recipes.core.sim.checks import Ledger
from recipes.core.sim.frames import FrameTap
from recipes.core.sim.rules import Rules

# The properties of every protocol under the names that they have in Multi-Paxos.
_NAMES = {
    "Z1": "P6", "Z2": "P2", "Z3": "P1", "Z4": "P2", "Z5": "P7", "Z6": "P7", "Z8": "A1", "Z9": "P5", "Z11": "A4",
    "Z12": "A3", "Z13": "A2",
}  # fmt: skip


class _Numbers:
    """Promised and accepted ballot on one server's disk. life: how often it has started."""

    __slots__ = ("accepted", "life", "promised")

    def __init__(self) -> None:
        self.promised = 0
        self.accepted = 0
        self.life = 0


class PaxosRules(Rules):
    """packets, states: how often servers sent each type of message, and each kind of ballot."""

    def __init__(self, ledger: Ledger, packets: dict[str, int], states: dict[str, int]) -> None:
        self.ledger: Ledger = ledger
        self._fail = ledger.fail
        self._contains = ledger.contains
        self._packets = packets
        self._states = states
        self._numbers: dict[int, _Numbers] = {sid: _Numbers() for sid in ledger.shadows}
        self._held: dict[int, dict[int, int]] = {}  # ballot -> server -> the last zxid that it has accepted in it
        self._began: dict[int, int] = {}  # ballot -> where the log ends that its proposer proposes first
        self._prepared: dict[int, int] = {}  # ballot -> the life of its proposer that has prepared it
        self._chosen = 0

    def name(self, name: str) -> str:
        """The name that a property of every protocol has in Multi-Paxos."""
        return _NAMES.get(name, name)

    # What a server's disk holds.

    def recovered(self, sid: int, last_zxid: int, cells: Mapping[str, bytes], unsure: bool) -> None:
        """A server starts with these ballots."""
        numbers, promised, accepted = self._numbers[sid], stored_term(cells), stored_accepted(cells)
        if not self.ledger.shadows[sid].damaged and (promised < numbers.promised or accepted < numbers.accepted):
            self._fail(
                "P5",
                f"server {sid} comes back with {promised} promised and {accepted} accepted, had {numbers.promised} and "
                f"{numbers.accepted}",
            )
        numbers.promised, numbers.accepted = promised, accepted
        numbers.life += 1

    def wiped(self, sid: int) -> None:
        """A server has promised and accepted nothing that it knows of."""
        numbers = self._numbers[sid]
        numbers.promised = numbers.accepted = 0

    def stored(self, sid: int, cell: Cell) -> None:
        """A ballot is durable."""
        numbers = self._numbers[sid]
        if cell.name == TERM:
            promised = stored_term({cell.name: cell.value})
            if promised < numbers.promised:
                self._fail("P4", f"server {sid} promises {promised} behind {numbers.promised}")
            numbers.promised = promised
            return
        accepted = stored_accepted({cell.name: cell.value})
        if accepted > 0 and accepted < max(numbers.promised, numbers.accepted):
            self._fail("P4", f"server {sid} accepts in {accepted}, has promised {numbers.promised}")
        if accepted > numbers.promised:
            self._fail("P5", f"server {sid} accepts in {accepted}, its disk has promised {numbers.promised}")
        numbers.accepted = accepted
        if accepted > 0:
            self._takes_over(sid, accepted)
            self.synced(sid)

    def _takes_over(self, sid: int, ballot: int) -> None:
        """A disk has accepted a whole log in a ballot: the one that its proposer began with, or more."""
        logged = self.ledger.shadows[sid].durable
        if proposer_of(ballot) == sid:
            self._begins(sid, ballot, logged)
        elif not self._contains(logged, self._began.get(ballot, 0)):
            self._fail("P3", f"server {sid} accepts in {ballot} without 0x{self._began[ballot]:x}: 0x{logged:x}")

    def _begins(self, sid: int, ballot: int, zxid: int) -> None:
        """A proposer has taken over a log, which ends at `zxid`."""
        if self._began.setdefault(ballot, zxid) != zxid:
            self._fail("P6", f"server {sid} begins {ballot} with 0x{zxid:x}, and before with 0x{self._began[ballot]:x}")
        if not self._contains(zxid, self._chosen) and ballot > self._chosen_in():
            self._fail("P3", f"server {sid} begins {ballot} with 0x{zxid:x}: 0x{self._chosen:x} is chosen")

    def _chosen_in(self) -> int:
        """A ballot in which the last chosen entry was chosen."""
        for ballot, held in sorted(self._held.items()):
            if sum(self._contains(zxid, self._chosen) for zxid in held.values()) >= self.ledger.majority:
                return ballot
        return 0

    def synced(self, sid: int) -> None:
        """Entries are durable: they are accepted in the ballot of the disk, and perhaps chosen."""
        shadow, numbers = self.ledger.shadows[sid], self._numbers[sid]
        if not shadow.voter or numbers.accepted <= 0 or shadow.durable <= 0:
            return
        if numbers.accepted < numbers.promised and shadow.durable > self._held.get(numbers.accepted, {}).get(sid, 0):
            return  # the log of another ballot, of which this server has not accepted all yet
        held = self._held.setdefault(numbers.accepted, {})
        held[sid] = max(shadow.durable, held.get(sid, 0))
        zxids = sorted(held.values(), reverse=True)
        if len(zxids) >= self.ledger.majority:
            self._choose(numbers.accepted, zxids[self.ledger.majority - 1])

    def _choose(self, ballot: int, zxid: int) -> None:
        """Everything up to `zxid` is chosen."""
        if self._contains(self._chosen, zxid):
            return
        if not self._contains(zxid, self._chosen):
            self._fail("P1", f"0x{zxid:x} is chosen in {ballot}, without 0x{self._chosen:x}, which was chosen before")
        for later, began in self._began.items():
            if later > ballot and not self._contains(began, zxid):
                self._fail("P3", f"0x{zxid:x} is chosen in {ballot}, and {later} began with 0x{began:x}")
        self._chosen = zxid

    def replaces(self, sid: int, operation: Operation, common_zxid: int) -> None:
        """A server is about to cut its log, or to replace it. common_zxid: the last committed entry in it."""
        shadow = self.ledger.shadows[sid]
        if not isinstance(operation, (InstallSnapshot, Cell)) and common_zxid > operation.zxid and not shadow.damaged:
            self._fail("A3", f"server {sid} cuts its log at 0x{operation.zxid:x}, committed up to 0x{common_zxid:x}")

    def applied(self, sid: int, zxid: int) -> None:
        """A server applies a txn: it is chosen."""
        if not self._contains(self._chosen, zxid):
            self._fail("P8", f"server {sid} applies 0x{zxid:x}, which is not chosen")

    def named_snapshot(self, sid: int, zxid: int) -> None:
        """A snapshot is complete."""
        shadow = self.ledger.shadows[sid]
        if zxid > shadow.applied:
            self._fail("P7", f"server {sid} has a snapshot of 0x{zxid:x}, applied up to 0x{shadow.applied:x}")

    # What a server sends.

    def tap(self, sid: int) -> FrameTap:
        """An observer that counts messages, and has them checked."""
        return FrameTap(self, PAXOS_MESSAGES, sid, self._packets)

    def says(self, sid: int, message: Any) -> None:
        """A server sends a message over the quorum port."""
        if isinstance(message, Promise):
            self._promises(sid, message)
        elif isinstance(message, w.Append):
            self._speaks(sid, message.term)
            if not self._contains(self._chosen, max(message.commit_zxid, 0)):
                self._fail("P8", f"server {sid} calls 0x{message.commit_zxid:x} chosen, which is not")
        elif isinstance(message, w.Appended):
            self._accepts(sid, message.term, message.durable_zxid)
        elif isinstance(message, w.Snapshot) and message.zxid > self.ledger.shadows[sid].applied:
            self._fail("P7", f"server {sid} sends a tree of 0x{message.zxid:x}, which it has not applied")

    def _promises(self, sid: int, promise: Promise) -> None:
        numbers, shadow = self._numbers[sid], self.ledger.shadows[sid]
        if numbers.promised < promise.ballot:
            self._fail("P5", f"server {sid} promises {promise.ballot}, its disk says {numbers.promised}")
        if numbers.promised > promise.ballot:
            self._fail("P4", f"server {sid} promises {promise.ballot}, and has promised {numbers.promised}")
        if (numbers.accepted, shadow.durable) != (promise.accepted, promise.last_zxid):
            self._fail(
                "P5",
                f"server {sid} reports 0x{promise.last_zxid:x} in {promise.accepted}, its disk has "
                f"0x{shadow.durable:x} in {numbers.accepted}",
            )

    def _accepts(self, sid: int, ballot: int, zxid: int) -> None:
        """A server says what it has accepted in a ballot."""
        numbers, shadow = self._numbers[sid], self.ledger.shadows[sid]
        if numbers.promised > ballot:
            self._fail("P4", f"server {sid} accepts in {ballot}, and has promised {numbers.promised}")
        self._speaks(sid, ballot)
        if zxid < 0:
            return
        if numbers.accepted != ballot or not self._contains(shadow.durable, zxid):
            self._fail(
                "P5",
                f"server {sid} has accepted 0x{zxid:x} in {ballot}, its disk has 0x{shadow.durable:x} in "
                f"{numbers.accepted}",
            )
        self.synced(sid)  # after a power cut more may have come back than was known to be durable
        if shadow.damaged and not shadow.unsure and not shadow.rotten and self._contains(zxid, self.ledger.tip):
            shadow.damaged = False

    def votes(self, sid: int, votes: Sequence[tuple[int, Notification]]) -> None:
        """Check and count ballots."""
        for _, note in votes:
            ballot = from_notification(note, note.peer_epoch, PAXOS_MESSAGES.protocol)
            if isinstance(ballot, Ballot):
                name = ballot.kind.name
                self._states[name] = self._states.get(name, 0) + 1
                if ballot.kind is not Kind.GRANT_EARLY:  # its number is the asker's
                    self._speaks(sid, ballot.term)
                if ballot.kind in (Kind.PREPARE, Kind.LEADS):
                    self._proposes(sid, ballot.term)

    def _proposes(self, sid: int, ballot: int) -> None:
        life = self._numbers[sid].life
        if proposer_of(ballot) != sid:
            self._fail("P6", f"server {sid} proposes in {ballot}, which belongs to server {proposer_of(ballot)}")
        if self._prepared.setdefault(ballot, life) != life:
            self._fail("P6", f"server {sid} proposes in {ballot} again, after a restart")

    def _speaks(self, sid: int, ballot: int) -> None:
        if self._numbers[sid].promised < ballot:
            self._fail("P5", f"server {sid} speaks in {ballot}, its disk says {self._numbers[sid].promised}")

    def established(self, sid: int, epoch: int) -> None:
        """A majority must have accepted the log of a leader that serves, in its ballot."""
        self._proposes(sid, epoch)
        voters = [each for each, shadow in self.ledger.shadows.items() if shadow.voter]
        accepted = [each for each in voters if self._numbers[each].accepted in (epoch, FORGOTTEN)]
        later = [each for each in voters if self._numbers[each].accepted > epoch]
        if len(accepted) + len(later) < self.ledger.majority:
            self._fail("P8", f"server {sid} serves in {epoch}, which only {accepted} have accepted")
