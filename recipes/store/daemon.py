"""The process that serves a store: `python -m recipes.store.daemon DIRECTORY REPORT_FD IDLE_SECONDS`.

Only `start.py` starts it. It leaves its parent at once, writes to the pipe REPORT_FD when it accepts clients or why it
does not, and ends when no client has used it for a while.
"""

import gc
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # leave the parent first: slow imports come after that
    import asyncio
    from pathlib import Path

    from recipes.core.server.listening import Listener
    from recipes.core.server.server import Server
    from recipes.store.directory import StoreDirectory

_FORMAT = 1
_LOCK_SECONDS = 10.0  # the previous process may still be writing when its clients have gone
_POLL_SECONDS = 0.01
_WATCH_SECONDS = 1.0
_LOG_BYTES = 1 << 20
_LEAST_FREE_BYTES = 2 << 20
_MOST_LOGS = 8
_KEPT_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by the interpreter: system calls raise OSError instead


def main() -> None:
    """Serve in a process of its own. Returns when the store has ended."""
    directory, report, idle = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    gc.disable()  # imports make much that stays, and nothing that is to be collected
    if os.fork():
        os._exit(0)
    for number in range(1, signal.NSIG):
        try:
            if signal.getsignal(number) is signal.SIG_IGN and number not in _KEPT_IGNORED:
                signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # there is no such signal, or it cannot be changed
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    sys.exit(_run(directory, report, idle))


def _run(directory: str, report: int, idle: float) -> int:
    import asyncio
    import logging

    from recipes.core.errors import RecipesError
    from recipes.store.directory import StoreDirectory, unusable

    store = StoreDirectory(directory)
    handler = _BoundedLog(store.log, _LOG_BYTES)
    logging.basicConfig(
        format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s", level=logging.INFO, stream=handler
    )
    log = logging.getLogger("recipes.store")
    try:
        asyncio.run(_serve(store, report, idle))
    except (RecipesError, OSError) as error:
        why = unusable(store.directory, error) if isinstance(error, OSError) else error
        log.error("%s", why)  # noqa: TRY400 - one sentence says it
        _tell(report, f"refused {why}")
        return 1
    except Exception:
        log.exception("the store's process failed")
        return 1
    return 0


async def _serve(store: "StoreDirectory", report: int, idle: float) -> None:
    import asyncio
    import logging
    from contextlib import ExitStack

    from recipes.core.server.descriptors import raise_limit
    from recipes.core.server.server import Server
    from recipes.store.settings import store_settings

    log = logging.getLogger("recipes.store")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with ExitStack() as stack:
        lock = _lock(store)
        stack.callback(os.close, lock)
        _check(store)
        raise_limit()
        async with Server(store_settings(store.directory)) as server:
            _tidy(server, store)
            stack.callback(_forget, store, lock)
            socket = _Socket(store, server)
            stack.callback(socket.close)
            path = await socket.listen()
            log.info("the store in %s is served on %s", store.directory, path)
            _tell(report, f"ready unix:{path}")
            gc.freeze()
            gc.enable()
            await _watch(server, socket, lock, stopping, idle)
            socket.close()  # in the same turn that found the store unused: no client can connect in between


async def _watch(server: "Server", socket: "_Socket", lock: int, stopping: "asyncio.Event", idle: float) -> None:
    """Return when no client has used the store for `idle` seconds, or on a signal. Raises the server's error."""
    import asyncio
    import logging

    from recipes.core.errors import DiskError

    log = logging.getLogger("recipes.store")
    stopped = asyncio.ensure_future(stopping.wait())
    used = time.monotonic()
    try:
        while True:
            done, _ = await asyncio.wait(
                (stopped, server.failed), timeout=min(_WATCH_SECONDS, idle / 4), return_when=asyncio.FIRST_COMPLETED
            )
            if server.failed in done:
                server.failed.result()
            if stopped in done:
                log.info("ending, since a signal asks for it")
                return
            if not socket.store.has_lock(lock):  # the next client would start a second process
                raise DiskError(f"the store {socket.store.directory} was removed while it was served")
            if server.member.connections or len(server.member.tracker):
                used = time.monotonic()
            elif time.monotonic() - used >= idle:
                log.info("ending, since no client has used the store for %g s", idle)
                return
            if not socket.is_there() or socket.store.running() is None:
                log.warning("the socket was removed: listening on a new one, %s", await socket.listen())
    finally:
        stopped.cancel()


class _Socket:
    """The socket on which clients find the store."""

    def __init__(self, store: "StoreDirectory", server: "Server") -> None:
        self.store = store
        self._server = server
        self._listener: Listener | None = None
        self._path: Path | None = None
        self._inode = 0

    async def listen(self) -> "Path":
        """Stop listening, listen anew at the best path that can be used, and write it down for clients."""
        from recipes.core.errors import DiskError
        from recipes.store.directory import Running, unusable
        from recipes.store.machine import this_machine

        self.close()
        why = DiskError(f"the store {self.store.directory} cannot be used: there is no place for its socket")
        for path in self.store.socket_paths():
            try:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                found = path.parent.stat()
                if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                    why = DiskError(f"{path.parent}, for the store's socket, is another user's or open to others")
                    continue
                self._listener = self._server.listen_on_socket(path)
                self._inode = path.stat().st_ino
            except OSError as error:
                why = unusable(path, error)
                continue
            self._path = path
            self.store.write_running(Running(str(path), os.getpid(), this_machine()))
            return path
        raise why

    def is_there(self) -> bool:
        """Whether the socket is still at its path."""
        try:
            return self._path is not None and self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Stop listening, and remove the socket."""
        if self._listener is not None:
            if self.is_there() and self._path is not None:
                self._path.unlink(missing_ok=True)
            self._listener.close()
            self._listener = None


def _lock(store: "StoreDirectory") -> int:
    """Lock the store for this process, as long as the returned descriptor is open."""
    import fcntl

    from recipes.core.errors import DiskError
    from recipes.store.directory import LOCK

    fd = os.open(store.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(fd)
                raise DiskError(f"another process has locked the store {store.directory}") from None
            time.sleep(_POLL_SECONDS)
        else:
            return fd


def _forget(store: "StoreDirectory", lock: int) -> None:
    """Remove the file by which clients find the store, unless it is another process's by now."""
    if store.has_lock(lock):
        store.forget_running()


def _check(store: "StoreDirectory") -> None:
    """Raise DiskError if this version cannot serve the directory, on this machine, at this time."""
    from recipes.core.errors import DiskError

    store.check()
    if where := store.moved_to():
        raise DiskError(f"the store {store.directory} was moved: {where}")
    last = store.running()
    if last is not None and last.machine.is_elsewhere():
        raise DiskError(
            f"the store {store.directory} belongs to another machine, {last.machine.host}, which may be serving it: "
            "name a directory of this machine by RECIPES_STORE, or use `recipes serve` and RECIPES_HOSTS (if "
            f"{last.machine.host} is gone for good, delete {store.directory / 'running'})"
        )
    kept = store.directory / "format"
    if not kept.exists():
        store.write("format", f"{_FORMAT}\n")
    text = kept.read_text().strip()
    if text != str(_FORMAT):
        raise DiskError(
            f"the store {store.directory} has format {text!r}, and this version of recipes reads format {_FORMAT} "
            "only: use the version that made it, or a newer one"
        )
    if not (store.directory / "secret").exists():
        store.write("secret", os.urandom(32).hex() + "\n")
    room = os.statvfs(store.directory)
    if room.f_bavail * room.f_frsize < _LEAST_FREE_BYTES:
        raise DiskError(f"the store {store.directory} cannot be used: no space left on its disk")


def _tidy(server: "Server", store: "StoreDirectory") -> None:
    """Each start begins a new log file: remove old ones, which pile up when starts are many and writes few."""
    from recipes.core.disk.txnlog import file_zxid

    logs = [name for name in os.listdir(store.directory / "version-2") if file_zxid(name, "log") is not None]
    if len(logs) > _MOST_LOGS:
        server.tidy()


def _tell(report: int, text: str) -> None:
    """Report to the process that started this one, which may be gone. Closes the pipe."""
    try:
        os.write(report, (" ".join(text.split()) + "\n").encode())
        os.close(report)
    except OSError:
        return


class _BoundedLog:
    """The log, on descriptors 1 and 2, so that no output is lost. The previous log file is kept."""

    def __init__(self, path: "Path", limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._size_bytes = os.fstat(2).st_size

    def write(self, text: str) -> None:
        """Write, as a text stream does."""
        data = text.encode(errors="replace")
        if self._size_bytes + len(data) > self._limit_bytes:
            self._begin_anew()
        try:
            self._size_bytes += os.write(2, data)
        except OSError:
            return  # a full disk must not end a store that can still be read

    def flush(self) -> None:
        """Do nothing: `write` keeps no buffer."""

    def _begin_anew(self) -> None:
        try:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        for old in (1, 2):
            os.dup2(fd, old)
        os.close(fd)
        self._size_bytes = 0


if __name__ == "__main__":
    main()
