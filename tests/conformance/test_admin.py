"""What a server tells about itself: the same words, keys and types at both."""

from __future__ import annotations

import json
import re
import socket
import struct
import urllib.request

import pytest

from tests.ports import free_port

OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")
# Keys of the same meaning only: what a JVM, or a monitoring registry of 550 figures, has to say differs.
COMMANDS = [
    "configuration", "conf", "connections", "cons", "connection_stat_reset", "dirs", "dump", "hash",
    "initial_configuration", "icfg", "is_read_only", "last_snapshot", "lsnp", "leader", "lead", "observers", "obsr",
    "observer_connection_stat_reset", "ruok", "server_stats", "srvr", "stats", "stat_reset", "voting_view", "watches",
    "watches_by_path", "watch_summary", "zabstate", "get_trace_mask", "set_trace_mask", "set_trace_mask?traceMask=x",
    "set_trace_mask?traceMask=5", "gtmk", "no_such_command",
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(start_server):
    """Two servers with an admin port, and the same said to both."""
    return [start_server(kind, **{"admin.enableServer": "true", "admin.serverAddress": "127.0.0.1",
                                  "admin.serverPort": free_port()}) for kind in ("ours", "apache")]  # fmt: skip


@pytest.fixture(scope="module")
def said(pair):
    """Sessions with znodes, an ephemeral and watches; zxids up to 0x103."""
    sockets = []
    for server in pair:
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        sockets.append(sock)
        sock.sendall(struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False))
        sock.recv(41, socket.MSG_WAITALL)
        for number in range(257):
            body = text("/a" if number == 0 else f"/a/{number}") + text("") + OPEN_ACL
            ask(sock, 1, body + struct.pack(">i", 1 if number == 5 else 0))
        ask(sock, 4, text("/a") + b"\x01")
        ask(sock, 8, text("/a") + b"\x01")
    yield pair
    for sock in sockets:
        sock.close()


def text(value: str) -> bytes:
    return struct.pack(">i", len(value)) + value.encode()


def ask(sock: socket.socket, op: int, body: bytes) -> None:
    sock.sendall(struct.pack(">iii", 8 + len(body), 1, op) + body)
    sock.recv(struct.unpack(">i", sock.recv(4, socket.MSG_WAITALL))[0], socket.MSG_WAITALL)


def word(server, what: bytes) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(what)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer.decode()


def shape(value: object) -> object:
    """Keys and types; of numeric keys and lists one stands for all."""
    if isinstance(value, dict):
        if value and all(key.lstrip("-").isdigit() for key in value):
            return {"number": shape(max(value.values(), key=bool))}  # Apache keeps empty sets for a while
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return value
    return "number" if isinstance(value, int | float) else "text"


def answer(server, command: str) -> dict:
    admin = re.search(r"admin.serverPort=(\d+)", server.config.read_text())
    assert admin is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{admin[1]}/commands/{command}", timeout=20) as reply:
        assert reply.status == 200
        return json.loads(reply.read())


@pytest.mark.apache
@pytest.mark.parametrize("command", COMMANDS)
def test_the_json_has_the_same_keys_and_types(said, command):
    ours, apache = (answer(server, command) for server in said)
    assert shape(ours) == shape(apache)
    for key in ("command", "error"):
        assert ours[key] == apache[key]


@pytest.mark.apache
def test_the_same_zxids_have_a_digest(said):
    ours, apache = ([each["zxid"] for each in answer(server, "hash")["digests"]] for server in said)
    assert ours == apache == [128, 256]
    for server in said:
        found = re.findall(r"^([0-9a-f]+): (-?\d+)$", word(server, b"hash"), re.MULTILINE)
        assert [zxid for zxid, _ in found] == ["80", "100"], word(server, b"hash")


@pytest.mark.apache
@pytest.mark.parametrize(
    "what", [b"ruok", b"isro", b"srvr", b"conf", b"dirs", b"wchs", b"wchc", b"wchp", b"crst", b"srst", b"gtmk", b"nope"]
)
def test_the_words_have_the_same_lines(said, what):
    blank = re.compile(r"0x[0-9a-f]+|/\S*version-2|^Zookeeper version: .*$|[0-9]+(\.[0-9]+)?", re.MULTILINE)
    ours, apache = (blank.sub("*", word(server, what)) for server in said)
    assert ours == apache


@pytest.mark.parametrize("cut", [4, 7, 12])
def test_stmk_sets_the_mask_gtmk_tells(server, cut):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b"stmk" + struct.pack(">q", 77)
        if server.kind == "apache":  # it reads once, and hangs up where that has cut the word from its number
            cut = 0
        sock.sendall(data[:cut])
        sock.sendall(data[cut:])
        assert sock.recv(10) == b"77"
    assert word(server, b"gtmk") == "77"
