"""The shell's facts about its files and its system, for operators."""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from recipes.core.disk.snapshot_files import snapshot_zxid
from recipes.core.member.facts import Facts
from recipes.core.server.descriptors import in_use

if TYPE_CHECKING:
    from recipes.core.config import ServerConfig
    from recipes.core.server.strangers import Strangers

log: logging.Logger = logging.getLogger("recipes.server")


class ServerFacts(Facts):
    """Facts of the server with this configuration."""

    def __init__(self, config: "ServerConfig") -> None:
        self.config = config
        self.handshakes: list[Strangers] = []  # of TLS at the client ports, those that are not finished
        self._snapshots = config.data_dir / "version-2"
        self._logs = (config.data_log_dir or config.data_dir) / "version-2"

    def directories(self) -> tuple[int, int]:
        """Bytes in the directories of the snapshots and of the transaction log."""
        return _bytes_in(self._snapshots), _bytes_in(self._logs)

    def last_snapshot(self) -> tuple[int, int]:
        """The newest snapshot's zxid, and its time in seconds since the epoch; zeros without one."""
        named = [(snapshot_zxid(name), int(at.st_mtime)) for name, at in _files(self._snapshots)]
        return max([(zxid, written_s) for zxid, written_s in named if zxid is not None], default=(0, 0))

    def figures(self) -> dict[str, str | int]:
        """How many descriptors are open, and how many may be; TLS handshakes that are not finished."""
        count, most = in_use()
        return {
            "open_file_descriptor_count": count,
            "max_file_descriptor_count": most,
            "outstanding_tls_handshake": sum(map(len, self.handshakes)),
        }

    def initial_configuration(self) -> str | None:
        """The configuration file the server started with, without its secrets."""
        from recipes.core.properties import masked  # a store starts sooner without it

        text = self.config.source_text
        return None if text is None else masked(text)

    def system_properties(self) -> dict[str, str]:
        """Properties of the interpreter, under Java's names where these apply."""
        return {
            "python.version": sys.version.partition(" ")[0],
            "python.implementation": sys.implementation.name,
            "file.encoding": sys.getfilesystemencoding(),
            "user.dir": str(Path.cwd()),
        }


def _bytes_in(directory: Path) -> int:
    return sum(at.st_size for _, at in _files(directory))


def _files(directory: Path) -> list[tuple[str, os.stat_result]]:
    """The files in a directory; none if it cannot be read, since a request for a figure must not end the server."""
    found = []
    try:
        names = os.listdir(directory)
    except OSError as error:  # for example when no descriptor is left
        log.warning("%s cannot be read, so it is reported as empty: %s", directory, error.strerror)
        return []
    for name in names:
        with suppress(FileNotFoundError):  # purged in the meantime
            found.append((name, os.stat(directory / name)))
    return [(name, at) for name, at in found if S_ISREG(at.st_mode)]
