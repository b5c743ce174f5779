"""The primary: writes to its own log first, copies to all, and answers once all backups in its set have it on disk.

It does so for ever: one backup that is down blocks all writes, and reads go on. If it degrades, it drops such a backup
from its set after a while, and with it the promise that a write is on all disks.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from recipes.core.replicas.read_index import ReadIndex
from recipes.core.replicas.stages import ProgressTable
from recipes.core.replicas.tables import PROGRESS_MESSAGES
from recipes.core.replicas.whole_log import WholeLogLeader

if TYPE_CHECKING:
    from recipes.core.primary_backup.peer import PrimaryBackupPeer


class All:
    """Enough are all of these. sids: may become fewer."""

    def __init__(self, sids: Sequence[int]) -> None:
        self.sids: Sequence[int] = sids

    def is_quorum(self, sids: Collection[int]) -> bool:
        """Whether all are there."""
        return all(sid in sids for sid in self.sids)


class Primary(WholeLogLeader):
    """What a server does while it is the primary."""

    table: ProgressTable = PROGRESS_MESSAGES
    _peer: "PrimaryBackupPeer"

    def __init__(self, peer: "PrimaryBackupPeer") -> None:
        super().__init__(peer)
        self._set = All(peer.backups)  # as it is on this server's disk
        self._read_index = ReadIndex(peer.settings.sid, self._set)
        self._owed: deque[tuple[int, int]] = deque()  # (time, last zxid then), while it degrades

    def begin(self) -> None:
        """Tell all servers who is the primary; its fence is on disk."""
        peer = self._peer
        if peer.leader is self:
            self._take_log()
            self._next_beat_ms = peer.now_ms + peer.settings.tick_ms // 2
            self._announce()
            self._commit_what_a_quorum_has()

    def _announce(self) -> None:
        if self._initial_zxid is not None:
            super()._announce()

    def _why_end(self) -> str:
        return ""

    def tick(self) -> None:
        """Do what is due; drop the backups that have owed an entry for too long."""
        super().tick()
        peer, owed = self._peer, self._owed
        if peer.degrade_ms is None or peer.leader is not self:
            return
        late_zxid = 0
        while owed and owed[0][0] <= peer.now_ms - peer.degrade_ms:
            late_zxid = owed.popleft()[1]
        if not owed or owed[-1][1] < self._last_to_send():
            owed.append((peer.now_ms, self._last_to_send()))
        held = self._held_by_backups()
        silent = [sid for sid in peer.backups if held.get(sid, -1) < late_zxid]
        if late_zxid and silent:
            peer.drop(silent)

    def dropped(self) -> None:
        """A smaller set is on disk: what waited for others only is committed."""
        peer = self._peer
        if peer.leader is self:
            self._set.sids = peer.backups
            self._commit_what_a_quorum_has()

    def quorum_heard_ms(self) -> int:
        """A primary needs nobody to be one."""
        super().quorum_heard_ms()
        return self._peer.now_ms

    def _last_to_send(self) -> int:
        """Nothing is copied before it is on this disk: a primary that lost it would have less than a backup."""
        return self._peer.flushed_zxid

    def _held(self) -> int:
        """Up to where this server and all backups in the set have the log on disk."""
        held = self._held_by_backups()
        return min([self._peer.flushed_zxid, *(held.get(sid, -1) for sid in self._set.sids)])

    def _held_by_backups(self) -> dict[int, int]:
        return {progress.sid: progress.durable_zxid for progress in self._by_sid.values() if progress.counts}
