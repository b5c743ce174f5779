"""The way of an entry through a server of an ensemble: to its disk, and once it is committed to its Member."""

from collections import deque
from collections.abc import Iterable

from recipes.core.replication import Entry, Ready, Synced


class AwaitingCommit:
    """Entries that are logged and not applied yet, and what waits behind them, for a Replica of any protocol.

    ready: what was decided since it was taken. syncs: tokens that wait, each with the zxid before it.
    """

    __slots__ = ("_unapplied", "ready", "syncs")

    def __init__(self, logged: Iterable[Entry] = ()) -> None:
        self.ready: Ready = Ready()
        self._unapplied: deque[Entry] = deque(logged)
        self.syncs: deque[tuple[int, object]] = deque()

    def append(self, entry: Entry) -> None:
        """Have an entry written; it is applied once `release` comes to it."""
        self._unapplied.append(entry)
        self.ready.writes.append(entry)

    def sync(self, zxid: int, token: object) -> None:
        """Hand `token` back behind the entry `zxid`."""
        self.syncs.append((zxid, token))

    def release(self, up_to: int, applied_zxid: int) -> int:
        """Hand over the entries up to `up_to`, which are committed and on this server's disk, and the tokens behind
        them. applied_zxid: what was handed over last; return what is now.
        """
        unapplied, commits = self._unapplied, self.ready.commits
        while unapplied and unapplied[0].zxid <= up_to:
            entry = unapplied.popleft()
            commits.append(entry)
            applied_zxid = entry.zxid
        syncs = self.syncs
        while syncs and syncs[0][0] <= applied_zxid:
            commits.append(Synced(syncs.popleft()[1]))
        return applied_zxid

    def cut(self, zxid: int) -> None:
        """The entries behind `zxid` are deleted from the log."""
        while self._unapplied and self._unapplied[-1].zxid > zxid:
            self._unapplied.pop()

    def restart(self) -> None:
        """The log was replaced: nothing in it is to be applied."""
        self._unapplied.clear()

    def drop_syncs(self) -> None:
        """This server has no leader any more: whoever waits for a `sync` asks again."""
        self.syncs.clear()
