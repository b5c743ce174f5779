"""Jute's primitives: big-endian, untagged, length-prefixed; -1 as a length is null.

The `un_*` names are bound `Struct.unpack_from` methods, `(data, at) -> tuple`: on the hot path one call reads a whole
run of fixed fields. The `read_*` functions return the value and the offset behind it, and raise WireError when the
bytes end early. Source: org.apache.jute BinaryInputArchive, BinaryOutputArchive.
"""

from collections.abc import Callable, Iterable
from struct import Struct
from struct import error as StructError
from typing import Final, TypeVar

from recipes.core.errors import WireError

T = TypeVar("T")

_INT: Final = Struct(">i")
_LONG: Final = Struct(">q")
_HEAD: Final = Struct(">iii")

un_int: Final = _INT.unpack_from
un_long: Final = _LONG.unpack_from
un_head: Final = _HEAD.unpack_from  # a frame's length, xid and opcode
pack_int: Final = _INT.pack
pack_head: Final = _HEAD.pack
pack_long: Final = _LONG.pack

NULL: Final = b"\xff\xff\xff\xff"
TRUE: Final = b"\x01"
FALSE: Final = b"\x00"


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """A 32-bit integer."""
    try:
        return un_int(data, at)[0], at + 4
    except StructError:
        raise _cut(data, at, 4) from None


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A 64-bit integer."""
    try:
        return un_long(data, at)[0], at + 8
    except StructError:
        raise _cut(data, at, 8) from None


def read_bool(data: bytes, at: int) -> tuple[bool, int]:
    """A boolean: any byte but zero is true."""
    if at >= len(data):
        raise _cut(data, at, 1)
    return data[at] != 0, at + 1


def read_buffer(data: bytes, at: int) -> tuple[bytes | None, int]:
    """A buffer or the UTF-8 bytes of a string; None for null, which differs from empty."""
    try:
        length = un_int(data, at)[0]
    except StructError:
        raise _cut(data, at, 4) from None
    at += 4
    if length < 0:
        if length == -1:
            return None, at
        raise WireError(f"length {length} at offset {at - 4}: expected -1 or more")
    end = at + length
    if end > len(data):
        raise _cut(data, at, length)
    return data[at:end], end


def read_string(data: bytes, at: int) -> tuple[bytes, int]:
    """A string that must not be null."""
    try:
        length = un_int(data, at)[0]
    except StructError:
        raise _cut(data, at, 4) from None
    start = at + 4
    end = start + length
    if 0 <= length and end <= len(data):
        return data[start:end], end
    if length == -1:
        raise WireError(f"null string at offset {at}")
    raise _cut(data, start, length) if length > 0 else WireError(f"length {length} at offset {at}: expected 0 or more")


def read_vector(
    data: bytes, at: int, read_item: Callable[[bytes, int], tuple[T, int]], smallest: int = 1
) -> tuple[list[T] | None, int]:
    """A vector of the items that `read_item` reads; None for null.

    smallest: the fewest bytes an item can take; a count that cannot fit is refused before anything is allocated.
    """
    count, at = read_int(data, at)
    if count < 0:
        return (None, at) if count == -1 else ([], at)
    if count * smallest > len(data) - at:
        raise WireError(f"vector of {count} items at offset {at - 4}: only {len(data) - at} bytes are left")
    items = []
    for _ in range(count):
        item, at = read_item(data, at)
        items.append(item)
    return items, at


def read_strings(data: bytes, at: int) -> tuple[list[bytes] | None, int]:
    """A vector of strings."""
    count, first = read_int(data, at)
    if count < 0 or count * 4 > len(data) - first:
        return read_vector(data, at, read_string, smallest=4)
    strings, at, size = [], first, len(data)
    for _ in range(count):  # a list of children is long: no call for each name
        start = at + 4
        if start <= size and 0 <= (length := un_int(data, at)[0]) <= size - start:
            at = start + length
            strings.append(data[start:at])
        else:
            read_string(data, at)  # it says what is wrong
    return strings, at


def write_buffer(value: bytes | None) -> bytes:
    """A buffer or string with its length in front."""
    return NULL if value is None else pack_int(len(value)) + value


def write_bool(value: bool) -> bytes:
    """A boolean."""
    return TRUE if value else FALSE


def write_vector(items: Iterable[T] | None, write_item: Callable[[T], bytes]) -> bytes:
    """A vector; None becomes null."""
    if items is None:
        return NULL
    parts = [write_item(item) for item in items]
    return pack_int(len(parts)) + b"".join(parts)


def write_strings(items: Iterable[bytes] | None) -> bytes:
    """A vector of strings."""
    return write_vector(items, write_buffer)


def text(value: bytes) -> str:
    """A string's bytes as `str`. Malformed UTF-8 becomes U+FFFD, as in Java."""
    return value.decode("utf-8", errors="replace")


def texts(values: Iterable[bytes]) -> list[str]:
    """As `text`, of each."""
    return [value.decode("utf-8", "replace") for value in values]


def _cut(data: bytes, at: int, wanted: int) -> WireError:
    return WireError(f"record ends early: {wanted} bytes wanted at offset {at}, {max(0, len(data) - at)} left")
