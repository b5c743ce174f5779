"""A conversation captured from Apache ZooKeeper 3.8.0, replayed byte for byte; session, password and times masked."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

import pytest

TRANSCRIPT = Path(__file__).with_name("transcript.txt")
SESSION = re.compile(r"01000012515b000[02]|0703eab788c56436bd16c16311c58265|e1c0f5b7482ea6acd390f20c6ab359cb")
TIME = re.compile(r"000001a208e3[0-9a-f]{4}")
SECOND_CONNECTION, THIRD_CONNECTION, OLD_STYLE_CONNECTION = 57, 61, 63
WHO_AM_I = 33
WHO_AM_I_ENTRIES = ("00000006646967657374" + "00000003626f62", "000000026970" + "000000093132372e302e302e31")
NOTIFIED = 8  # after this frame another session changes /golden: zxids 4 and 5


def frames() -> list[tuple[int, str, str]]:
    """(number, title, hex) of every frame; long ones are broken over lines in the file."""
    found: list[tuple[int, str, str]] = []
    for line in TRANSCRIPT.read_text().splitlines():
        if title := re.match(r"# (\d+)\. (.*)", line):
            found.append((int(title[1]), title[2], ""))
        elif line.strip():
            number, name, so_far = found[-1]
            found[-1] = (number, name, so_far + line.strip())
    return found


def masked(expected: str, got: str) -> tuple[str, str]:
    """Both with what may differ blanked: the places are where the captured bytes hold a session, a password, a time."""
    for pattern in (SESSION, TIME):
        for match in pattern.finditer(expected):
            blank = "-" * len(match[0])
            got = got[: match.start()] + blank + got[match.end() :]
        expected = pattern.sub(lambda match: "-" * len(match[0]), expected)
    return expected, got


def read_frame(sock: socket.socket) -> str:
    head = sock.recv(4, socket.MSG_WAITALL)
    assert len(head) == 4, "closed where a frame was expected"
    return (head + sock.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL)).hex()


@pytest.mark.parametrize("kind", ["ours", pytest.param("apache", marks=pytest.mark.apache)])
def test_the_captured_conversation_repeats(kind, start_server, wire):
    server = start_server(kind, tickTime=2000)
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    sockets = [sock]
    live_session = ""
    try:
        for number, title, captured in frames():
            if number in (SECOND_CONNECTION, THIRD_CONNECTION, OLD_STYLE_CONNECTION):
                sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
                sockets.append(sock)
            if title.startswith("C>S"):
                if number in (SECOND_CONNECTION, THIRD_CONNECTION):
                    captured = captured.replace("01000012515b0000", live_session[:16])
                    captured = captured.replace("0703eab788c56436bd16c16311c58265", live_session[16:])
                sock.sendall(bytes.fromhex(captured))
                continue
            got = read_frame(sock)
            if number == 2:
                live_session = got[24:40] + got[48:80]
            expected, got = masked(captured, got)
            if number == WHO_AM_I:
                # Apache keeps the ids in a hash set: their order means nothing, the two entries do.
                assert sorted(got) == sorted(expected)
                assert all(entry in got for entry in WHO_AM_I_ENTRIES)
                continue
            assert got == expected, f"frame {number}: {title}"
            if number == NOTIFIED:
                other = wire(server.port)
                assert other.call(5, other.text("/golden") + other.text("v1") + struct.pack(">i", 0))[0] == 0
        assert sock.recv(1) == b"", "an unknown opcode ends the connection"
    finally:
        for each in sockets:
            each.close()
    server.stop()
