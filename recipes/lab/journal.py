"""The disk under a machine: keys and values in one file of a simulated disk.

Each write is a line with a checksum. After a power cut the file may end in a torn line, or have lost lines; reading
stops at the first line that is not whole, so that what is found is always a prefix of what was written.
"""

import json
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from recipes.core.agree.machine import Write
from recipes.core.sim.chance import Random
from recipes.core.sim.disk import SimDisk

_NAME = "journal"
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Journal:
    """A durable mapping."""

    def __init__(self, chance: Random) -> None:
        self.disk: SimDisk = SimDisk(chance)
        self._begin()

    def append(self, write: Write) -> int:
        """Write, without a sync; returns the number of bytes."""
        line = _line(write.key, write.value)
        self._file.write(self._end, line)
        self._end += len(line)
        return len(line)

    def sync(self) -> None:
        """Make all writes durable."""
        self._file.sync()
        self._synced = self._end

    def stored(self) -> dict[str, Any]:
        """What is on the disk, by key."""
        found: dict[str, Any] = {}
        for key, value, _ in _whole_lines(self.disk.read(_NAME)):
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found

    def restart(self, *, power: bool, keep: bool | None = None) -> None:
        """The site is down. power: so is its disk; keep: whether unsynced writes are kept, None for chance."""
        if power and keep is None:
            self.disk.cut_power()
            self.disk.restart()
        else:
            self.disk.revive()
        self._cut_tail(self._synced if power and keep is False else None)

    def wipe(self) -> None:
        """Replace the disk by an empty one."""
        self.disk.wipe()
        self._begin()

    def _begin(self) -> None:
        self._file = self.disk.create(_NAME)
        self._end = 0
        self._synced = 0
        self._file.sync()
        self.disk.sync()

    def _cut_tail(self, limit: int | None) -> None:
        """Remove what a power cut has damaged, before anything is written after it."""
        self._file = self.disk.open(_NAME)
        content = self.disk.read(_NAME)[:limit]
        self._end = max((end for _, _, end in _whole_lines(content)), default=0)
        self._file.truncate(self._end)
        self.sync()


def _line(key: str, value: Any) -> bytes:
    text = _encode([key, value]).encode()
    return b"%08x %b\n" % (crc32(text), text)


def _whole_lines(content: bytes) -> Iterator[tuple[str, Any, int]]:
    """Key, value and end of each line, up to the first one that is not whole."""
    start = 0
    while (newline := content.find(b"\n", start)) >= 0:
        digits, _, text = content[start:newline].partition(b" ")
        if digits != b"%08x" % crc32(text):
            return
        key, value = json.loads(text)
        start = newline + 1
        yield key, value, start
