"""A client of raw frames."""

from __future__ import annotations

import socket
import struct

OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")


class Wire:
    """A client of raw frames, independent of our own client and codec, so that both are judged by the bytes.

    It sends no pings, so it asks for a session that lasts as long as a test does on a busy machine. A single server
    grants 20 ticks, 10 s, an ensemble of EnsembleProcesses all of it.
    """

    def __init__(self, port: int, *, timeout_ms: int = 40_000, session: tuple[int, bytes] = (0, bytes(16))) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.xid = 0
        self.events: list[tuple[int, bytes]] = []
        session_id, password = session
        self.send(struct.pack(">iqiqi16s?", 0, 0, timeout_ms, session_id, 16, password, False))
        try:
            answer = self.receive()
        except (EOFError, OSError):
            self.sock.close()
            raise
        _, self.timeout_ms, self.session_id, _ = struct.unpack_from(">iiqi", answer)
        self.password = answer[20:36]

    @property
    def session(self) -> tuple[int, bytes]:
        return self.session_id, self.password

    def send(self, payload: bytes) -> None:
        self.sock.sendall(struct.pack(">i", len(payload)) + payload)

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.sock.recv(size - len(got))
            if not piece:
                raise EOFError("the server closed the connection")
            got += piece
        return got

    def receive(self) -> bytes:
        return self._exactly(struct.unpack(">i", self._exactly(4))[0])

    def post(self, op: int, body: bytes = b"", xid: int | None = None) -> int:
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send(struct.pack(">ii", xid, op) + body)
        return xid

    def reply(self) -> tuple[int, int, int, bytes]:
        """The next reply as (xid, zxid, error, body); notifications on the way go to `events`."""
        while True:
            payload = self.receive()
            xid, zxid, error = struct.unpack_from(">iqi", payload)
            if xid != -1:
                return xid, zxid, error, payload[16:]
            event, _ = struct.unpack_from(">ii", payload, 16)
            self.events.append((event, payload[28:]))

    def call(self, op: int, body: bytes = b"") -> tuple[int, bytes]:
        xid = self.post(op, body)
        got, _, error, answer = self.reply()
        assert got == xid
        return error, answer

    def create(self, path: str, data: bytes = b"", flags: int = 0) -> int:
        return self.call(1, self.text(path) + self.text(data) + OPEN_ACL + struct.pack(">i", flags))[0]

    @staticmethod
    def text(value: str | bytes | None) -> bytes:
        if value is None:
            return struct.pack(">i", -1)
        raw = value.encode() if isinstance(value, str) else value
        return struct.pack(">i", len(raw)) + raw

    def close_session(self) -> None:
        self.call(-11)
        self.close()

    def close(self) -> None:
        self.sock.close()
