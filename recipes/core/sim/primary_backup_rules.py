"""The properties that are primary-backup's own: B1 to B3 of docs/multi-paxos.md."""

from collections.abc import Sequence
from typing import Any

from recipes.core.jute.votes import Notification
from recipes.core.primary_backup.fences import SET, stored_set
from recipes.core.primary_backup.wire import PRIMARY_BACKUP_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, from_notification
from recipes.core.replication import Cell
from recipes.core.sim.checks import Ledger
from recipes.core.sim.frames import FrameTap
from recipes.core.sim.rules import Rules

# The properties of every protocol under the names that they have here.
_NAMES = {
    "Z1": "B3", "Z2": "B2", "Z3": "B2", "Z4": "B2", "Z5": "A2", "Z6": "B2", "Z8": "A1", "Z9": "B1", "Z11": "B1",
    "Z12": "A3", "Z13": "A2",
}  # fmt: skip


class PrimaryBackupRules(Rules):
    """packets, states: how often servers sent each type of message, and each kind of ballot."""

    def __init__(self, ledger: Ledger, packets: dict[str, int], states: dict[str, int]) -> None:
        self.ledger: Ledger = ledger
        self._packets = packets
        self._states = states
        self._voters = [sid for sid, shadow in ledger.shadows.items() if shadow.voter]
        self._primary = self._voters[0]
        ledger.majority = len(self._voters)  # all of them decide

    def name(self, name: str) -> str:
        """The name that a property of every protocol has in primary-backup."""
        return _NAMES.get(name, name)

    def stored(self, sid: int, cell: Cell) -> None:
        """A primary has dropped backups: a write is acknowledged once the others of its set have it."""
        if cell.name == SET and sid == self._primary:
            others = [other for other in self._voters if other != sid]
            self.ledger.majority = 1 + len(stored_set({SET: cell.value}, others)[1])

    def synced(self, sid: int) -> None:
        """Entries are durable: a backup has nothing that its primary lacks."""
        shadow, primary = self.ledger.shadows[sid], self.ledger.shadows[self._primary]
        if shadow is not primary and not primary.unsure and shadow.durable > 0:
            if not self.ledger.contains(primary.durable, shadow.durable):
                self.ledger.fail(
                    "B2", f"server {sid} has 0x{shadow.durable:x}, the primary has 0x{primary.durable:x} on its disk"
                )
        self._restored(sid)

    def _restored(self, sid: int) -> None:
        shadow = self.ledger.shadows[sid]
        if shadow.damaged and not shadow.unsure and not shadow.rotten:
            if self.ledger.contains(shadow.durable, self.ledger.tip):
                shadow.damaged = False

    def tap(self, sid: int) -> FrameTap:
        """An observer that counts messages, and has them checked."""
        return FrameTap(self, PRIMARY_BACKUP_MESSAGES, sid, self._packets)

    def says(self, sid: int, message: Any) -> None:
        """A server sends a message over the quorum port."""
        if isinstance(message, w.Appended) and message.durable_zxid > 0:
            durable = self.ledger.shadows[sid].durable
            if not self.ledger.contains(durable, message.durable_zxid):
                self.ledger.fail(
                    "B1", f"server {sid} confirms 0x{message.durable_zxid:x}, its disk holds 0x{durable:x}"
                )
            self._restored(sid)

    def votes(self, sid: int, votes: Sequence[tuple[int, Notification]]) -> None:
        """Count what servers say of primaries."""
        for _, note in votes:
            ballot = from_notification(note, note.peer_epoch, PRIMARY_BACKUP_MESSAGES.protocol)
            if isinstance(ballot, Ballot):
                self._states[ballot.kind.name] = self._states.get(ballot.kind.name, 0) + 1

    def established(self, sid: int, epoch: int) -> None:
        """A primary serves. One that was promoted waits for all but the old one."""
        if sid != self._primary:
            self._primary = sid
            self.ledger.majority = len(self._voters) - 1
