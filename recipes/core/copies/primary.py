"""The primary: writes to its own log first, copies to all, and answers once all backups in its set have it on disk.

It does so for ever: one backup that is down blocks all writes, and reads go on.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from recipes.core.replicas.read_index import ReadIndex
from recipes.core.replicas.stages import ProgressTable
from recipes.core.replicas.tables import PROGRESS_MESSAGES
from recipes.core.replicas.whole_log import WholeLogLeader

if TYPE_CHECKING:
    from recipes.core.copies.peer import CopiesPeer


class All:
    """Enough are all of these."""

    def __init__(self, sids: Sequence[int]) -> None:
        self._sids = sids

    def is_quorum(self, sids: Collection[int]) -> bool:
        """Whether all are there."""
        return all(sid in sids for sid in self._sids)


class Primary(WholeLogLeader):
    """What a server does while it is the primary."""

    table: ProgressTable = PROGRESS_MESSAGES
    _peer: "CopiesPeer"

    def __init__(self, peer: "CopiesPeer") -> None:
        super().__init__(peer)
        self._read_index = ReadIndex(peer.settings.sid, All(peer.backups))

    def begin(self) -> None:
        """Tell all servers who is the primary; its fence is on disk."""
        peer = self._peer
        if peer.leader is self:
            self._take_log()
            self._next_beat_ms = peer.now_ms + peer.settings.tick_ms // 2
            self._announce()
            self._count()

    def _announce(self) -> None:
        if self._initial_zxid is not None:
            super()._announce()

    def _why_end(self) -> str:
        return ""

    def quorum_heard_ms(self) -> int:
        """A primary needs nobody to be one."""
        super().quorum_heard_ms()
        return self._peer.now_ms

    def _last_to_send(self) -> int:
        """Nothing is copied before it is on this disk: a primary that lost it would have less than a backup."""
        return self._peer.flushed_zxid

    def _held(self) -> int:
        """Up to where this server and all backups in the set have the log on disk."""
        held = {progress.sid: progress.durable_zxid for progress in self._by_sid.values() if progress.counts}
        return min([self._peer.flushed_zxid, *(held.get(sid, -1) for sid in self._peer.backups)])
