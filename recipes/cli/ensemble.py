"""`recipes ensemble`: the servers of a local ensemble, each a process of its own, to try things out with."""

import json as json_text
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from recipes.cli.status import ask_mode

_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_HOST = "127.0.0.1"


def ensemble(*, size: int = 3, observers: int = 0, port: int = 2181, data_dir: Path = Path("recipes-ensemble"),
             json: bool = False) -> int:  # fmt: skip
    """Start servers on this machine, print where clients connect, and run until interrupted.

    Args:
        size: servers that vote.
        observers: further servers that do not.
        port: of the first server's clients; the others have the next ones, and peers port+1000 and port+2000 on.
        data_dir: a directory per server, kept for the next time.
        json: print one JSON object per event.
    """
    if size < 1 or observers < 0 or not 0 < port < 60000:
        print(f"recipes ensemble: size {size}, observers {observers}, port {port}: expected 1 or more, 0 or more, "
              "1 to 59999", file=sys.stderr)  # fmt: skip
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    sids = range(1, size + observers + 1)
    hosts = ",".join(f"{_HOST}:{port + sid - 1}" for sid in sids)
    try:
        with ExitStack() as stack:
            servers = {sid: stack.enter_context(_server(sid, sids, size, port, data_dir)) for sid in sids}
            _await_leader(servers, port)
            for sid, server in servers.items():
                address = f"{_HOST}:{port + sid - 1}"
                told = {"server": sid, "hosts": address, "mode": ask_mode(_HOST, port + sid - 1), "pid": server.pid}
                _say(json, f"server {sid}: {address}, pid {server.pid}, {told['mode'] or 'not ready'}", told)
            _say(json, f"export RECIPES_HOSTS={hosts}", {"hosts": hosts})
            _watch(servers, data_dir, json)
    except _Interrupted:
        return 0
    except (OSError, TimeoutError, ChildProcessError) as error:
        print(f"recipes ensemble: {error}", file=sys.stderr)
        return 1
    return 0


class _Interrupted(BaseException):
    pass


def _interrupt(*_: object) -> None:
    raise _Interrupted


def _say(json: bool, text: str, value: object) -> None:
    print(json_text.dumps(value) if json else text, flush=True)


@contextmanager
def _server(sid: int, sids: range, size: int, port: int, data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    directory = (data_dir / str(sid)).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "myid").write_text(f"{sid}\n")
    lines = ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={directory}", f"clientPort={port + sid - 1}",
             f"clientPortAddress={_HOST}", "admin.enableServer=false"]  # fmt: skip
    for other in sids:
        role = "observer" if other > size else "participant"
        lines.append(f"server.{other}={_HOST}:{port + 999 + other}:{port + 1999 + other}:{role}")
    zoo_cfg = directory / "zoo.cfg"
    zoo_cfg.write_text("\n".join(lines) + "\n")
    with (directory / "server.log").open("ab") as output:
        server = subprocess.Popen([sys.executable, "-m", "recipes", "serve", zoo_cfg], stdout=output, stderr=output)
    try:
        yield server
    finally:
        server.terminate()
        server.wait()


def _await_leader(servers: dict[int, subprocess.Popen[bytes]], port: int) -> None:
    """Return once a leader serves. Raises ChildProcessError for a server that ends instead, TimeoutError."""
    until = monotonic() + _START_SECONDS
    while monotonic() < until:
        for sid, server in servers.items():
            if server.poll() is not None:
                raise ChildProcessError(f"server {sid} ended at once: see server.log in its directory")
            if ask_mode(_HOST, port + sid - 1) == "leader":
                return
        sleep(_POLL_SECONDS)
    raise TimeoutError(f"no leader was elected within {_START_SECONDS:g} s")


def _watch(servers: dict[int, subprocess.Popen[bytes]], data_dir: Path, json: bool) -> None:
    """Tell of servers that end, until none is left."""
    running = dict(servers)
    while running:
        for sid, server in list(running.items()):
            code = server.poll()
            if code is not None:
                del running[sid]
                again = f"recipes serve {data_dir / str(sid) / 'zoo.cfg'}"
                _say(json, f"server {sid} ended with {code}; start it again: {again}", {"server": sid, "ended": code})
        sleep(_POLL_SECONDS)
