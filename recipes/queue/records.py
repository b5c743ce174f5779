"""The bytes of an item's znode: a header for the queue, and the item's data. Pure."""

import hashlib
import json
from struct import Struct
from typing import NamedTuple

_PLAIN = b"\x00"
_WITH_HEADER = b"\x01"
_LENGTH = Struct(">I")


class Record(NamedTuple):
    """An item as stored. It is written once and never changed."""

    data: bytes
    key: str = ""  # until the item is acknowledged, puts with the same key add nothing
    priority: int = 100  # of a dead letter: its priority in the queue
    reason: str = ""  # why it is a dead letter
    attempts: int = 0  # of a dead letter: how often it had been handed out
    put_ms: int = 0  # when it was first put, by the servers' clock; 0: see the znode's ctime


class Put(NamedTuple):
    """The result of a put; true if it put its item.

    created: whether this put added the item. False if an item with the same key is there already: waiting, in hand, or
    a dead letter. since: when that item was put, in seconds since 1970 by the servers' clock; 0.0 if `created` is true.
    """

    created: bool
    since: float = 0.0

    def __bool__(self) -> bool:
        return self.created


class Unreadable(ValueError):
    """These bytes are not an item of this queue."""


def encode(record: Record) -> bytes:
    """The znode's data: one byte, then the header if it is not empty, then the item's data."""
    header = {
        name: value
        for name, value in record._asdict().items()
        if name != "data" and value != Record._field_defaults[name]
    }
    if not header:
        return _PLAIN + record.data
    text = json.dumps(header, separators=(",", ":")).encode()
    return _WITH_HEADER + _LENGTH.pack(len(text)) + text + record.data


def decode(stored: bytes) -> Record:
    """The record in a znode's data. Raises Unreadable."""
    kind = stored[:1]
    if kind == _PLAIN:
        return Record(stored[1:])
    try:
        if kind != _WITH_HEADER:
            raise ValueError("its first byte is not known")
        (length,) = _LENGTH.unpack_from(stored, 1)
        end = 1 + _LENGTH.size + length
        header = json.loads(stored[1 + _LENGTH.size : end])
        known = {name: header[name] for name in Record._fields if name in header and name != "data"}
        return Record(stored[end:], **known)
    except Exception as error:
        raise Unreadable(f"not an item of this queue: {error}") from error


def key_name(key: str) -> tuple[str, str]:
    """Folder and name of the znode for `key`. There are 256 folders, so that no child list gets long."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return digest[:2], digest[:40]
