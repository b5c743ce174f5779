"""Ending a store, and moving its data to a server for several machines."""

import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from shutil import copytree, rmtree

from recipes.core.errors import ConnectionLoss, DiskError
from recipes.core.properties import escaped
from recipes.store.directory import StoreDirectory
from recipes.store.start import is_served

_END_SECONDS = 30.0
_POLL_SECONDS = 0.01
_DATA = "version-2"

ZOO_CFG = """\
tickTime=2000
initLimit=10
syncLimit=5
dataDir={directory}
clientPort={port}
clientPortAddress={host}
admin.enableServer=false
"""


def count_clients(store: StoreDirectory) -> int:
    """How many clients the store has now; 0 if it is not served. Raises ConnectionLoss if it does not answer."""
    answer = b""
    running = store.running()
    if running is None or not is_served(store):
        return 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(running.socket)
            connection.sendall(b"srvr")
            while piece := connection.recv(65536):
                answer += piece
    except OSError as error:
        raise ConnectionLoss(f"the store {store.directory} does not answer: {error.strerror or error}") from None
    for line in answer.decode(errors="replace").splitlines():
        name, _, value = line.partition(": ")
        if name == "Connections":
            return int(value) - 1  # without this connection
    raise ConnectionLoss(f"the store {store.directory} does not say how many clients it has")


def stop(store: StoreDirectory) -> None:
    """End the store's process with SIGTERM: acknowledged writes are on disk. Returns once it has ended.

    Raises ConnectionLoss when it does not end.
    """
    until = time.monotonic() + _END_SECONDS
    while is_served(store):
        pid = _pid(store)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        if time.monotonic() >= until:
            raise ConnectionLoss(
                f"the store {store.directory} is still served after {_END_SECONDS:g} s; its log is {store.log}"
            )
        time.sleep(_POLL_SECONDS)


def move(store: StoreDirectory, target: Path, host: str, port: int, servers: list[str]) -> Path:
    """End a store and move its data to `target`, beside a zoo.cfg; return the path of that.

    servers: hosts of an ensemble, in which this becomes server 1; empty for a server alone. The store is marked as
    moved first, so that no process starts it again; clients are told where the data is. Raises DiskError if `target`
    has data, or the store has none, and ConnectionLoss if its process does not end; the store is then as it was.
    """
    target = target.absolute()
    data = store.directory / _DATA
    if where := store.moved_to():
        raise DiskError(f"the store {store.directory} was moved before: {where}")
    if not data.is_dir():
        raise DiskError(f"there is no store in {store.directory}")
    if (target / _DATA).exists() or target.resolve() == store.directory:
        raise DiskError(f"{target} has data of its own: give a directory without {_DATA}")
    zoo_cfg = target / "zoo.cfg"
    hosts = ",".join(f"{name}:{port}" for name in servers) or f"{host}:{port}"
    text = ZOO_CFG.format(directory=escaped(target), host=host, port=port)
    text += "".join(f"server.{sid}={name}:2888:3888\n" for sid, name in enumerate(servers, 1))
    where = f"set RECIPES_HOSTS={hosts}, for `recipes serve {zoo_cfg}`"
    try:
        store.write_moved(f"{where}; or delete {store.directory} to begin anew")
        try:
            stop(store)
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            if servers:
                (target / "myid").write_text("1\n")
            zoo_cfg.write_text(text)
            _take(data, target / _DATA)
        except BaseException:
            store.forget_moved()
            raise
    except OSError as error:
        raise DiskError(f"{error.filename or target}: {error.strerror}") from error
    return zoo_cfg


def _take(data: Path, target: Path) -> None:
    """Rename `data`; if `target` is on another disk, copy it, and remove it once the copy is complete."""
    try:
        data.rename(target)
    except OSError as error:
        import errno

        if error.errno != errno.EXDEV:
            raise
        half = target.with_name(f"{target.name}.half")
        rmtree(half, ignore_errors=True)
        copytree(data, half)
        os.sync()
        half.rename(target)
        rmtree(data)


def _pid(store: StoreDirectory) -> int | None:
    """The pid of the process that listens on the store's socket, as the system says; else the one it wrote down."""
    running = store.running()
    if running is None or running.machine.is_elsewhere():
        return None
    if sys.platform == "linux":
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            try:
                connection.connect(running.socket)
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            except OSError:
                return None
            return int(struct.unpack("3i", credentials)[0])
    return running.pid
