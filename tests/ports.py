"""Ports on 127.0.0.1 for servers under test; no other test gets the same port, in this process or in another one."""

from __future__ import annotations

import atexit
import socket
from collections.abc import Iterable
from random import SystemRandom

_chance = SystemRandom()


class ReservedPorts:
    """Reserves ports while this object lives; servers under test may listen on them.

    A socket here binds each port and does not listen. Linux lets another socket bind the port if both have
    SO_REUSEADDR, as every ZooKeeper server's socket has. It gives the port neither to a bind of port 0 nor to an
    outgoing connection.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def take(self) -> int:
        sock = socket.socket()
        self._sockets.append(sock)
        sock.bind(("127.0.0.1", 0))  # alone: a port that another test has reserved is refused
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return int(sock.getsockname()[1])

    def take_block(self, offsets: Iterable[int]) -> int:
        """A free port, such that the ports at these offsets from it are free, too."""
        offsets = list(offsets)
        while True:
            first = _chance.randrange(15_000, 32_000)
            taken: list[socket.socket] = []
            try:
                for offset in offsets:
                    sock = socket.socket()
                    taken.append(sock)
                    sock.bind(("127.0.0.1", first + offset))
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            except OSError:
                for sock in taken:
                    sock.close()
                continue
            self._sockets += taken
            return first

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


_of_this_process = ReservedPorts()
atexit.register(_of_this_process.close)


def free_port() -> int:
    """A port that is reserved for the caller until this process ends."""
    return _of_this_process.take()


def free_block(offsets: Iterable[int]) -> int:
    """A port, and the ports at `offsets` from it, reserved for the caller until this process ends."""
    return _of_this_process.take_block(offsets)
