"""Cells: small values that a protocol must not forget, each in a file of its own beside the snapshots.

Source: AtomicFileOutputStream.
"""

from collections.abc import Iterable

from recipes.core.disk.disk import Disk

_UNFINISHED = ".tmp"


def write_cell(disk: Disk, name: str, value: bytes) -> None:
    """Store a value atomically: a crash leaves the old one or the new one."""
    file = disk.create(name + _UNFINISHED)
    file.write(0, value)
    file.sync()
    file.close()
    disk.rename(name + _UNFINISHED, name)
    disk.sync()


def read_cells(disk: Disk, names: Iterable[str]) -> dict[str, bytes]:
    """The values of those cells that are there."""
    there = disk.names()
    return {name: disk.read(name) for name in names if name in there}


def read_unfinished(disk: Disk, names: Iterable[str]) -> dict[str, bytes]:
    """The values of cells in temporary files that a crash left before their rename; each may be whole or not."""
    there = disk.names()
    return {name: disk.read(name + _UNFINISHED) for name in names if name + _UNFINISHED in there}
