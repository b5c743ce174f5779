"""The last txns of a log, which a leader sends to learners that lack only these."""

from collections import deque
from collections.abc import Iterable, Sequence

from recipes.core.disk.disk import Disk
from recipes.core.disk.txnlog import LogFile, log_files
from recipes.core.jute.txns import payload_zxid
from recipes.core.replication import HISTORY_ENTRIES, Entry
from recipes.core.zxid import follows

_MOST_BYTES: int = 64 << 20  # of entries: a server that starts must not need far more memory than its tree


class LogTail:
    """Collects the newest entries while a log is replayed; if these are too few, adds entries from before the snapshot.

    snapshot_zxid: of the snapshot from which the replay starts.
    """

    def __init__(self, snapshot_zxid: int) -> None:
        self._snapshot_zxid = snapshot_zxid
        self._replayed: deque[bytes] = deque(maxlen=HISTORY_ENTRIES + 1)  # one more, for the zxid before the first
        self._bytes = 0  # of these
        self._is_cut = False  # some were forgotten for their size

    def add(self, payload: bytes) -> None:
        """Add a replayed txn."""
        replayed = self._replayed
        if len(replayed) > HISTORY_ENTRIES:
            self._bytes -= len(replayed[0])
        replayed.append(payload)
        self._bytes += len(payload)
        while self._bytes > _MOST_BYTES and len(replayed) > 1:
            self._bytes -= len(replayed.popleft())
            self._is_cut = True

    def finish(self, logs: Disk, snapshot_zxids: Iterable[int]) -> tuple[list[Entry], int]:
        """The newest entries without a hole, oldest first, and the zxid before the first of them.

        snapshot_zxids: of every snapshot on disk. If one lies between the entries of two epochs, it may be a leader's
        snapshot that replaced the entries before it; the history then begins behind it.
        """
        entries = [Entry(payload_zxid(payload), payload) for payload in self._replayed]
        if len(entries) <= HISTORY_ENTRIES and not self._is_cut:
            entries = self._earlier(logs, entries, sorted(snapshot_zxids))
        if not entries:
            return [], self._snapshot_zxid
        if len(entries) > HISTORY_ENTRIES or self._is_cut:
            return entries[1:], entries[0].zxid
        first = entries[0].zxid
        return entries, self._snapshot_zxid if follows(self._snapshot_zxid, first) else first - 1

    def _earlier(self, logs: Disk, entries: list[Entry], snapshot_zxids: Sequence[int]) -> list[Entry]:
        for first, name in reversed(log_files(logs)):
            missing = HISTORY_ENTRIES + 1 - len(entries)
            if missing == 0 or sum(len(entry.payload) for entry in entries) > _MOST_BYTES:
                break
            next_zxid = entries[0].zxid if entries else self._snapshot_zxid + 1
            if first >= next_zxid:
                continue
            part: deque[Entry] = deque(maxlen=missing)
            broken = False
            for payload in LogFile(name, logs.read(name)):
                zxid = payload_zxid(payload)
                if zxid >= next_zxid:
                    break
                if part and not joins(part[-1].zxid, zxid, snapshot_zxids):
                    part.clear()
                    broken = True
                part.append(Entry(zxid, payload))
            if not part:
                break
            if entries:
                joined = joins(part[-1].zxid, next_zxid, snapshot_zxids)
            else:
                joined = part[-1].zxid == self._snapshot_zxid
            if not joined:
                break
            entries = [*part, *entries]
            if broken:
                break
        return entries


def joins(before_zxid: int, zxid: int, snapshot_zxids: Iterable[int]) -> bool:
    """Whether `zxid` follows in the log, with no snapshot named between the two."""
    return follows(before_zxid, zxid) and not any(before_zxid < named < zxid for named in snapshot_zxids)
