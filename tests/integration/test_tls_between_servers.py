"""Ensembles with sslQuorum=true: real processes, each with a certificate of its own."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from recipes.core.jute import quorum as q
from recipes.core.jute.votes import encode_greeting
from tests.ensembles import EnsembleProcesses


def make_certificate(authority: trustme.CA, directory: Path, host: str) -> Path:
    """A server's key store: its key, in the one form that Java reads too, and its certificate for this host."""
    path = directory / "key-store.pem"
    issued = authority.issue_cert(host)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return path


def secure(
    ensemble: EnsembleProcesses,
    trusted: trustme.CA,
    authorities: Mapping[int, trustme.CA],
    hosts: Mapping[int, str] | None = None,
) -> None:
    """Let these servers, by sid, speak TLS with a certificate of that authority, and trust those of `trusted`.

    hosts: what the certificates are for, where that is not the server's own address.
    """
    for sid, authority in authorities.items():
        server = ensemble.servers[sid]
        own = re.search(rf"^server\.{sid}=([^:]+):", server.config.read_text(), re.MULTILINE)
        host = (hosts or {}).get(sid, own[1] if own else "127.0.0.1")
        trust_store = server.directory / "trust-store.pem"
        trusted.cert_pem.write_to_path(trust_store)
        with server.config.open("a") as config:
            config.write(
                f"sslQuorum=true\n"
                f"ssl.quorum.keyStore.location={make_certificate(authority, server.directory, host)}\n"
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


def give_hosts(ensemble: EnsembleProcesses) -> None:
    """Server N listens at 127.0.0.N, in place of one address for all."""
    for server in ensemble.servers.values():
        text = server.config.read_text()
        for sid in ensemble.servers:
            text = text.replace(f"server.{sid}=127.0.0.1:", f"server.{sid}=127.0.0.{sid}:")
        server.config.write_text(text)


def said(ensemble: EnsembleProcesses, sid: int, *parts: str) -> bool:
    lines = ensemble.servers[sid].log.read_text().splitlines()
    return any(all(part in line for part in parts) for line in lines)


@pytest.mark.thorough  # four starts of processes; tests/core has each end alone
def test_f6_a_member_speaks_for_no_other_one(start_ensemble, wire, tmp_path):
    """Server 3 has the certificate of server 2; then it has its own, and somebody else has a copy of that."""
    authority = trustme.CA()
    with start_ensemble("ours", "ours", "ours", start=False) as ensemble:
        give_hosts(ensemble)
        secure(ensemble, authority, {1: authority, 2: authority, 3: authority}, hosts={3: "127.0.0.2"})
        ensemble.launch()
        ensemble.wait_serving(1, 2)
        assert wire(ensemble.port(1)).create("/a", b"x") == 0
        for sid in (1, 2):
            ensemble.wait_for(
                lambda sid=sid: said(
                    ensemble, sid, "election port: hung up on", "it is server 3", "for 127.0.0.2", "for 127.0.0.3"
                ),
                "the refusal is in the log of the server that refuses",
            )
        ensemble.wait_for(
            lambda: said(ensemble, 3, "server 1, election port", "is that for this server's host"), "and in the other"
        )
        assert ensemble.mode(3) == ""

        ensemble.kill(3)
        secure(ensemble, authority, {3: authority})
        ensemble.start(3)
        ensemble.wait_synced()

        context = ssl.create_default_context()
        context.check_hostname = False
        authority.configure_trust(context)
        context.load_cert_chain(ensemble.servers[3].directory / "key-store.pem")
        leader = ensemble.leader()
        claims = {
            ensemble.election_ports[leader]: encode_greeting(1 if leader != 1 else 2, "127.0.0.1:1"),
            ensemble.quorum_ports[leader]: q.encode_packet(
                q.FOLLOWERINFO, 0, q.encode_learner_info(1 if leader != 1 else 2)
            ),
        }
        for port, claim in claims.items():
            with socket.create_connection((f"127.0.0.{leader}", port)) as plain:
                with context.wrap_socket(plain) as link:
                    link.settimeout(60)
                    link.sendall(claim)
                    assert b"certificate is for 127.0.0.3" in read_all(link) or port == ensemble.election_ports[leader]
        for where in ("election port: hung up on", "the connection to an unknown server is closed"):
            ensemble.wait_for(
                lambda where=where: said(ensemble, leader, where, "its certificate is for 127.0.0.3"), where
            )
        assert ensemble.leader() == leader
        assert wire(ensemble.port(1)).create("/b", b"x") == 0


def read_all(link: ssl.SSLSocket) -> bytes:
    found = b""
    with suppress(ConnectionError, ssl.SSLError):
        while data := link.recv(4096):
            found += data
    return found
