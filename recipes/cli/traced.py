"""A server of an ensemble that writes a trace of what it does: `recipes serve --trace`."""

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns, time_ns
from types import TracebackType

from recipes.cli.source import source_commit
from recipes.cli.trace_file import MOST_MB, TraceFile
from recipes.core.config import ServerConfig
from recipes.core.errors import ConfigError
from recipes.core.protocols import find_protocol
from recipes.core.server.server import Server
from recipes.lab.served.part import PART_VERSION, Part, site_name
from recipes.lab.served.protocols import find_served
from recipes.lab.served.watched import watched

log: logging.Logger = logging.getLogger("recipes.server")


class TracedServer:
    """A Server, and its trace.

    most_mb: how large the file may become, in MB of 1,000,000 bytes; MOST_MB if None. part: writes it; None where the
    file cannot be opened.

    `async with` makes the server and gives it. What goes wrong with the file is logged once: the server runs without a
    trace from then on. Raises ConfigError if the server stands alone, or the file is not for its trace.
    """

    def __init__(self, config: ServerConfig, path: Path, most_mb: int | None) -> None:
        membership, sid = config.membership, config.server_id
        if membership is None or sid is None:
            why = "a member of an ensemble: a trace shows messages, and this server stands alone"
            raise ConfigError("--trace", path, why)
        if most_mb is not None and most_mb < 1:
            raise ConfigError("--trace-mb", most_mb, "a number from 1 on")
        self._server = Server(config)
        self._file: TraceFile | None = None
        self.part: Part | None = None
        try:
            self._file = TraceFile(path, PART_VERSION, site_name(membership, sid), config.replication)
        except OSError as error:
            _warn(f"there is no trace: {path}: {error.strerror}")
            return
        room_bytes = (MOST_MB if most_mb is None else most_mb) * 1_000_000 - self._file.size
        served = find_served(config.replication)
        self.part = Part(served, _clock(), self._file.write, room_bytes, _warn, source_commit())
        self._server = Server(config, watched(find_protocol(config.replication), self.part))

    async def __aenter__(self) -> Server:
        server, part = self._server, self.part
        if part is not None:
            part.tree = lambda: server.member.tree
        try:
            return await server.__aenter__()
        except BaseException as error:
            self._close(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self._server.__aexit__(kind, error, at)
        finally:
            self._close(error)

    def _close(self, error: BaseException | None) -> None:
        if self.part is not None and self._file is not None:
            # asyncio cancels the server when it is told to stop.
            self.part.guarded(self.part.close, f"failed: {error}" if isinstance(error, Exception) else "stopped")
            self.part.ended = True
            self._file.close()


def _warn(text: str) -> None:
    log.warning("%s", text)


def _clock() -> Callable[[], int]:
    """The time of day in us, as it is now; from then on it never goes back, whatever happens to the time of day."""
    ahead_ns = time_ns() - monotonic_ns()
    return lambda: (ahead_ns + monotonic_ns()) // 1000
