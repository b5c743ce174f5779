"""The place of a store: its directory, the files in it, and the socket that its process listens on."""

import os
import stat
import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from recipes.core.errors import ConfigError, DiskError
from recipes.store.machine import Machine

LOG = "store.log"
LOCK = "lock"
_RUNNING = "running"
_MOVED = "moved"
# In bytes; sun_path of sockaddr_un has one more, for the final zero.
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103
_SCHEME = "store:"


def default_directory() -> Path:
    """RECIPES_STORE, else `recipes` below XDG_STATE_HOME, which is ~/.local/state unless it is set.

    Raises ConfigError if the result is no absolute path.
    """
    named = os.environ.get("RECIPES_STORE")
    if named is not None:
        if not os.path.isabs(named):  # a relative path would name another store in each directory
            raise ConfigError("RECIPES_STORE", named or "''", "an absolute path of a directory")
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # the XDG specification ignores such a value
        state = os.path.expanduser("~/.local/state")
    if not os.path.isabs(state):
        raise ConfigError("RECIPES_STORE", None, "an absolute path of a directory, since this user has no home")
    return Path(state) / "recipes"


class Running(NamedTuple):
    """What the store's process writes to `running`, for clients to find it."""

    socket: str
    pid: int
    machine: Machine


class StoreDirectory:
    """One store's directory. Directories that resolve to the same path are the same store."""

    def __init__(self, directory: str | Path) -> None:
        self.directory: Path = Path(os.path.realpath(directory))

    @property
    def hosts(self) -> str:
        """How `connect(hosts)` and `--hosts` name it."""
        return f"{_SCHEME}{self.directory}"

    @property
    def log(self) -> Path:
        """The log file of the store's process."""
        return self.directory / LOG

    def check(self) -> None:
        """Raise DiskError unless the directory is this user's, and closed to all others."""
        path = self.directory
        try:
            found = path.stat()
        except OSError as error:
            raise unusable(path, error) from None
        if not stat.S_ISDIR(found.st_mode):
            raise DiskError(f"the store {path} is not a directory")
        me = os.geteuid()
        if found.st_uid != me:
            raise DiskError(
                f"the store {path} belongs to {_name(found.st_uid)} and not to {_name(me)}: name another "
                "by RECIPES_STORE"
            )
        if found.st_mode & 0o077:
            raise DiskError(
                f"the store {path} is open to other users (mode {found.st_mode & 0o777:o}): chmod 700 {path}"
            )

    def make(self) -> None:
        """Make the directory if it is missing. Raises DiskError if it cannot be made or is not ours."""
        try:
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise unusable(self.directory, error) from None
        self.check()

    def has_lock(self, fd: int) -> bool:
        """Whether the open lock file is still in the directory, which may have been removed and made anew."""
        try:
            return (self.directory / LOCK).stat().st_ino == os.fstat(fd).st_ino
        except OSError:
            return False

    def running(self) -> Running | None:
        """What the store's process has written down; the process may have ended since."""
        try:
            text = (self.directory / _RUNNING).read_text()
            values = dict(line.split("=", 1) for line in text.splitlines())
            return Running(
                values["socket"], int(values["pid"]), Machine(values["machine"], values["boot"], values["host"])
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(self.directory, error) from None
        except (ValueError, KeyError):  # a power cut may leave such a file, and then no process serves the store
            return None

    def write_running(self, running: Running) -> None:
        """Write down, for clients, where the store is served."""
        values = {"socket": running.socket, "pid": running.pid, **running.machine._asdict()}
        self.write(_RUNNING, "".join(f"{key}={value}\n" for key, value in values.items()), durable=False)

    def forget_running(self) -> None:
        """Remove what `write_running` wrote: the store is not served any more."""
        (self.directory / _RUNNING).unlink(missing_ok=True)

    def moved_to(self) -> str | None:
        """Where `recipes move` took the data; None if it is still here."""
        try:
            return (self.directory / _MOVED).read_text().strip()
        except OSError:
            return None

    def write_moved(self, where: str) -> None:
        """Write down where the data is, for clients that still look here."""
        self.write(_MOVED, where + "\n")

    def forget_moved(self) -> None:
        """Remove what `write_moved` wrote: the data is here after all."""
        (self.directory / _MOVED).unlink(missing_ok=True)

    def write(self, name: str, text: str, durable: bool = True) -> None:
        """Replace a file's content atomically. Raises OSError."""
        new = self.directory / f".{name}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, text.encode())
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(self.directory / name)

    def socket_paths(self) -> list[Path]:
        """Paths for the socket, the best first. All are short enough for the system."""
        name = sha256(os.fsencode(self.directory)).hexdigest()[:16] + ".sock"
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        paths = [self.directory / "socket", Path(f"/tmp/recipes-{os.geteuid()}") / name]
        if os.path.isabs(runtime) and _is_mine(runtime):
            paths.insert(0, Path(runtime) / "recipes" / name)
        return [path for path in paths if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH]


def named_store(hosts: str | None) -> StoreDirectory:
    """The store that `hosts` names as `store:DIRECTORY`; this user's store for None. Raises ConfigError."""
    if hosts is None:
        return StoreDirectory(default_directory())
    directory = hosts.removeprefix(_SCHEME)
    if not directory:
        raise ConfigError("hosts", hosts, f"{_SCHEME}DIRECTORY")
    return StoreDirectory(directory)


def unusable(path: Path, error: OSError) -> DiskError:
    """The error for a store's directory that cannot be used."""
    why = (error.strerror or str(error)).lower()
    return DiskError(f"the store {path} cannot be used: {why}; name another directory by RECIPES_STORE")


def _is_mine(directory: str) -> bool:
    try:
        return os.stat(directory).st_uid == os.geteuid()
    except OSError:
        return False


def _name(uid: int) -> str:
    import pwd  # only for this message

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
