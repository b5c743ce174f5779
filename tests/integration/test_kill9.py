"""kill -9 under write load and restarts: nothing acknowledged is lost, sessions go on, dead sessions' ephemerals go."""

from __future__ import annotations

import struct
import threading
import time

import pytest

WRITES_BEFORE_A_KILL = 200
DEADLINE_SECONDS = 60.0


class Writer(threading.Thread):
    """Sets one znode without a version, 16 requests in flight, and notes the last version that was acknowledged."""

    def __init__(self, client, path: str, acknowledged: int) -> None:
        super().__init__()
        self.client = client
        self.path = path
        self.acknowledged = acknowledged
        self.sent = acknowledged
        self.enough = threading.Event()

    def run(self) -> None:
        began = self.acknowledged
        try:
            while True:
                while self.sent - self.acknowledged < 16:
                    body = self.client.text(self.path) + self.client.text(str(self.sent + 1)) + struct.pack(">i", -1)
                    self.client.post(5, body)
                    self.sent += 1
                _, _, error, answer = self.client.reply()
                if error:
                    return
                version = struct.unpack_from(">qqqqi", answer)[4]
                assert version == self.acknowledged + 1
                self.acknowledged = version
                if version - began >= WRITES_BEFORE_A_KILL:
                    self.enough.set()
        except (OSError, EOFError):
            self.enough.set()


def rounds(kills: int, start_server, wire) -> None:
    server = start_server("ours")
    keeper = wire(server.port, timeout_ms=10_000)
    for path in ("/a", "/b", "/c"):
        assert keeper.create(path) == 0
    assert keeper.create("/kept", flags=1) == 0
    acknowledged = dict.fromkeys(("/a", "/b", "/c"), 0)
    for turn in range(kills):
        mortal = wire(server.port, timeout_ms=1000)
        assert mortal.create(f"/mortal-{turn}", flags=1) == 0
        writers = [Writer(wire(server.port), path, version) for path, version in acknowledged.items()]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + DEADLINE_SECONDS
        for writer in writers:
            while not writer.enough.wait(1.0):
                assert time.monotonic() < deadline, f"{WRITES_BEFORE_A_KILL} writes"
                keeper.call(3, keeper.text("/kept") + b"\x00")  # nobody else keeps its session alive
        server.kill9()
        for writer in writers:
            writer.join(DEADLINE_SECONDS)
        server.start()

        keeper = wire(server.port, session=keeper.session)
        assert keeper.session_id != 0, "a session within its timeout survives the restart"
        assert keeper.call(3, keeper.text("/kept") + b"\x00")[0] == 0
        for writer in writers:
            error, answer = keeper.call(4, keeper.text(writer.path) + b"\x00")
            assert error == 0
            size = struct.unpack_from(">i", answer)[0]
            version = struct.unpack_from(">qqqqi", answer, 4 + size)[4]
            assert writer.acknowledged <= version <= writer.sent, f"{writer.path} after kill {turn + 1}"
            assert answer[4 : 4 + size] == str(version).encode()
            acknowledged[writer.path] = version
        deadline = time.monotonic() + DEADLINE_SECONDS
        while keeper.call(3, keeper.text(f"/mortal-{turn}") + b"\x00")[0] != -101:
            assert time.monotonic() < deadline, "the ephemeral of a dead session stayed"
            keeper.call(9, keeper.text("/"))
    server.stop()


def test_three_kills(start_server, wire):
    rounds(3, start_server, wire)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_fifty_kills(start_server, wire):
    rounds(50, start_server, wire)
