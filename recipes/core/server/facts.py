"""What the shell knows of its files and its system, for those who look after the server."""

import sys
from pathlib import Path

from recipes.core.config import ServerConfig
from recipes.core.disk.txnlog import file_zxid
from recipes.core.member.facts import Facts


class ServerFacts(Facts):
    """Of the server with this configuration."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._snapshots = config.data_dir / "version-2"
        self._logs = (config.data_log_dir or config.data_dir) / "version-2"

    def directories(self) -> tuple[int, int]:
        """Bytes in the directories of the snapshots and of the transaction log."""
        return _bytes_in(self._snapshots), _bytes_in(self._logs)

    def last_snapshot(self) -> tuple[int, int]:
        """The newest snapshot's zxid, and when it was written."""
        named = [(file_zxid(path.name, "snapshot"), path) for path in self._snapshots.iterdir()]
        found = [(zxid, path) for zxid, path in named if zxid is not None]
        if not found:
            return 0, 0
        zxid, path = max(found)
        return zxid, int(path.stat().st_mtime)

    def initial_configuration(self) -> str | None:
        """The configuration file the server started with."""
        return self.config.source_text

    def system_properties(self) -> dict[str, str]:
        """Of the interpreter: names as Java's, as far as they mean something here."""
        return {
            "python.version": sys.version.partition(" ")[0],
            "python.implementation": sys.implementation.name,
            "file.encoding": sys.getfilesystemencoding(),
            "user.dir": str(Path.cwd()),
        }


def _bytes_in(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
