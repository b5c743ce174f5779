"""The transaction log: files log.<zxid of the first txn>, each a header followed by records.

A record is a checksum, a length, the serialised txn and the byte 'B'; zeros behind the last record are space filled
ahead of need. A restarted server never appends to an old file: the next txn starts a new one. So a record that a crash
tore stays the last of its file. Source: FileTxnLog.java.
"""

import re
from collections.abc import Iterable, Iterator
from errno import EDQUOT, EFBIG, ENOSPC
from struct import Struct
from typing import NamedTuple
from zlib import adler32

from recipes.core.disk.disk import Disk, File
from recipes.core.errors import DiskError
from recipes.core.jute.txns import blank_txn, payload_zxid
from recipes.core.replication import Entry
from recipes.core.zxid import follows, skipped

MAGIC = b"ZKLG"
HEADER = MAGIC + (2).to_bytes(4, "big") + bytes(8)
END = b"B"
_ZXID = re.compile(r"[0-9a-fA-F]{1,16}")
_RECORD = Struct(">qi")
RECORD_BYTES = _RECORD.size + len(END)  # overhead of a record
_MIN_TXN_BYTES = 32
_FILL_BYTES = 1 << 20
NO_SPACE = (ENOSPC, EDQUOT, EFBIG)
SECTOR_BYTES = 512  # the least that a disk writes as a whole
_ZERO_BYTES = 4  # of a checksum, which has 4 bytes in a field of 8
_WRONG_SUM = "checksum does not match"


class Damage(NamedTuple):
    """A place in a log file where reading had to stop.

    torn: nothing valid comes behind it, for example because a crash cut the last write.
    unwritten: a sector of the bad record holds nothing but zeros: the write of it never came to its end.
    rotten: the record was written to its end, and has changed since. It may have been acknowledged.
    """

    name: str
    offset: int
    last_zxid: int
    reason: str
    torn: bool
    unwritten: bool = False
    rotten: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason} at offset {self.offset}, after zxid 0x{self.last_zxid:x}"


def encode_records(entries: list[Entry]) -> bytes:
    """The bytes of a batch, for one write."""
    parts: list[bytes] = []
    for entry in entries:
        payload = entry.payload
        parts += (_RECORD.pack(adler32(payload), len(payload)), payload, END)
    return b"".join(parts)


def log_name(zxid: int) -> str:
    """The name of the log file whose first txn is `zxid`."""
    return f"log.{zxid:x}"


def file_zxid(name: str, prefix: str) -> int | None:
    """The zxid in the name of a log, or of another file whose name is so made; None for other files."""
    head, _, number = name.partition(".")
    return int(number, 16) if head == prefix and _ZXID.fullmatch(number) else None


class TxnLog:
    """Appends to the log.

    fill_ahead_bytes: how much is filled with zeros beyond the last record, so that a sync need not grow the file.
    """

    __slots__ = ("_disk", "_file", "_fill_ahead_bytes", "_filled", "_is_new", "_position", "records")

    def __init__(self, disk: Disk, fill_ahead_bytes: int = 4 << 20) -> None:
        self._disk = disk
        self._fill_ahead_bytes = fill_ahead_bytes
        self._file: File | None = None
        self._is_new = False  # its name is not durable yet
        self._position = self._filled = 0
        self.records: int = 0  # in the current file

    def append(self, entries: list[Entry]) -> None:
        """Write a batch behind the last one, with one write. Not durable before `sync`.

        If this raises, nothing has been appended, and the same batch may be tried again.
        """
        data = encode_records(entries)
        if self._file is None:
            file = self._disk.create(log_name(entries[0].zxid))
            try:
                file.write(0, HEADER + data)
            except OSError:
                file.close()
                raise
            self._file, self._is_new = file, True
            self._position = self._filled = len(HEADER) + len(data)
        else:
            self._file.write(self._position, data)
            self._position += len(data)
            self._filled = max(self._filled, self._position)
        self.records += len(entries)

    def sync(self) -> None:
        """Return once everything appended is durable."""
        if self._file is not None:
            self._file.sync()
            if self._is_new:
                self._disk.sync()
                self._is_new = False

    def reserve(self) -> bool:
        """Fill space with zeros ahead of need; False when the disk has no room. Written records are never affected."""
        if self._file is None or self._filled - self._position >= self._fill_ahead_bytes // 2:
            return True
        try:
            while (missing := self._fill_ahead_bytes - (self._filled - self._position)) > 0:
                step = min(_FILL_BYTES, missing)
                self._file.write(self._filled, bytes(step))
                self._filled += step
        except OSError as error:
            if error.errno in NO_SPACE:
                return False
            raise
        return True

    def roll(self) -> None:
        """Let the next batch start a new file."""
        self.close()

    def close(self) -> None:
        """Make everything durable and close the file."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None
            self.records = 0


def log_files(disk: Disk) -> list[tuple[int, str]]:
    """The log files, each with the zxid it begins at, in order."""
    return sorted((zxid, name) for name in disk.names() if (zxid := file_zxid(name, "log")) is not None)


class LogFile:
    """The payloads of one log file, in order, up to its end or to the first damage.

    end: offset behind the last record read. last_zxid: of that record; 0 before the first.
    damage: where reading had to stop, or None; valid once the iteration has ended.
    """

    __slots__ = ("_data", "damage", "end", "last_zxid", "name")

    def __init__(self, name: str, data: bytes) -> None:
        self.name: str = name
        self._data = data
        self.end: int = len(HEADER)
        self.last_zxid: int = 0
        self.damage: Damage | None = None

    def __iter__(self) -> Iterator[bytes]:
        data, at, size = self._data, len(HEADER), len(self._data)
        if data[:8] != HEADER[:8]:
            self._judge_header()
            return
        while size - at >= _RECORD.size:
            checksum, length = _RECORD.unpack_from(data, at)
            start = at + _RECORD.size
            end = start + length
            reason = None
            if length == 0:
                if data.count(0, at) == size - at:
                    return
                reason = "record of no length"
            elif length < _MIN_TXN_BYTES:  # no upper limit: jute.maxbuffer may have been larger when it was written
                reason = f"record of {length} bytes"
            elif end + 1 > size:
                reason = "record cut short"
            elif data[end : end + 1] != END:
                reason = "record without its end mark"
            elif checksum != adler32(data[start:end]):
                reason = _WRONG_SUM
            if reason is not None:
                unwritten = _has_unwritten_sector(data, at, min(max(end + 1, start), size))
                torn = not _valid_record_behind(data, at + 1, self.last_zxid)
                self._stop(reason, torn, unwritten, torn and not unwritten and reason == _WRONG_SUM)
                return
            payload = data[start:end]
            zxid = payload_zxid(payload)
            if zxid <= self.last_zxid:
                self._stop(f"zxid 0x{zxid:x} goes backwards", False)
                return
            self.last_zxid = zxid
            self.end = at = end + 1
            yield payload
        if data.count(0, at) != size - at:
            self._stop("record cut short", True)

    def _judge_header(self) -> None:
        data = self._data
        self.end = 0
        if not data.strip(b"\0") or HEADER.startswith(data.rstrip(b"\0")):
            self._stop("no header", True)
            return
        if data[:4] == MAGIC:
            version = int.from_bytes(data[4:8], "big")
            self._stop(f"a transaction log of version {version}, expected {HEADER[7]},", False)
            return
        lost = not data[:16].strip(b"\0") and not _valid_record_behind(data, len(HEADER), 0)
        self._stop("no header" if lost else "not a transaction log", lost)

    def _stop(self, reason: str, torn: bool, unwritten: bool = False, rotten: bool = False) -> None:
        self.damage = Damage(self.name, self.end, self.last_zxid, reason, torn, unwritten, rotten)


def read_log(
    disk: Disk, after_zxid: int, damages: list[Damage] | None = None, snapshot_zxids: Iterable[int] = ()
) -> Iterator[bytes]:
    """Payloads of the txns behind `after_zxid`, in order, up to a torn end; one file at a time is held in memory.

    damages: the list to which each torn end is added, and the damage for which this raises. snapshot_zxids: of every
    snapshot on disk. Raises DiskError for missing txns, and for damage with valid txns behind it, since cutting there
    would drop acknowledged txns.
    """
    files = log_files(disk)
    first = max((index for index, (zxid, _) in enumerate(files) if zxid <= after_zxid + 1), default=0)
    last = 0  # zxid last read; txns up to `after_zxid` come from the first file only, and may have holes
    for index, (zxid, name) in enumerate(files[first:], first):
        file = LogFile(name, disk.read(name))
        is_inside = False
        for payload in file:
            found = file.last_zxid
            if last and found <= last:
                raise DiskError(f"{name}: zxids go backwards, 0x{found:x} comes after 0x{last:x}")
            if found > after_zxid:
                before = max(last, after_zxid)
                if not follows(before, found):
                    # Inside a file no record can be lost between two others: ZooKeeper logged no txns with these zxids.
                    # Either it used the zxids up without a txn, or they came with a leader's snapshot, whose file then
                    # lies beside the log.
                    replaced = not is_inside or any(before < named < found for named in snapshot_zxids)
                    unused = () if replaced else skipped(before, found)
                    if not unused:
                        raise DiskError(f"{name}: txns between 0x{before:x} and 0x{found:x} are missing")
                    yield from map(blank_txn, unused)
                yield payload
            last, is_inside = found, True
        damage = file.damage
        if damage is None:
            continue
        followed = index + 1 < len(files) and files[index + 1][0] != (damage.last_zxid or zxid - 1) + 1
        is_torn = damage.torn and not followed
        if damages is not None:
            damages.append(damage._replace(torn=is_torn))
        if not is_torn:
            raise DiskError(
                f"{damage}, with valid txns after it; restore the file from a copy, or see what cutting it there would "
                "lose: `recipes repair DATA_DIR`"
            )


def cut_torn(disk: Disk, damage: Damage) -> None:
    """Cut a torn record off the end of a file, durably; remove the file if nothing else is in it.

    A member does this before it writes more, to a new file and usually in a new epoch. From then on a bad record with
    txns behind it is known to be corruption, and is never taken for a torn one.
    """
    cut_file(disk, damage.name, damage.offset if damage.last_zxid else 0)


def cut_file(disk: Disk, name: str, size_bytes: int) -> None:
    """Cut a file durably; remove it if nothing is left."""
    if size_bytes == 0:
        disk.remove(name)
        disk.sync()
        return
    file = disk.open(name)
    file.truncate(size_bytes)
    file.sync()
    file.close()


def zxids_behind(data: bytes, start: int, last_zxid: int) -> Iterator[int]:
    """Zxids of the whole records found anywhere behind `start`, in strictly increasing order."""
    at = data.find(END, start)
    ends = []
    while at != -1:
        ends.append(at)
        at = data.find(END, at + 1)
    known = frozenset(ends)
    at, last = start, max(known, default=0) - 12 - _MIN_TXN_BYTES
    while at <= last:
        checksum, length = _RECORD.unpack_from(data, at)
        end = at + 12 + length
        if 0 <= checksum <= 0xFFFFFFFF and length >= _MIN_TXN_BYTES and end in known:
            payload = data[at + 12 : end]
            zxid = payload_zxid(payload)
            if zxid > last_zxid and adler32(payload) == checksum:
                yield zxid
                last_zxid, at = zxid, end
        at += 1


def _has_unwritten_sector(data: bytes, start: int, end: int) -> bool:
    """Whether some sector holds nothing but zeros between the two offsets, where a record begins and ends."""
    for sector in range(start - start % SECTOR_BYTES, end, SECTOR_BYTES):
        first, last = max(start, sector), min(end, sector + SECTOR_BYTES)
        # The first bytes of a record are zeros in any case.
        if data.count(0, first, last) == last - first and not (first == start and last - first <= _ZERO_BYTES):
            return True
    return False


def _valid_record_behind(data: bytes, start: int, last_zxid: int) -> bool:
    return next(zxids_behind(data, start, last_zxid), None) is not None
