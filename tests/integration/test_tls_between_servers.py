"""Ensembles with sslQuorum=true: real processes, each with a certificate of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.ensembles import EnsembleProcesses


def make_certificate(authority: trustme.CA, directory: Path) -> Path:
    """A server's key store: its key, in the one form that Java reads too, and its certificate for 127.0.0.1."""
    path = directory / "key-store.pem"
    issued = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return path


def secure(ensemble: EnsembleProcesses, trusted: trustme.CA, authorities: Mapping[int, trustme.CA]) -> None:
    """Let these servers, by sid, speak TLS with a certificate of that authority, and trust those of `trusted`."""
    for sid, authority in authorities.items():
        server = ensemble.servers[sid]
        trust_store = server.directory / "trust-store.pem"
        trusted.cert_pem.write_to_path(trust_store)
        with server.config.open("a") as config:
            config.write(
                f"sslQuorum=true\n"
                f"ssl.quorum.keyStore.location={make_certificate(authority, server.directory)}\n"
                f"ssl.quorum.trustStore.location={trust_store}\n"
            )


def test_an_ensemble_serves_and_survives_its_leader(start_ensemble, wire):
    authority = trustme.CA()
    with start_ensemble("ours", "ours", "ours", start=False) as ensemble:
        secure(ensemble, authority, dict.fromkeys(ensemble.servers, authority))
        ensemble.start()
        first = ensemble.leader()
        assert wire(ensemble.port(ensemble.followers()[0])).create("/a", b"x") == 0
        ensemble.kill(first)
        second = ensemble.wait_leader()
        ensemble.wait_serving()
        assert second != first
        assert wire(ensemble.port(ensemble.followers()[0])).create("/b", b"y") == 0
        ensemble.start(first)
        ensemble.wait_synced()
        assert {"/a", "/b"} <= ensemble.assert_same().keys()


# The server with the larger sid is the one that dials: as 1 the stranger is called, as 3 it calls.
@pytest.mark.parametrize(
    ("why", "stranger"),
    [
        pytest.param("another authority", 1, marks=pytest.mark.thorough),
        pytest.param(
            "no TLS", 3, marks=pytest.mark.thorough
        ),  # three processes; tests/core/server/test_peer_tls.py has it
        pytest.param("another authority", 3, marks=pytest.mark.thorough),
        pytest.param("no TLS", 1, marks=pytest.mark.thorough),
    ],
)
def test_a_stranger_never_joins_and_the_others_go_on(start_ensemble, wire, why, stranger):
    authority = trustme.CA()
    with start_ensemble("ours", "ours", "ours", start=False) as ensemble:
        members = [sid for sid in ensemble.servers if sid != stranger]
        secure(ensemble, authority, dict.fromkeys(members, authority))
        if why == "another authority":
            secure(ensemble, authority, {stranger: trustme.CA()})
        ensemble.launch()
        ensemble.wait_serving(*members)
        client = wire(ensemble.port(members[0]))
        assert client.create("/a", b"x") == 0
        log = ensemble.servers[stranger].log
        ensemble.wait_for(lambda: "still no leader" in log.read_text(), "the stranger says that it has no leader")
        assert ensemble.mode(stranger) == ""
        assert ensemble.mntr(ensemble.leader())["zk_learners"] == "1"
        assert client.create("/b", b"y") == 0

        ensemble.kill(stranger)
        secure(ensemble, authority, {stranger: authority})
        ensemble.start(stranger)
        leader = ensemble.leader()
        ensemble.kill(leader)
        ensemble.wait_leader()
        ensemble.wait_serving()
        assert wire(ensemble.port(ensemble.followers()[0])).create("/c", b"z") == 0
        assert {"/a", "/b", "/c"} <= ensemble.assert_same().keys()


@pytest.mark.thorough  # a dozen starts; tests/core/server/test_peer_tls.py has each pair of neighbours
@pytest.mark.parametrize("third", ["ours", pytest.param("apache", marks=pytest.mark.apache)])
def test_a_running_ensemble_is_switched_to_tls_and_serves_all_the_while(start_ensemble, wire, third):
    authority = trustme.CA()
    with start_ensemble("ours", "ours", third) as ensemble:
        rounds = ("sslQuorum=false\nportUnification=true\n", "sslQuorum=true\n", "portUnification=false\n")
        for number, lines in enumerate(rounds):
            for sid, server in ensemble.servers.items():
                if number == 0:
                    secure(ensemble, authority, {sid: authority})
                with server.config.open("a") as config:
                    config.write(lines)
                ensemble.stop(sid)
                others = [other for other in ensemble.servers if other != sid]
                ensemble.wait_serving(*others)
                assert wire(ensemble.port(others[0])).create(f"/{number}-{sid}", b"x") == 0
                ensemble.start(sid)
        ensemble.wait_synced()
        assert len(ensemble.assert_same()) >= 9
