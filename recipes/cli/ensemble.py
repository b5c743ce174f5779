"""`recipes ensemble`: a local ensemble for experiments, each server a process of its own."""

import errno
import json as json_text
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from recipes.cli.status import NoMode, ask_mode
from recipes.core.disk.disk import RealDisk
from recipes.core.errors import DiskError
from recipes.core.properties import escaped

_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_HOST = "127.0.0.1"


def ensemble(*, size: int = 3, observers: int = 0, port: int = 2181, data_dir: Path = Path("recipes-ensemble"),
             read_only: bool = False, json: bool = False) -> int:  # fmt: skip
    """Start servers on this machine, print where clients connect, and run until interrupted.

    Args:
        size: servers that vote.
        observers: further servers that do not.
        port: the first server's port for clients; the others use the next ones. The servers talk to each other on the
            ports from port+1000 and port+2000 on.
        data_dir: a directory per server, kept for the next time.
        read_only: let a server that has lost its leader serve clients that only read.
        json: print one JSON object per event.
    """
    if size < 1 or observers < 0 or not 0 < port < 60000:
        print(f"recipes ensemble: size {size}, observers {observers}, port {port}: expected 1 or more, 0 or more, "
              "1 to 59999", file=sys.stderr)  # fmt: skip
        return 2
    sids = range(1, size + observers + 1)
    if why := _why_not_free([port + base + sid for base in (-1, 999, 1999) for sid in sids]):
        print(f"recipes ensemble: {why}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, _interrupt)
    settings = [f"readonlymode.enabled={str(read_only).lower()}", *_server_lines(sids, size, port)]
    hosts = ",".join(f"{_HOST}:{port + sid - 1}" for sid in sids)
    try:
        for sid in sids:
            _check_unused(data_dir / str(sid) / "version-2")  # before the settings of a running server are replaced
        with ExitStack() as stack:
            servers = {sid: stack.enter_context(_server(sid, port, data_dir, settings)) for sid in sids}
            modes = _await_modes(servers, port, data_dir)
            for sid, server in servers.items():
                address = f"{_HOST}:{port + sid - 1}"
                told = {"server": sid, "hosts": address, "mode": modes[sid], "pid": server.pid}
                _say(json, f"server {sid}: {address}, pid {server.pid}, {modes[sid]}", told)
            _say(json, f"export RECIPES_HOSTS={hosts}", {"hosts": hosts})
            _watch(servers, data_dir, json)
    except _Interrupted:
        return 0
    except BrokenPipeError:  # the reader of our output is gone
        raise
    except (OSError, TimeoutError, ChildProcessError, DiskError) as error:
        print(f"recipes ensemble: {error}", file=sys.stderr)
        return 1
    return 1


class _Interrupted(BaseException):
    pass


def _interrupt(*_: object) -> None:
    raise _Interrupted


def _say(json: bool, text: str, value: object) -> None:
    print(json_text.dumps(value) if json else text, flush=True)


def _why_not_free(ports: list[int]) -> str | None:
    """The first port that a server could not use, and why; None if all are free."""
    for port in ports:
        try:
            socket.create_server((_HOST, port)).close()
        except OSError as error:
            return f"port {port} is in use" if error.errno == errno.EADDRINUSE else f"port {port}: {error.strerror}"
    return None


def _server_lines(sids: range, size: int, port: int) -> list[str]:
    roles = {sid: "observer" if sid > size else "participant" for sid in sids}
    return [f"server.{sid}={_HOST}:{port + 999 + sid}:{port + 1999 + sid}:{role}" for sid, role in roles.items()]


def _check_unused(directory: Path) -> None:
    """Raise DiskError if a server uses the directory."""
    if directory.is_dir():
        RealDisk(directory).close()


@contextmanager
def _server(sid: int, port: int, data_dir: Path, settings: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    directory = (data_dir / str(sid)).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "myid").write_text(f"{sid}\n")
    lines = ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={escaped(directory)}",
             f"clientPort={port + sid - 1}", f"clientPortAddress={_HOST}", "admin.enableServer=false",
             "standaloneEnabled=false", *settings]  # fmt: skip
    zoo_cfg = directory / "zoo.cfg"
    zoo_cfg.write_text("\n".join(lines) + "\n")
    with (directory / "server.log").open("ab") as output:
        # The pipe is closed with this process, however it ends, and the server ends with it.
        command = [sys.executable, "-m", "recipes", "serve", str(zoo_cfg), "--until-eof"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
    try:
        yield server
    finally:
        server.terminate()
        server.wait()
        if server.stdin is not None:
            server.stdin.close()


def _await_modes(servers: dict[int, subprocess.Popen[bytes]], port: int, data_dir: Path) -> dict[int, str]:
    """Every server's mode, once all serve. Raises ChildProcessError if a server ends instead, TimeoutError."""
    until = monotonic() + _START_SECONDS
    while True:
        modes, why = {}, ""
        for sid, server in servers.items():
            if server.poll() is not None:
                log = data_dir / str(sid) / "server.log"
                last = log.read_text(errors="replace").strip().rpartition("\n")[2]
                raise ChildProcessError(f"server {sid} ended at once: {last} ({log})")
            try:
                modes[sid] = ask_mode(f"{_HOST}:{port + sid - 1}")
            except NoMode as error:
                why = f"server {sid} is not up after {_START_SECONDS:g} s: {error}"
        if not why:
            return modes
        if monotonic() >= until:
            raise TimeoutError(why)
        sleep(_POLL_SECONDS)


def _watch(servers: dict[int, subprocess.Popen[bytes]], data_dir: Path, json: bool) -> None:
    """Print which servers end, until none is left."""
    running = dict(servers)
    while running:
        for sid, server in list(running.items()):
            code = server.poll()
            if code is not None:
                del running[sid]
                again = f"recipes serve {data_dir / str(sid) / 'zoo.cfg'}"
                _say(json, f"server {sid} ended with {code}; start it again: {again}", {"server": sid, "ended": code})
        sleep(_POLL_SECONDS)
