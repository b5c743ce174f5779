"""A server inside this process: what `connect()` uses when it is told of no other.

It has a thread and an event loop of its own, so that callers may be on asyncio or on trio.
"""

import asyncio
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path

from recipes.core.config import ServerConfig
from recipes.core.server.server import Server

_log = logging.getLogger("recipes.embedded")

_WARNING = "embedded server: private to this process, it excludes nobody else; set RECIPES_HOSTS to use a shared server"


class _Running:
    """One server with its thread, and how many use it."""

    def __init__(self, data_dir: Path | None) -> None:
        self.users = 0
        self._cleanup = ExitStack()
        kept = data_dir is not None
        if data_dir is None:
            data_dir = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="recipes-")))
        # Short ticks let tests see a session end soon; a directory that goes with the process needs no fsync.
        config = ServerConfig(
            client_port=0,
            data_dir=data_dir,
            tick_time_ms=500,
            max_session_timeout_ms=60_000,
            pre_alloc_size_kb=1024,
            force_sync=kept,
        )
        self._started: Future[tuple[str, Callable[[], object]]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(config)), name="recipes-embedded", daemon=True
        )
        self._thread.start()
        try:
            self.hosts, self._stop = self._started.result()
        except BaseException:
            self._thread.join()
            self._cleanup.close()
            raise

    async def _serve(self, config: ServerConfig) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Server(config) as server:
                hosts = f"127.0.0.1:{server.client_port}"
                self._started.set_result((hosts, lambda: loop.call_soon_threadsafe(stopping.set)))
                await stopping.wait()
        except BaseException as error:
            if self._started.done():
                _log.exception("embedded server ended")
            else:
                self._started.set_exception(error)

    def close(self) -> None:
        if self._thread.is_alive():
            self._stop()
            self._thread.join()
        self._cleanup.close()


_guard = threading.Lock()
_running: dict[Path | None, _Running] = {}
_warned = False


@contextmanager
def embedded_server(data_dir: str | Path | None = None) -> Iterator[str]:
    """Yield the `host:port` of a server in this process, which ends with its last user.

    data_dir: where its files are kept; None is a temporary directory. All users of one directory in this process,
        and all that name none, share one server.

    Blocks while the server starts and ends. Logs one WARNING per process. Raises DiskError when another process
    has the directory.
    """
    key = None if data_dir is None else Path(data_dir).resolve()
    with _guard:
        _warn_once()
        running = _running.get(key)
        if running is None:
            running = _running[key] = _Running(key)
        running.users += 1
    try:
        yield running.hosts
    finally:
        with _guard:
            running.users -= 1
            if not running.users:
                del _running[key]
                running.close()


def _warn_once() -> None:
    global _warned
    if not _warned:
        _warned = True
        _log.warning(_WARNING)
