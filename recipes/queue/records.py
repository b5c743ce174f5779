"""What is in an item's znode: its data, and before it what the queue has to know of it. Pure."""

import hashlib
import json
from struct import Struct
from typing import NamedTuple

_PLAIN = b"\x00"
_WITH_HEADER = b"\x01"
_LENGTH = Struct(">I")


class Record(NamedTuple):
    """An item as it is stored. It is written once and never changed."""

    data: bytes
    key: str = ""  # a repeated put of the same key is the same item, until it is acknowledged
    priority: int = 100  # where a dead letter came from
    reason: str = ""  # why it is a dead letter
    attempts: int = 0  # how often it had been handed out when it became one
    put_ms: int = 0  # when it was first put, by the servers' clock; 0 where the znode's own ctime says it


class Put(NamedTuple):
    """What came of a put; true where it has put its item.

    created: whether the item is in the queue by this put. False when one with the same key is there already: waiting,
    in hand, or a dead letter. since: seconds since 1970, by the servers' clock, when that one was put; 0.0 where
    `created` is true.
    """

    created: bool
    since: float = 0.0

    def __bool__(self) -> bool:
        return self.created


class Unreadable(ValueError):
    """These bytes are not an item of this queue."""


def encode(record: Record) -> bytes:
    """The znode's data: one byte before the item's own where there is nothing more to say."""
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
    """The record. Raises Unreadable."""
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
    """Folder and name of the znode that stands for `key`: 256 folders, so that none gets long."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return digest[:2], digest[:40]
