"""What a server tells about itself: the same words, keys and types at both."""

from __future__ import annotations

import json
import re
import socket
import struct
import urllib.error
import urllib.request

import pytest

from recipes.core.member.commands import CHANGES, name_of
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
    url = f"http://127.0.0.1:{admin[1]}/commands/{command}"
    name = name_of(command.partition("?")[0])
    # What changes something is changed by POST at ours, and by GET at Apache's.
    asked = urllib.request.Request(url, data=b"" if server.kind == "ours" and name in CHANGES else None)
    try:
        with urllib.request.urlopen(asked, timeout=20) as reply:
            return json.loads(reply.read())
    except urllib.error.HTTPError as refused:  # Apache's `monitor` fails without a quorum
        refused.close()
        return {"command": command, "error": refused.reason}


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


# All of Apache's words and commands; a JVM's and an interpreter's environment differ, as do the figures of a registry.
WORDS = [
    "ruok", "isro", "srvr", "stat", "cons", "conf", "dump", "envi", "dirs", "hash", "wchs", "wchc", "wchp", "gtmk",
    "crst", "srst", "stmk",
]  # fmt: skip
COMMANDS_OF_ENSEMBLES = [
    "configuration", "connections", "connection_stat_reset", "dirs", "dump", "get_trace_mask", "hash", "is_read_only",
    "last_snapshot", "leader", "observer_connection_stat_reset", "observers", "ruok", "server_stats", "set_trace_mask",
    "stat_reset", "stats", "voting_view", "watch_summary", "watches", "zabstate",
]  # fmt: skip
NOT_SERVING = "This ZooKeeper instance is not currently serving requests"


def fields(server, what: str) -> str:
    """The answer to a word without its values: what stands before the first `=`, `:` or tab, and in brackets."""
    said = word(server, what.encode())
    if what == "envi":
        return said.partition("\n")[0]
    said = re.sub(r"\[[0-9]\]", "", said)  # whether the server reads from the connection that asks
    said = re.sub(r"^.* expire at .*\n(?!\t)", "", said, flags=re.MULTILINE)  # Apache keeps empty sets for a while
    said = re.sub(r"Sets \(\d+\)", "Sets", said)
    said = re.sub(r"^Zookeeper version: .*$", "version", said, flags=re.MULTILINE)
    said = re.sub(r"\S{3} \S{3} \d+ \S+ UTC \d+", "date", said)
    said = re.sub(r"lop=\w+|Mode: \w+|0x[0-9a-f]+|/\S*version-2|-?[0-9]+(\.[0-9]+)?|true|false", "*", said)
    return "\n".join(sorted(set(said.splitlines())))


@pytest.mark.apache
@pytest.mark.thorough
def test_servers_4_servers_12_an_ensemble_tells_the_same_fields_with_and_without_a_quorum(start_ensemble, wire):
    pair = {}
    for kind in ("ours", "apache"):
        ensemble = start_ensemble(kind, kind, kind, start=False)
        for server in ensemble.servers.values():
            on = f"admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={ensemble.reserve_port()}\n"
            text_now = server.config.read_text().replace("admin.enableServer=false\n", on)
            server.config.write_text(text_now)
        pair[kind] = ensemble.start()
    for ensemble in pair.values():
        ensemble.wait_synced()  # on a busy machine one of the first two may still be electing again for the third
        leader, *others = ensemble.leader(), *(sid for sid in ensemble.voters if sid != ensemble.leader())
        for sid in (leader, *others):
            client = wire(ensemble.port(sid))
            assert client.create(f"/a{sid}", flags=1) == 0
            client.call(4, client.text(f"/a{sid}") + b"\1")
    found = {}
    for kind, ensemble in pair.items():
        leader = ensemble.leader()
        follower = next(sid for sid in ensemble.voters if sid != leader)
        found[kind] = {
            (role, what): fields(ensemble.servers[sid], what)
            for role, sid in (("leader", leader), ("follower", follower))
            for what in WORDS
        } | {
            (role, command): shape(answer(ensemble.servers[sid], command))
            for role, sid in (("leader", leader), ("follower", follower))
            for command in COMMANDS_OF_ENSEMBLES
        }
        for sid in ensemble.voters:
            if sid != follower:
                ensemble.kill(sid)
        server = ensemble.servers[follower]
        ensemble.wait_for(lambda server=server: NOT_SERVING in word(server, b"srvr"), "no quorum")
        found[kind] |= {("alone", what): fields(server, what) for what in WORDS}
        for command in (*COMMANDS_OF_ENSEMBLES, "monitor"):
            said = answer(server, command)
            found[kind]["alone", command] = said["error"] if command != "monitor" else bool(said["error"])
            assert said["error"] in (None, NOT_SERVING) or command in ("monitor", "set_trace_mask")
    for asked, expected in found["apache"].items():
        assert found["ours"][asked] == expected, asked
