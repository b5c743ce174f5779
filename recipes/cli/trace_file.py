"""The file of `recipes serve --trace`: where one server writes what it does."""

import json
import os
import stat
from pathlib import Path
from typing import Final

from recipes.core.errors import ConfigError

MOST_MB: Final = 64  # if nothing else is said
_BLOCK_BYTES = 1 << 20  # is read at once; the first line is shorter


class TraceFile:
    """A file to which whole lines are added. size: in bytes.

    A server that was started before has written to it already: what it was killed in the middle of is cut off.

    site, protocol: of the server. Raises ConfigError if the file is something else than a trace of this server, OSError
    if it cannot be opened.
    """

    def __init__(self, path: Path, version: str, site: str, protocol: str) -> None:
        # Without O_NONBLOCK a pipe that nobody reads would keep the server from starting.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o600)
        try:
            held = os.fstat(self._file)
            if not stat.S_ISREG(held.st_mode):
                raise ConfigError("--trace", path, "a file")
            if held.st_size and not self._is_of(held.st_size, version, site, protocol):
                raise ConfigError("--trace", path, f"a new file, or a trace of {site}, which runs {protocol}")
            self.size: int = self._cut(held.st_size)
        except BaseException:
            os.close(self._file)
            raise

    def write(self, lines: bytes) -> None:
        """Add lines. Raises OSError if they cannot be written; a part of them may be."""
        left = memoryview(lines)
        while left:
            left = left[os.write(self._file, left) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _is_of(self, size: int, version: str, site: str, protocol: str) -> bool:
        line, newline, _ = os.pread(self._file, _BLOCK_BYTES, 0).partition(b"\n")
        try:
            header = json.loads(line) if newline else {}
        except ValueError:
            return False
        wanted = {"version": version, "site": site, "protocol": protocol}
        return isinstance(header, dict) and all(header.get(name) == value for name, value in wanted.items())

    def _cut(self, size: int) -> int:
        """Cut off what is behind the last whole line."""
        begin = size
        while begin:  # a line may be long: a start tells all that is in the log
            end, begin = begin, max(0, begin - _BLOCK_BYTES)
            whole = begin + os.pread(self._file, end - begin, begin).rfind(b"\n") + 1
            if whole > begin:
                break
        else:
            whole = 0
        if whole < size:
            os.ftruncate(self._file, whole)
        return whole
