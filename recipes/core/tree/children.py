"""The children of one znode: their paths in order of creation, in blocks.

A block is a short list: it takes a quarter of a dict's memory, and a directory of any size can be listed in slices,
while it changes, as a child never moves to another block.
"""

from collections.abc import Container, Iterator
from typing import Final

_BLOCK: Final = 128  # paths


class Children:
    """Paths of children. count: of all blocks together."""

    __slots__ = ("_first", "_last", "_more", "_number", "count")

    def __init__(self) -> None:
        self.count: int = 0
        self._first: list[bytes] = []  # number 0, for most directories the only one
        self._last: list[bytes] = self._first
        self._number: int = 0  # of the last one
        self._more: dict[int, list[bytes]] | None = None

    def add(self, path: bytes) -> int:
        """Add a child behind the others; return the number of its block, without which it cannot be removed."""
        self.count += 1
        if len(self._last) < _BLOCK:
            self._last.append(path)
            return self._number
        self._number += 1
        self._last = [path]
        if self._more is None:
            self._more = {}
        self._more[self._number] = self._last
        return self._number

    def remove(self, path: bytes, number: int) -> bool:
        """Remove a child from its block, if it is there; return whether none is left.

        Where a log is replayed over a fuzzy snapshot, a child may be unknown to its parent.
        """
        block = self._block(number)
        try:
            block.remove(path)
        except ValueError:
            return False
        self.count -= 1
        if not block:
            self._drop(number, block)
        return not self.count

    def without(self, number: int, gone: Container[bytes]) -> list[bytes]:
        """What is left of a block without these paths, for `keep`."""
        return [path for path in self._block(number) if path not in gone]

    def keep(self, number: int, kept: list[bytes]) -> bool:
        """Remove the children of one block that are not in `kept`; return whether none is left in all blocks."""
        block = self._block(number)
        self.count -= len(block) - len(kept)
        block[:] = kept
        if not block:
            self._drop(number, block)
        return not self.count

    def _block(self, number: int) -> list[bytes]:
        more = self._more
        return self._first if number == 0 or more is None else more.get(number, self._first)

    def _drop(self, number: int, block: list[bytes]) -> None:
        if self._more is not None and block is not self._last and block is not self._first:
            del self._more[number]

    def blocks(self) -> Iterator[list[bytes]]:
        """Each block that is there now, in order. Children may come and go between two of them."""
        yield self._first
        if self._more is not None:
            for number in list(self._more):
                block = self._more.get(number)
                if block is not None:
                    yield block

    def each(self) -> Iterator[bytes]:
        """All of them in order. Those that come and go meanwhile may be among them or not."""
        for block in self.blocks():
            yield from list(block)

    def paths(self) -> list[bytes]:
        """All of them."""
        return [path for block in self.blocks() for path in block]
