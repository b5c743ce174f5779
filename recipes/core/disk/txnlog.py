"""The transaction log: files log.<zxid of the first txn>, each a header and records one behind the other.

A record is a checksum, a length, the serialised txn and the byte 'B'; zeros behind the last one are space filled
ahead of need. A file is never appended to once its writer is gone: what a crash tore stays torn, and the next txn
starts a new file. Source: FileTxnLog.java.
"""

from collections.abc import Iterator
from errno import EDQUOT, EFBIG, ENOSPC
from struct import Struct
from typing import NamedTuple
from zlib import adler32

from recipes.core.disk.disk import Disk, File
from recipes.core.errors import DiskError
from recipes.core.jute.txns import payload_zxid
from recipes.core.replication import Entry

MAGIC = b"ZKLG"
HEADER = MAGIC + (2).to_bytes(4, "big") + bytes(8)
END = b"B"
_RECORD = Struct(">qi")
_MAX_RECORD_BYTES = 2 * 0xFFFFF
_MIN_TXN_BYTES = 32
_FILL_BYTES = 1 << 20
NO_SPACE = (ENOSPC, EDQUOT, EFBIG)


class Damage(NamedTuple):
    """A place in a log file where reading had to stop.

    torn: nothing valid comes behind it, as when a crash cut the last write.
    """

    name: str
    offset: int
    last_zxid: int
    reason: str
    torn: bool


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
    """The zxid in the name of a log or snapshot; None for other files."""
    head, _, number = name.partition(".")
    try:
        return int(number, 16) if head == prefix else None
    except ValueError:
        return None


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
        self.records = 0  # in the current file

    def append(self, entries: list[Entry]) -> None:
        """Write a batch behind the last one, with one write. Not durable before `sync`.

        Where it fails nothing has been appended, and the same batch may be tried again.
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
        """Fill with zeros ahead of need; False when the disk has no room, which takes nothing from what is written."""
        if self._file is None or self._filled - self._position >= self._fill_ahead_bytes // 2:
            return True
        try:
            while self._filled - self._position < self._fill_ahead_bytes:
                self._file.write(self._filled, bytes(_FILL_BYTES))
                self._filled += _FILL_BYTES
        except OSError as error:
            if error.errno in NO_SPACE:
                return False
            raise
        return True

    def roll(self) -> None:
        """Let the next batch start a new file."""
        self.close()

    def close(self) -> None:
        """Make everything durable and give the file back."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None
            self.records = 0


def read_file(name: str, data: bytes) -> tuple[list[bytes], Damage | None]:
    """The payloads of a log file up to its end, or up to where it is damaged."""
    if data[:8] != HEADER[:8]:
        if not data.strip(b"\0") or HEADER.startswith(data.rstrip(b"\0")):
            return [], Damage(name, 0, 0, "no header", True)
        lost = not data[:16].strip(b"\0") and not _valid_record_behind(data, 16, 0)
        return [], Damage(name, 0, 0, "no header" if lost else "not a transaction log", lost)
    at, size, last_zxid = 16, len(data), 0
    payloads: list[bytes] = []
    while size - at >= 12:
        checksum, length = _RECORD.unpack_from(data, at)
        end = at + 12 + length
        reason = None
        if length == 0:
            if data.count(0, at) == size - at:
                return payloads, None
            reason = "record of no length"
        elif not _MIN_TXN_BYTES <= length <= _MAX_RECORD_BYTES:
            reason = f"record of {length} bytes"
        elif end + 1 > size:
            reason = "record cut short"
        elif data[end : end + 1] != END:
            reason = "record without its end mark"
        elif checksum != adler32(data[at + 12 : end]):
            reason = "checksum does not match"
        if reason is not None:
            return payloads, Damage(name, at, last_zxid, reason, not _valid_record_behind(data, at + 1, last_zxid))
        payload = data[at + 12 : end]
        zxid = payload_zxid(payload)
        if zxid <= last_zxid:
            return payloads, Damage(name, at, last_zxid, f"zxid 0x{zxid:x} goes backwards", False)
        payloads.append(payload)
        last_zxid = zxid
        at = end + 1
    if data.count(0, at) == size - at:
        return payloads, None
    return payloads, Damage(name, at, last_zxid, "record cut short", True)


def read_log(disk: Disk, after_zxid: int) -> Iterator[bytes]:
    """Payloads of the txns behind `after_zxid`, in order, up to a torn end.

    Raises DiskError for damage with valid txns behind it: cutting there would drop what was acknowledged.
    """
    files = sorted((zxid, name) for name in disk.names() if (zxid := file_zxid(name, "log")) is not None)
    first = max((index for index, (zxid, _) in enumerate(files) if zxid <= after_zxid + 1), default=0)
    last = 0  # of what was read; below `after_zxid` only what is in the first file, which need not be whole there
    for index, (zxid, name) in enumerate(files[first:], first):
        payloads, damage = read_file(name, disk.read(name))
        for payload in payloads:
            found = payload_zxid(payload)
            if last and found <= last:
                raise DiskError(f"{name}: zxid 0x{found:x} goes backwards behind 0x{last:x}")
            expected = max(last, after_zxid) + 1
            if found > expected and found >> 32 == expected >> 32:
                raise DiskError(f"{name}: txns 0x{expected:x} to 0x{found - 1:x} are missing")
            last = found
            if last > after_zxid:
                yield payload
        if damage is None:
            continue
        followed = index + 1 < len(files) and files[index + 1][0] != (damage.last_zxid or zxid - 1) + 1
        if not damage.torn or followed:
            raise DiskError(
                f"{name}: {damage.reason} at offset {damage.offset}, behind zxid 0x{damage.last_zxid:x}, with valid "
                "txns behind it; restore the file from a copy, or see what cutting it there would lose: "
                "`recipes repair DATA_DIR`"
            )


def zxids_behind(data: bytes, start: int, last_zxid: int) -> Iterator[int]:
    """Zxids of the whole records, each later than the one before, that stand anywhere behind `start`."""
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
        if 0 <= checksum <= 0xFFFFFFFF and _MIN_TXN_BYTES <= length <= _MAX_RECORD_BYTES and end in known:
            payload = data[at + 12 : end]
            zxid = payload_zxid(payload)
            if zxid > last_zxid and adler32(payload) == checksum:
                yield zxid
                last_zxid, at = zxid, end
        at += 1


def _valid_record_behind(data: bytes, start: int, last_zxid: int) -> bool:
    return next(zxids_behind(data, start, last_zxid), None) is not None
