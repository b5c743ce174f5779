"""The seam to files: a directory, and writes that become durable only by an explicit sync."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from recipes.core.errors import DiskError


class File(Protocol):
    """One open file."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`. Raises OSError, also when only part of it fits."""

    def sync(self) -> None:
        """Return once everything written is durable."""

    def truncate(self, size_bytes: int) -> None:
        """Cut the file."""

    def close(self) -> None:
        """Close the file without making anything durable."""


class Disk(Protocol):
    """One directory."""

    def names(self) -> list[str]:
        """Its files, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """A whole file."""
        ...

    def create(self, name: str) -> File:
        """A new, empty file; one of the same name is emptied."""
        ...

    def open(self, name: str) -> File:
        """A file that exists, for writing."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename a file, replacing any file that has the new name."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def sync(self) -> None:
        """Return once creations, renames and removals are durable."""


class RealFile:
    """A file of the operating system."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, offset: int, data: bytes) -> None:
        """One pwrite, and further ones if the system writes only a part."""
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], offset + written)

    def sync(self) -> None:
        """fdatasync."""
        os.fdatasync(self._fd)

    def truncate(self, size_bytes: int) -> None:
        """ftruncate."""
        os.ftruncate(self._fd, size_bytes)

    def close(self) -> None:
        """close."""
        os.close(self._fd)


class RealDisk:
    """A directory of the operating system, created if it is missing, accessible to its owner only.

    lock: refuse the directory while another process uses it; the file `.lock` has that process's pid. Raises DiskError.
    what: the error's word for that other process.
    """

    def __init__(self, path: Path, lock: bool = True, what: str = "server") -> None:
        self.path = path
        self._directory = self._lock = -1
        try:
            _make_directory(path)
            # Kept open: making a new log file durable must work even when the process is out of file descriptors.
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if lock:
                self._lock = os.open(path / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.close()
            raise DiskError(f"data directory {path}: {error.strerror}") from error
        if lock:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                owner = os.pread(self._lock, 20, 0).decode(errors="replace").strip()
                self.close()
                known = f", pid {owner}" if owner.isdigit() else ""
                raise DiskError(f"data directory {path} is locked by another {what}{known}") from None
            with suppress(OSError):  # a server on a full disk can still serve reads
                os.ftruncate(self._lock, 0)
                os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Release the directory and its lock."""
        for fd in (self._directory, self._lock):
            if fd >= 0:
                os.close(fd)
        self._directory = self._lock = -1

    def names(self) -> list[str]:
        """Its files, sorted."""
        return sorted(entry.name for entry in self.path.iterdir() if entry.is_file())

    def read(self, name: str) -> bytes:
        """A whole file."""
        return (self.path / name).read_bytes()

    def create(self, name: str) -> RealFile:
        """A new, empty file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        return RealFile(os.open(self.path / name, flags, 0o600))

    def open(self, name: str) -> RealFile:
        """A file that exists."""
        return RealFile(os.open(self.path / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))

    def rename(self, old: str, new: str) -> None:
        """Rename."""
        (self.path / old).replace(self.path / new)

    def remove(self, name: str) -> None:
        """Unlink."""
        (self.path / name).unlink()

    def sync(self) -> None:
        """fsync of the directory."""
        os.fsync(self._directory)


def _make_directory(path: Path) -> None:
    """Create a directory and its missing ancestors, all durable."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
