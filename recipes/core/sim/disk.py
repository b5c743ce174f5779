"""A disk that can lose power: unsynced writes are then kept, lost or torn, as a seeded random source decides.

A file consists of its durable content, its current content, and the writes between the two; a directory likewise.
Directory changes survive in order, as on a journalling file system. Each write to a file survives or not independently
of the others.
"""

from errno import EIO, ENOSPC
from typing import Protocol

SECTOR_BYTES = 512
_FATES = ("write lost", "write kept", "write cut", "write torn by sectors")


class Chance(Protocol):
    """The method of random.Random that the disk uses."""

    def randrange(self, stop: int, /) -> int:
        """A number from 0 to `stop` - 1."""
        ...


class PowerCut(Exception):
    """The power is off: nothing works until `restart`."""


class _Inode:
    __slots__ = ("content", "durable", "unsynced")

    def __init__(self) -> None:
        self.content: bytearray = bytearray()
        self.durable: bytes = b""
        self.unsynced: list[tuple[int, bytes | None]] = []  # writes in order; None cuts the file at the offset


class SimFile:
    """One open file of a SimDisk."""

    __slots__ = ("_disk", "_inode")

    def __init__(self, disk: "SimDisk", inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, offset: int, data: bytes) -> None:
        """Write at `offset`. On a full disk, write the part of `data` that fits, and raise OSError."""
        self._disk.effect()
        growth = offset + len(data) - len(self._inode.content)
        missing = growth - self._disk.free_bytes() if growth > 0 else 0
        part = data[: max(0, len(data) - missing)] if missing > 0 else data
        if part:
            _write(self._inode.content, offset, part)
            self._inode.unsynced.append((offset, part))
        if len(part) < len(data):
            raise OSError(ENOSPC, "no space left on the simulated disk")

    def sync(self) -> None:
        """Make the file's content durable, but not its name."""
        self._disk.effect()
        inode = self._inode
        if self._disk.fail_syncs:
            # From now on the pages count as clean: reads see them, but a later sync does not write them.
            inode.unsynced.clear()
            raise OSError(EIO, "the simulated disk failed to sync")
        inode.unsynced.clear()
        inode.durable = bytes(inode.content)

    def truncate(self, size_bytes: int) -> None:
        """Cut the file, or lengthen it with zeros."""
        self._disk.effect()
        _truncate(self._inode.content, size_bytes)
        self._inode.unsynced.append((size_bytes, None))

    def close(self) -> None:
        """Close the file without making anything durable."""


class SimDisk:
    """One directory on a simulated disk.

    chance: decides what survives a power cut.
    cut_before: the number of the effect (a write, sync, or change of the directory, counted from 1) at which the power
        fails instead; None: never.
    space_bytes: how much all files together may hold; None: no limit.
    in_order: a torn write always keeps a prefix; otherwise it may also keep any subset of its sectors.
    fail_syncs: every sync of a file fails.
    fates: how often an unsynced write met each fate in a power cut.
    """

    def __init__(
        self, chance: Chance, cut_before: int | None = None, space_bytes: int | None = None, in_order: bool = False
    ) -> None:
        self.cut_before = cut_before
        self.space_bytes = space_bytes
        self.fail_syncs = False
        self.effects: int = 0
        self.fates: dict[str, int] = dict.fromkeys(_FATES, 0)
        self._chance = chance
        self._in_order = in_order
        self._off = False
        self._entries: dict[str, _Inode] = {}
        self._states: list[dict[str, _Inode]] = [{}]  # the durable directory, then its state after each change since

    # The Disk itself.

    def names(self) -> list[str]:
        """Its files, sorted."""
        self._check_power()
        return sorted(self._entries)

    def read(self, name: str) -> bytes:
        """A whole file."""
        self._check_power()
        return bytes(self._inode(name).content)

    def create(self, name: str) -> SimFile:
        """A new, empty file; one of the same name is emptied."""
        inode = self._entries.get(name)
        if inode is not None:
            file = SimFile(self, inode)
            file.truncate(0)
            return file
        self.effect()
        inode = self._entries[name] = _Inode()
        self._states.append(dict(self._entries))
        return SimFile(self, inode)

    def open(self, name: str) -> SimFile:
        """A file that exists, for writing."""
        self._check_power()
        return SimFile(self, self._inode(name))

    def rename(self, old: str, new: str) -> None:
        """Rename a file, replacing any file that has the new name."""
        self.effect()
        inode = self._inode(old)
        del self._entries[old]
        self._entries[new] = inode
        self._states.append(dict(self._entries))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.effect()
        self._inode(name)
        del self._entries[name]
        self._states.append(dict(self._entries))

    def sync(self) -> None:
        """Return once creations, renames and removals are durable."""
        self.effect()
        self._states = [dict(self._entries)]

    # Faults.

    def cut_power(self) -> None:
        """Cut the power: nothing works from here on."""
        self._off = True

    def revive(self) -> None:
        """Only the process ended: everything written is still there, though not durable yet."""
        self._off = False
        self.cut_before = None

    def wipe(self) -> None:
        """Replace the disk by an empty one."""
        self.revive()
        self._entries = {}
        self._states = [{}]

    def unsynced(self, prefix: str) -> list[str]:
        """The files with this prefix whose content or name a power cut could change."""
        durable = self._states[0]
        return [
            name
            for name, inode in self._entries.items()
            if name.startswith(prefix) and (inode.unsynced or durable.get(name) is not inode)
        ]

    def restart(self) -> None:
        """Restore the power: the disk holds everything durable, and a random part of the rest."""
        self._off = False
        self.cut_before = None
        self._entries = self._states[self._chance.randrange(len(self._states))]
        self._states = [dict(self._entries)]
        for inode in self._entries.values():
            self._survive(inode)

    def flip(self, name: str, offset: int, bits: int = 1) -> None:
        """Let bits of a durable byte rot."""
        inode = self._inode(name)
        inode.content[offset] ^= bits
        inode.durable = bytes(inode.content)

    def effect(self) -> None:
        """Count one effect. Raises PowerCut when the power fails at it."""
        self._check_power()
        self.effects += 1
        if self.effects == self.cut_before:
            self._off = True
        self._check_power()

    def free_bytes(self) -> int:
        """The free space in bytes."""
        if self.space_bytes is None:
            return 1 << 62
        return self.space_bytes - self.used_bytes

    @property
    def used_bytes(self) -> int:
        """How much all files together hold."""
        return sum(len(inode.content) for inode in self._entries.values())

    def _check_power(self) -> None:
        if self._off:
            raise PowerCut

    def _inode(self, name: str) -> _Inode:
        try:
            return self._entries[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def _survive(self, inode: _Inode) -> None:
        """Decide a file's content after a power cut: each unsynced write is lost, kept, cut, or torn by sectors."""
        chance = self._chance
        found = bytearray(inode.durable)
        for offset, data in inode.unsynced:
            fate = chance.randrange(3 if self._in_order else 4)
            self.fates[_FATES[fate]] += 1
            if fate == 0:
                continue
            if data is None:
                _truncate(found, offset)
            elif fate == 1:
                _write(found, offset, data)
            elif fate == 2:
                _write(found, offset, data[: chance.randrange(len(data) + 1)])
            else:  # the file has its full new length, but only some sectors were written
                end = offset + len(data)
                _truncate(found, max(len(found), end))
                for sector in range(offset // SECTOR_BYTES, end // SECTOR_BYTES + 1):
                    start = max(offset, sector * SECTOR_BYTES)
                    if chance.randrange(2):
                        part = data[start - offset : (sector + 1) * SECTOR_BYTES - offset]
                        _write(found, start, part)
        inode.unsynced.clear()
        inode.durable = bytes(found)
        inode.content = found


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if data:
        _truncate(content, max(len(content), offset))
        content[offset : offset + len(data)] = data


def _truncate(content: bytearray, size_bytes: int) -> None:
    del content[size_bytes:]
    content.extend(bytes(size_bytes - len(content)))
