"""Who is the primary: nobody is elected. The first one is fixed, and an operator names another."""

from typing import TYPE_CHECKING

from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.election import SharedElection

if TYPE_CHECKING:
    from recipes.core.primary_backup.peer import PrimaryBackupPeer


class Succession(SharedElection):
    """A primary begins, and a backup waits for the word of a primary."""

    _peer: "PrimaryBackupPeer"

    def tick(self) -> None:
        """Begin as the primary, once everything is on disk."""
        peer = self._peer
        if self._at_ms is None or peer.now_ms < self._at_ms or peer.full:
            return
        self._at_ms = None
        if peer.leader is not None or peer.follower is not None or not peer.is_primary:
            return
        if not peer.is_drained:
            self._waits_for_disk = True  # also while the end of the log is being cut off, which makes it unsure
        elif not peer.is_unsure:
            peer.stand()

    def receive(self, sid: int, ballot: Ballot) -> None:
        """Another server says that it is the primary, or that it has a newer fence than this one."""
        peer = self._peer
        if peer.full:
            return
        if ballot.kind is Kind.LEADS:
            self._led(sid, ballot.term)
        elif ballot.kind is Kind.REFUSE and ballot.term > peer.term:
            peer.adopt(ballot.term, f"server {sid} has a newer fence")
