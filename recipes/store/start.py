"""Finding the process that serves a store, and starting it when there is none.

The process holds the flock `lock` in the store's directory as long as it lives. A client that starts it holds the flock
`starting` meanwhile, so that of many clients only one does so. A flock ends with its process, however that ends.
"""

import errno
import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anyio import CapacityLimiter, from_thread, to_thread

from recipes.core.errors import ConfigError, ConnectionLoss, DiskError
from recipes.store.directory import LOCK, StoreDirectory, unusable

log: logging.Logger = logging.getLogger("recipes.store")

IDLE_SECONDS = 600.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.01
# The variables that the process needs. Others may hold secrets, and the process outlives the one that starts it.
_KEPT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TZ", "VIRTUAL_ENV", "XDG_RUNTIME_DIR")
_KEPT_BEGINNINGS = ("LC_", "PYTHON", "DYLD_")
_told: set[Path] = set()

Pause = Callable[[float], None]


async def find(store: StoreDirectory) -> str:
    """`find_running` for a task, which may be cancelled."""

    def pause(seconds: float) -> None:
        time.sleep(seconds)
        from_thread.check_cancelled()

    # A limiter of its own: if all threads of the program are busy, its sessions must go on nevertheless.
    return await to_thread.run_sync(find_running, store, pause, limiter=CapacityLimiter(1))


def find_running(store: StoreDirectory, pause: Pause = time.sleep) -> str:
    """The address, `unix:PATH`, of the process that serves the store; it is started if there is none.

    pause: sleeps, and may raise to give up. Raises DiskError for a directory that cannot be used, ConfigError for
    settings in the environment, ConnectionLoss when the process cannot be started or does not answer.
    """
    if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
        raise ConnectionLoss(
            "there are no Unix sockets on this system, which a store without hosts needs: run `recipes serve` and set "
            "RECIPES_HOSTS, or say connect(private=True)"
        )
    found = _address(store)
    if found is None:
        _refuse_moved(store)
        store.make()
        with _flocked(store, "starting", pause):
            found = _start(store, pause)
    if store.directory not in _told:
        _told.add(store.directory)
        log.info(
            "using the store in %s, which all processes of this user on this machine share; `recipes move` makes it a "
            "server for several machines",
            store.directory,
        )
    return found


def is_served(store: StoreDirectory) -> bool:
    """Whether a process holds the store's lock: it starts, serves or ends. Raises DiskError."""
    import fcntl

    try:
        fd = os.open(store.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unusable(store.directory, error) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:  # a network disk may have no flock
        raise unusable(store.directory, error) from None
    finally:
        os.close(fd)
    return False


def address_of(store: StoreDirectory) -> str | None:
    """The address where the store's process accepts clients now; None if it does not."""
    return _address(store)


def _address(store: StoreDirectory) -> str | None:
    try:
        store.directory.lstat()
    except OSError:
        return None
    store.check()  # before anything in it is trusted
    running = store.running()
    if running is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(running.socket)
        except BlockingIOError:
            pass  # many others wait to be accepted: the process is there
        except OSError:
            return None
    return f"unix:{running.socket}"


def _refuse_moved(store: StoreDirectory) -> None:
    if where := store.moved_to():
        raise DiskError(f"the store {store.directory} was moved: {where}")


def _start(store: StoreDirectory, pause: Pause) -> str:
    """Start the process, or wait until the one that runs accepts clients. The caller holds `starting`."""
    until = time.monotonic() + _START_SECONDS
    while True:
        found = _address(store)
        if found is not None:
            return found
        if not is_served(store):
            return _spawn(store, pause, until)
        if time.monotonic() >= until:
            running = store.running()
            who = f"process {running.pid}" if running else "a process"
            raise ConnectionLoss(
                f"{who} has locked the store {store.directory} and accepts no clients; its log is {store.log}"
            )
        pause(_POLL_SECONDS)


def _spawn(store: StoreDirectory, pause: Pause, until: float) -> str:
    """Start the process, and return its address once it accepts clients."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise ConnectionLoss("there is no Python interpreter to start the store with: run `recipes serve` and set "
                             "RECIPES_HOSTS")  # fmt: skip
    idle = _idle_seconds()
    told, tell = os.pipe()
    try:
        try:
            output = os.open(store.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # The daemon forks at once, and only its short-lived parent is waited for here. So code that reaps the
                # children of this process never meets the daemon, and signals for this process's group never reach it.
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "recipes.store.daemon", str(store.directory), str(tell), str(idle)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env=_environment(),
                    pass_fds=(tell,),
                    start_new_session=True,
                ).wait()
            finally:
                os.close(output)
        except OSError as error:
            raise unusable(store.directory, error) from None
        finally:
            os.close(tell)
        said = _listen(told, pause, until)
    finally:
        os.close(told)
    kind, _, text = said.strip().partition(" ")
    if kind == "ready":
        return text
    if kind == "refused":
        raise DiskError(text)
    raise ConnectionLoss(
        f"the process of the store {store.directory} {_why_silent(said, until)}; its log is {store.log}"
    )


def _listen(fd: int, pause: Pause, until: float) -> str:
    """What the process reports once it is ready or gives up; "" if it dies or takes too long."""
    said = b""
    while time.monotonic() < until:
        if select.select([fd], [], [], _POLL_SECONDS)[0]:
            piece = os.read(fd, 4096)
            if not piece:
                break
            said += piece
        pause(0)
    return said.decode(errors="replace")


def _why_silent(said: str, until: float) -> str:
    return "was not ready in time" if time.monotonic() >= until else "ended while it started"


def _idle_seconds() -> float:
    text = os.environ.get("RECIPES_STORE_IDLE")
    if text is None:
        return IDLE_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise ConfigError("RECIPES_STORE_IDLE", text or "''", "seconds, more than 0")
    return seconds


def _environment() -> dict[str, str]:
    """The environment of the process, in which it finds modules where this process does."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)}
    kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str))
    kept.pop("PYTHONWARNINGS", None)
    return kept


@contextmanager
def _flocked(store: StoreDirectory, name: str, pause: Pause) -> Iterator[None]:
    """Hold the flock of a file in the directory, or go on without it once the store is served. Raises ConnectionLoss
    after a minute."""
    import fcntl  # not on every system

    try:
        fd = os.open(store.directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(store.directory, error) from None
    try:
        until = time.monotonic() + 2 * _START_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                    raise unusable(store.directory, error) from None
            if _address(store) is not None:  # somebody else has started it: no need for the lock
                break
            if time.monotonic() >= until:
                raise ConnectionLoss(f"another process keeps {store.directory / name} locked")
            pause(_POLL_SECONDS)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough if a forked child has the descriptor too
        os.close(fd)
