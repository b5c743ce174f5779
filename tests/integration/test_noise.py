"""Bytes that no server sends, at the ports that servers have for each other: the ensemble serves on."""

from __future__ import annotations

import socket
import struct
from random import Random

from recipes.core.jute import quorum as q
from recipes.core.jute.votes import encode_greeting

ROUNDS = 60
STRANGER = 9


def say(port: int, data: bytes) -> None:
    """Send it all, say that nothing comes behind, and wait until the other side has hung up."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        except ConnectionError:  # a reset is hanging up too
            pass


def of_a_learner(chance: Random) -> bytes:
    noise = chance.randbytes(chance.randrange(1, 2000))
    info = q.encode_learner_info(STRANGER)
    return chance.choice(
        (
            noise,
            struct.pack(">iqi", chance.randrange(20), chance.randrange(1 << 63), chance.randrange(-1, 3000)) + noise,
            q.encode_packet(q.FOLLOWERINFO, chance.randrange(1 << 63), noise),
            q.encode_packet(chance.choice((q.FOLLOWERINFO, q.OBSERVERINFO)), chance.randrange(1 << 63), info) + noise,
            q.encode_packet(q.SNAP, chance.randrange(1 << 63)) + noise,
        )
    )


def of_a_voter(chance: Random) -> bytes:
    noise = chance.randbytes(chance.randrange(1, 2000))
    frames = b"".join(
        struct.pack(">i", len(part)) + part for part in (chance.randbytes(chance.randrange(100)) for _ in range(5))
    )
    return chance.choice(
        (
            noise,
            struct.pack(">qqi", -65536, chance.randrange(1 << 63), chance.randrange(3000)) + noise,
            encode_greeting(STRANGER, "127.0.0.1:1") + frames,
            encode_greeting(chance.choice((1, 2, 3)), "127.0.0.1:1") + frames,
            encode_greeting(chance.choice((1, 2, 3)), "127.0.0.1:1") + noise,
        )
    )


def test_noise_at_the_ports_between_servers_disturbs_nobody(start_ensemble, wire):
    chance = Random(4711)
    with start_ensemble("ours", "ours", "ours") as ensemble:
        leader, epoch = ensemble.leader(), ensemble.wait_synced() >> 32
        clients = {sid: wire(ensemble.port(sid)) for sid in ensemble.servers}
        for number in range(ROUNDS):
            say(ensemble.quorum_ports[leader], of_a_learner(chance))
            sid = chance.choice((1, 2, 3))
            say(ensemble.election_ports[sid], of_a_voter(chance))
            assert clients[sid].create(f"/{number}", b"x") == 0
        ensemble.wait_serving()  # it fails where a server has ended
        assert ensemble.leader() == leader and ensemble.wait_synced() >> 32 == epoch
        assert len(ensemble.assert_same()) >= ROUNDS
