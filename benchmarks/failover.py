"""kill -9 of the leader until the next acknowledged write of a client that has all hosts."""

import base64
import http.client
import itertools
import socket
import struct
from collections.abc import Callable
from contextlib import closing
from time import monotonic, sleep
from typing import Protocol

from benchmarks import etcd
from benchmarks.ensemble import Ensemble

PATH = b"/bench/k0000000"
HANDSHAKE_SECONDS, WRITE_SECONDS, RETRY_SECONDS, GIVE_UP_SECONDS = 0.1, 0.2, 0.005, 60.0
SESSION_MS = 30_000
SET_DATA = 5


class Writer(Protocol):
    """A client at one host at a time. `write` returns when a write is acknowledged and otherwise raises OSError."""

    def move_to(self, port: int) -> None: ...
    def write(self) -> None: ...
    def close(self) -> None: ...


def failover_ms(ensemble: Ensemble, number: int) -> float:
    """Kill the leader, measure, start it again and wait until all are members again.

    An even `number` has the client at the leader, an odd one at a follower. Without a connection the client tries the
    hosts in turn, every 5 ms, with its session kept; neither side's own client library is involved.
    """
    leader, follower = ensemble.leader(), ensemble.follower()
    first = leader if number % 2 == 0 else follower
    hosts = itertools.cycle(sorted(ensemble.ports, key=lambda port: port != first.port))
    writer: Writer = EtcdWriter() if ensemble.kind == "etcd" else ZooKeeperWriter()
    with closing(writer):
        writer.move_to(next(hosts))
        writer.write()
        begun = monotonic()
        leader.kill()
        while not _succeeds(writer.write):
            if monotonic() > begun + GIVE_UP_SECONDS:
                raise RuntimeError(f"{ensemble.kind}: no write for {GIVE_UP_SECONDS:g} s after the leader was killed")
            sleep(RETRY_SECONDS)
            _succeeds(lambda: writer.move_to(next(hosts)))
        took = monotonic() - begun
    leader.start()
    ensemble.leader()
    return took * 1000


class ZooKeeperWriter:
    """A session that moves from host to host, as every client of ZooKeeper does it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._session = (0, bytes(16))
        self._last_zxid = 0
        self._xid = 0

    def move_to(self, port: int) -> None:
        self.close()
        self._socket = socket.create_connection(("127.0.0.1", port), HANDSHAKE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session_id, password = self._session
        self._send(struct.pack(">iqiqi16s?", 0, self._last_zxid, SESSION_MS, session_id, 16, password, False))
        _, timeout, session_id, _, password = struct.unpack_from(">iiqi16s", self._receive())
        if timeout <= 0:
            self._session = (0, bytes(16))
            raise ConnectionError("the session is over: the next attempt opens another")
        self._session = (session_id, password)
        self._socket.settimeout(WRITE_SECONDS)

    def write(self) -> None:
        self._xid += 1
        head = struct.pack(">iii", self._xid, SET_DATA, len(PATH)) + PATH
        self._send(head + struct.pack(">i1si", 1, b"x", -1))
        xid, zxid, err = struct.unpack_from(">iqi", self._receive())
        if xid != self._xid or err != 0:
            raise ConnectionError(f"reply {xid} to request {self._xid}, err {err}")
        self._last_zxid = zxid

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, body: bytes) -> None:
        self._connected.sendall(struct.pack(">i", len(body)) + body)

    def _receive(self) -> bytes:
        (length,) = struct.unpack(">i", self._receive_exactly(4))
        return self._receive_exactly(length)

    def _receive_exactly(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            if not (more := self._connected.recv(length - len(received))):
                raise ConnectionError("closed by the server")
            received += more
        return received

    @property
    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("not connected")
        return self._socket


class EtcdWriter:
    """Puts through the JSON gateway: a millisecond more than gRPC would take, of hundreds that are measured."""

    def __init__(self) -> None:
        self._port = 0

    def move_to(self, port: int) -> None:
        self._port = port

    def write(self) -> None:
        key, value = (base64.b64encode(text).decode() for text in (PATH, b"x"))
        etcd.call(self._port, "kv/put", {"key": key, "value": value}, WRITE_SECONDS)

    def close(self) -> None:
        """Nothing is kept open."""


def _succeeds(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except (OSError, http.client.HTTPException):
        return False
    return True
