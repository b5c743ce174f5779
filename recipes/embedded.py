"""A private server inside this process, for `connect(private=True)`, and the thread that ensembles of tests run on.

It has its own thread and event loop, so callers may be on asyncio or on trio. A forked child has neither the thread nor
the loop. It does not touch the objects that it inherits, so that its parent is not disturbed.
"""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from recipes.core.config import ServerConfig
from recipes.core.errors import SessionExpired
from recipes.core.server.server import Server

T = TypeVar("T")

_log = logging.getLogger("recipes.embedded")

_LAST_SECONDS = 5.0


class LoopThread:
    """An asyncio event loop in a thread of its own: its callers may be on asyncio, on trio or on neither.

    It belongs to the process that made it. In a forked child, calls raise RuntimeError, and `close` does nothing.
    """

    def __init__(self, name: str) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def runs_here(self) -> bool:
        """Whether it runs: this is not a forked child, and the interpreter is not shutting down."""
        return os.getpid() == self._pid and not sys.is_finalizing()

    def call(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine there; block until it is done, and return its result or raise its error."""
        return self.begin(what).result()

    def begin(self, what: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine there, without waiting for it. Cancelling the future cancels it."""
        if not self.runs_here:
            raise RuntimeError("this server runs in the process that was forked: start one in this process")
        return asyncio.run_coroutine_threadsafe(what(), self._loop)

    def close(self) -> None:
        """End the loop and the thread."""
        if not self.runs_here:
            return
        self.call(_wait_for_others)
        self.call(self._loop.shutdown_default_executor)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _wait_for_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_LAST_SECONDS)


class OwnDirectory:
    """A temporary directory that is removed with its owner, at the latest with this process, never by a fork."""

    def __init__(self, prefix: str) -> None:
        self.path: Path = Path(tempfile.mkdtemp(prefix=prefix))
        self._finalizer = weakref.finalize(self, _remove, self.path, os.getpid())

    def close(self) -> None:
        """Remove it with its contents."""
        self._finalizer()


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(path, ignore_errors=True)


async def start_server(config: ServerConfig, failed: Callable[[BaseException, asyncio.Task[None]], None]) -> Server:
    """Start a server on this loop. When it fails, it is closed, and an ERROR says why.

    failed: called with the error and the task that closes the server. Closing it tells its clients.
    """
    server = await Server(config).__aenter__()
    loop = asyncio.get_running_loop()

    async def end() -> None:
        with suppress(Exception):  # a failed server may fail to close, and its error is logged already
            await server.__aexit__(None, None, None)

    def look(future: asyncio.Future[None]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            _log.error("the server in %s failed: %s", config.data_dir, error)
            failed(error, loop.create_task(end()))

    server.failed.add_done_callback(look)
    return server


class _Running:
    """One server with its thread, the number of its users, and the error it failed with."""

    def __init__(self, data_dir: Path | None) -> None:
        self.users = 0
        self.error: BaseException | None = None
        with ExitStack() as stack:
            kept = data_dir is not None
            if data_dir is None:
                directory = OwnDirectory("recipes-")
                stack.callback(directory.close)
                data_dir = directory.path
            # Short ticks let tests see a session end soon; a temporary directory needs no fsync.
            config = ServerConfig(
                client_port=0,
                data_dir=data_dir,
                tick_time_ms=500,
                max_session_timeout_ms=60_000,
                max_connections_per_ip=0,
                pre_alloc_size_kb=1024,
                force_sync=kept,
            )
            self._thread = LoopThread("recipes-embedded")
            stack.callback(self._thread.close)
            self._server = self._thread.call(lambda: start_server(config, self._failed))
            stack.callback(self._end)
            self.hosts = f"127.0.0.1:{self._server.client_port}"
            self._cleanup = stack.pop_all()

    def close(self) -> None:
        """End the server, except in a forked child."""
        if self._thread.runs_here:
            self._cleanup.close()

    def _end(self) -> None:
        if self.error is None:
            self._thread.call(lambda: self._server.__aexit__(None, None, None))

    def _failed(self, error: BaseException, ending: asyncio.Task[None]) -> None:
        self.error, self._ending = error, ending


_guard = threading.Lock()
_running: dict[Path | None, _Running] = {}
_inherited: list[_Running] = []  # from the parent of a fork; kept, since garbage collection would disturb its loops


def _forget_the_parents() -> None:
    global _guard
    _guard = threading.Lock()  # another thread of the parent may have held it
    _inherited.extend(_running.values())
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_the_parents)


@contextmanager
def embedded_server(data_dir: str | Path | None = None) -> Iterator[str]:
    """Yield the `host:port` of a server in this process, which ends with its last user.

    data_dir: where its files are kept; None is a temporary directory. All users of one directory in this process
        share one server, and so do all users without a directory, unless that server has failed.

    Blocks while the server starts and ends. The server is private: locks on it exclude no other process. Raises
    DiskError when another process uses the directory.
    """
    key = None if data_dir is None else Path(data_dir).resolve()
    with _guard:
        running = _running.get(key)
        if running is None or running.error is not None:
            running = _running[key] = _Running(key)
        running.users += 1
    try:
        yield running.hosts
    finally:
        with _guard:
            running.users -= 1
            if not running.users:
                if _running.get(key) is running:
                    del _running[key]
                running.close()


async def find_again(hosts: str) -> str:
    """`hosts` while its embedded server serves. Raises SessionExpired, with the reason, when it has failed."""
    for running in list(_running.values()):
        if running.hosts == hosts and running.error is not None:
            raise SessionExpired(f"session expired: the embedded server failed: {running.error}")
    return hosts
