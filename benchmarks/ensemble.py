"""Servers of one kind that belong together: one standalone, or three, or five."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from benchmarks import etcd, zookeeper
from benchmarks.server import Server

FORM_SECONDS = 60.0


class Ensemble:
    """The servers of one side, numbered from 1."""

    def __init__(self, kind: str, servers: list[Server]) -> None:
        self.kind = kind
        self.servers = servers
        self.protocol = "etcd" if kind == "etcd" else "zookeeper"
        self.role = etcd.role if kind == "etcd" else zookeeper.role

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def leader(self) -> Server:
        """The server that leads, once every member has a role. Raises RuntimeError when that takes over a minute."""
        deadline = monotonic() + FORM_SECONDS
        while monotonic() < deadline:
            roles = [self.role(server) for server in self.servers]
            leading = [index for index, role in enumerate(roles) if role in ("leader", "standalone")]
            if len(leading) == 1 and None not in roles:
                return self.servers[leading[0]]
            for server in self.servers:
                server.check_alive()
            sleep(0.02)
        said = "\n".join(server.last_words() for server in self.servers)
        raise RuntimeError(f"{self.kind}: no leader with all members behind it, roles {roles}; they said\n{said}")

    def follower(self) -> Server:
        """A server that does not lead; the only one where there is one."""
        leader = self.leader()
        return next((server for server in self.servers if server is not leader), leader)


@contextmanager
def running(kind: str, directory: Path, size: int = 1) -> Iterator[Ensemble]:
    """Run `size` servers of `kind` on empty data directories below `directory`; then stop them and clean up.

    They may not yet accept clients when the block begins: the load generator waits for that.
    """
    home = directory / kind
    shutil.rmtree(home, ignore_errors=True)
    ports = _free_ports(3 * size)
    servers = [
        Server(kind, sid, home / str(sid), (ports.pop(), ports.pop(), ports.pop())) for sid in range(1, size + 1)
    ]
    prepare: Callable[[Server, list[Server]], list[str]] = etcd.prepare if kind == "etcd" else zookeeper.prepare
    for server in servers:
        server.home.mkdir(parents=True)
        server.command = prepare(server, servers)
    with ExitStack() as at_end:
        at_end.callback(shutil.rmtree, home, ignore_errors=True)
        for server in servers:
            server.start()
            at_end.callback(server.stop)
        for server in servers:  # called before any `stop`: all are asked before one is waited for
            at_end.callback(server.ask_to_stop)
        try:
            yield Ensemble(kind, servers)
        except subprocess.CalledProcessError as error:
            said = "\n".join(server.last_words() for server in servers)
            raise RuntimeError(f"{error}\n{error.stderr}\n{kind} said:\n{said}") from error
        for server in servers:
            server.check_alive()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
