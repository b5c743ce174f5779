"""Finds the end of the tree behind a SNAP packet. The tree has no length field, so it is parsed as it arrives.

Source: org.apache.zookeeper.server.util.SerializeUtils, DataTree.serialize, ReferenceCountedACLCache.
"""

from collections.abc import Generator
from typing import Final

from recipes.core.errors import WireError
from recipes.core.jute.codec import un_int

_SESSION_BYTES: Final = 12  # its id and its timeout
_NODE_BYTES: Final = 68  # the key of its ACL and its StatPersisted
_SIGNATURE: Final = b"\x00\x00\x00\x0aBenWasHere"  # a leader writes this behind the tree


class Dump:
    """A serialised tree, received piece by piece, at a cost linear in its size.

    limit_bytes: the longest path, data, or ACL accepted. The whole tree has no limit.
    """

    __slots__ = ("_parts", "_walk")

    def __init__(self, limit_bytes: int) -> None:
        self._parts: list[bytes] = []
        self._walk = _walk(limit_bytes)
        next(self._walk)

    def take(self, data: bytes, at: int) -> tuple[int, int]:
        """Take the complete items in `data` from `at` on.

        Return the offset of the rest, and the least number of bytes the rest must have before the next call; 0 once
        the dump is whole. Raises WireError.
        """
        try:
            end, wanted = self._walk.send((data, at))
        except StopIteration as stop:
            self._parts.append(data[at : stop.value])
            return stop.value + len(_SIGNATURE), 0
        self._parts.append(data[at:end])
        return end, wanted

    def body(self) -> bytes:
        """Sessions, ACLs and nodes, up to and with the path "/" that ends them."""
        return b"".join(self._parts)


def _walk(limit: int) -> Generator[tuple[int, int], tuple[bytes, int], int]:
    """Find the end of the tree, and return the offset of the signature behind it.

    Yields the offset of the first incomplete item and the least number of bytes the item has. The caller sends the
    bytes, and the offset of that item in them.
    """
    data, at = yield 0, 4
    while len(data) - at < 4:
        data, at = yield at, 4
    left = _count(data, at)
    at += 4
    while left:
        whole = min(left, (len(data) - at) // _SESSION_BYTES)
        at += whole * _SESSION_BYTES
        left -= whole
        if left:
            data, at = yield at, _SESSION_BYTES

    while len(data) - at < 4:
        data, at = yield at, 4
    left = _count(data, at)
    at += 4
    need = 12  # the key and the number of entries
    while left:
        if len(data) - at < need:
            data, at = yield at, need
            continue
        need = end_of_pairs(data, at + 12, _count(data, at + 8), 4, limit) - at
        if len(data) - at >= need:
            at, left, need = at + need, left - 1, 12

    need = 4
    while True:
        if len(data) - at < need:
            data, at = yield at, need
            continue
        path_end = at + 4 + bounded(un_int(data, at)[0], 0, limit)
        need = path_end + 4 - at
        if len(data) - at < need:
            continue
        if path_end - at == 5 and data[at + 4] == 0x2F:
            break
        need += max(0, bounded(un_int(data, path_end)[0], -1, limit)) + _NODE_BYTES
        if len(data) - at >= need:
            at, need = at + need, 4

    at = path_end
    while len(data) - at < len(_SIGNATURE):
        data, at = yield at, len(_SIGNATURE)
    if not data.startswith(_SIGNATURE, at):
        raise WireError("the tree behind a SNAP does not end with its signature")
    return at


def end_of_pairs(data: bytes, at: int, count: int, fixed: int, limit: int) -> int:
    """The offset behind `count` items, each of `fixed` bytes and two strings.

    If `data` ends before the items do, the result is a lower bound, beyond the end of `data`.
    limit: bytes that all items together may take. Raises WireError as soon as they are known to take more.
    """
    last = at + limit
    for left in range(count, 0, -1):
        at += fixed
        for _ in range(2):
            if at + 4 > len(data):
                end = at + 4 + (left - 1) * (fixed + 8)
                if end > last:
                    raise WireError(f"{count} items take more than {limit} bytes")
                return end
            at += 4 + bounded(un_int(data, at)[0], 0, limit)
    if at > last:
        raise WireError(f"{count} items take more than {limit} bytes")
    return at


def bounded(length: int, least: int, limit: int) -> int:
    """The length. Raises WireError if it is not from `least` to `limit`."""
    if least <= length <= limit:
        return length
    raise WireError(f"length {length}: expected {least} to {limit}")


def _count(data: bytes, at: int) -> int:
    count: int = un_int(data, at)[0]
    if count < 0:
        raise WireError(f"{count} items: expected 0 or more")
    return count
