"""Nothing sent to the client port disturbs another client, and frames out of bounds end the connection they came on."""

from __future__ import annotations

import contextlib
import random
import socket
import struct

import pytest

JUTE_MAXBUFFER = 0xFFFFF


@pytest.fixture
def bystander(our_server, wire, root):
    """A client with a node and a watch, which must find both as they were."""
    client = wire(our_server.port)
    assert client.create(root, b"calm") == 0
    yield client
    error, answer = client.call(4, client.text(root) + b"\x00")
    assert error == 0
    assert answer[4:8] == b"calm"
    assert client.events == []
    client.call(2, client.text(root) + struct.pack(">i", -1))


def ends(sock: socket.socket) -> bool:
    """Read until the server closes; a reset is a close too."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


def throw(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock, contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        ends(sock)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes(our_server, bystander, seed):
    throw(our_server.port, random.Random(seed).randbytes(2000))
    assert bystander.call(3, bystander.text("/zookeeper") + b"\x00")[0] == 0


@pytest.mark.parametrize("length", [-1, -(2**31), JUTE_MAXBUFFER + 2000, 2**31 - 1])
def test_a_length_out_of_bounds_ends_the_connection(our_server, bystander, wire, length):
    client = wire(our_server.port)
    client.sock.sendall(struct.pack(">i", length))
    assert ends(client.sock)


def test_requests_cut_at_every_length(our_server, bystander, wire):
    """A short body is a frame of its own length: it is answered with an error or the connection ends, nothing else."""
    body = bystander.text("/never") + bystander.text("x") + bytes.fromhex("000000010000001f00000005") + b"world"
    for size in range(len(body)):
        client = wire(our_server.port)
        with contextlib.suppress(EOFError, ConnectionResetError):
            error, _ = client.call(1, body[:size])
            assert error != 0, f"a create cut to {size} bytes was accepted"
        client.close()
    assert bystander.call(3, bystander.text("/never") + b"\x00")[0] == -101


def test_handshakes_cut_at_every_length(our_server, bystander):
    handshake = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)
    for size in range(len(handshake)):
        throw(our_server.port, handshake[:size])


@pytest.mark.parametrize("seed", range(10))
def test_random_requests_after_a_handshake(our_server, bystander, wire, seed):
    chance = random.Random(seed)
    reads = (3, 4, 6, 8, 12, 17, 18, 103, 104, 106, 101, 105, 22)
    for _ in range(10):
        client = wire(our_server.port)
        with contextlib.suppress(OSError):
            client.post(chance.choice(reads), chance.randbytes(chance.randrange(60)))
            client.sock.shutdown(socket.SHUT_WR)
            ends(client.sock)
        client.close()
