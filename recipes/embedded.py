"""A server inside this process: what `connect()` uses when it is told of no other.

It has a thread and an event loop of its own, so that callers may be on asyncio or on trio.
"""

import asyncio
import logging
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from recipes.core.config import ServerConfig
from recipes.core.server.server import Server

T = TypeVar("T")

_log = logging.getLogger("recipes.embedded")

_WARNING = "embedded server: private to this process, it excludes nobody else; set RECIPES_HOSTS to use a shared server"


class LoopThread:
    """An asyncio event loop in a thread of its own: its callers may be on asyncio, on trio or on neither."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine there; block until it is done, and return or raise what it does."""
        return self.begin(what).result()

    def begin(self, what: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine there, without waiting for it. Cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(what(), self._loop)

    def close(self) -> None:
        """End the loop and the thread."""
        self.call(self._loop.shutdown_default_executor)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Running:
    """One server with its thread, and how many use it."""

    def __init__(self, data_dir: Path | None) -> None:
        self.users = 0
        with ExitStack() as stack:
            kept = data_dir is not None
            if data_dir is None:
                data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recipes-")))
            # Short ticks let tests see a session end soon; a directory that goes with the process needs no fsync.
            config = ServerConfig(
                client_port=0,
                data_dir=data_dir,
                tick_time_ms=500,
                max_session_timeout_ms=60_000,
                pre_alloc_size_kb=1024,
                force_sync=kept,
            )
            thread = LoopThread("recipes-embedded")
            stack.callback(thread.close)
            server = thread.call(Server(config).__aenter__)
            stack.callback(lambda: thread.call(lambda: server.__aexit__(None, None, None)))
            self.hosts = f"127.0.0.1:{server.client_port}"
            self._cleanup = stack.pop_all()

    def close(self) -> None:
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
