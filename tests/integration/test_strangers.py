"""Strangers at the ports between servers, who say everything that a member can say, with each field out of range.

They speak for a member that lives, and for one that is down, while clients write. What a stranger achieves is read from
the servers' logs and from the epochs on their disks: nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import trustme

from benchmarks.fairness import Waits, bystander, write
from tests.ensembles import EnsembleProcesses
from tests.integration.strangers import STRANGERS
from tests.integration.test_tls_between_servers import secure

DOWN = 1
GAVE_WAY = re.compile(r"looking for a leader: server (\d+) (?:has promised epoch|is in term)")
UNKNOWN = "the connection to an unknown server is closed"


class Strangers:
    """Connects, says something, and keeps the last few connections open without reading them."""

    def __init__(self, ensemble: EnsembleProcesses, seed: int, epoch: int, protocol: str) -> None:
        self.ensemble = ensemble
        self.chance = Random(seed)
        self.makes = STRANGERS[protocol](self.chance, epoch)
        self.open: list[socket.socket] = []

    def come(self) -> None:
        is_learner = bool(self.chance.randrange(2))
        ports = self.ensemble.quorum_ports if is_learner else self.ensemble.election_ports
        data = self.makes.learner() if is_learner else self.makes.voter()
        if not self.chance.randrange(8):
            data = b""
        with suppress(OSError):  # this server is down, or does not lead
            sock = socket.create_connection(("127.0.0.1", ports[self.chance.choice((1, 2, 3))]), timeout=20)
            self.open.append(sock)
            sock.setblocking(False)
            sock.send(data)
        while len(self.open) > 100:
            self.open.pop(self.chance.randrange(len(self.open))).close()

    def go(self) -> None:
        while self.open:
            self.open.pop().close()


def log_of(ensemble: EnsembleProcesses, sid: int) -> str:
    return ensemble.servers[sid].log.read_text(errors="replace")


def accepted(ensemble: EnsembleProcesses, sid: int) -> int:
    return int((ensemble.servers[sid].data_dir / "version-2" / "acceptedEpoch").read_text())


def memory_kb(ensemble: EnsembleProcesses, sid: int) -> int:
    status = Path(f"/proc/{ensemble.servers[sid].pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def descriptors(ensemble: EnsembleProcesses, sid: int) -> int:
    return len(list(Path(f"/proc/{ensemble.servers[sid].pid}/fd").iterdir()))


def strangers_come(
    ensemble: EnsembleProcesses, wire, count: int, *, tls: bool, protocol: str, each_second: int | None = None
) -> list[Waits]:
    """They come to three servers under load, of which the first is down and comes back in the end.

    each_second: how many strangers come in a second; None: as many as can. Returns how long a bystander at the third
    server waits for its reads, without them and with them.
    """
    if ensemble.leader() == DOWN:
        ensemble.stop(DOWN)
    else:
        ensemble.kill(DOWN)
    ensemble.wait_serving(2, 3)
    epoch = ensemble.wait_synced(2, 3) >> 32
    before = {sid: (memory_kb(ensemble, sid), descriptors(ensemble, sid)) for sid in (2, 3)}
    led = {sid: log_of(ensemble, sid).count("leader in epoch") for sid in (2, 3)}
    strangers = Strangers(ensemble, 4711, epoch, protocol)
    written = 0
    client = wire(ensemble.port(2))
    waits: list[Waits] = []
    with bystander(ensemble.port(3), waits):
        for number in range(count // 2):
            assert client.create(f"/before-{number}", b"x") == 0
    with bystander(ensemble.port(3), waits):
        began = time.monotonic()
        for number in range(count):
            if each_second:  # the pace is the input
                time.sleep(max(0.0, began + number / each_second - time.monotonic()))
            strangers.come()
            if number % 20 == 0:
                try:
                    assert client.create(f"/{number}", b"x") == 0
                    written += 1
                except (OSError, EOFError):  # its server has looked for another leader
                    ensemble.wait_serving(2, 3)
                    client = wire(ensemble.port(2))
    assert written > count / 40
    strangers.go()
    ensemble.start(DOWN)  # whatever was said, it joins
    ensemble.wait_synced()
    ensemble.assert_same()
    # What was achieved.
    ended = [int(sid) for server in (2, 3) for sid in GAVE_WAY.findall(log_of(ensemble, server))]
    assert len(ended) == len(set(ended)) and 2 not in ended and 3 not in ended, ended
    leaderships = sum(log_of(ensemble, sid).count("leader in epoch") - led[sid] for sid in (2, 3))
    claimed = (1 << 16) * len(ended)  # each of these was acknowledged as by a member
    for sid in (1, 2, 3):
        assert accepted(ensemble, sid) <= epoch + claimed + 2 * leaderships + 2, (sid, ended)
    if tls:
        assert ended == [] and not any(UNKNOWN in log_of(ensemble, sid) for sid in (2, 3))
    for sid, (kb, files) in before.items():
        ensemble.wait_for(
            lambda sid=sid, files=files: descriptors(ensemble, sid) <= files + 8, "descriptors are closed"
        )
        assert memory_kb(ensemble, sid) < kb + 30_000
    return waits


@pytest.mark.thorough  # three processes and 400 connections
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "sslQuorum"])
@pytest.mark.parametrize("protocol", STRANGERS)
def test_f6_strangers_achieve_little_and_with_tls_nothing(start_ensemble, wire, protocol, tls):
    run(start_ensemble, wire, 400, tls, protocol)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "sslQuorum"])
@pytest.mark.parametrize("protocol", STRANGERS)
@pytest.mark.parametrize("each_second", [200, None], ids=["200 a second", "as many as can"])
def test_f6_ten_thousand_strangers(start_ensemble, wire, capsys, each_second, protocol, tls):
    """It prints a bystander's waits: its p99 should at most double. -1: its server has looked for another leader.

    At 200 a second the figure says how long a server is busy with one of them. As many as can come: then it also
    says who else has the processors, since the strangers' program runs on them as well.
    """
    alone, beside = run(start_ensemble, wire, 10_000, tls, protocol, each_second)
    with capsys.disabled():
        write(f"\na bystander without strangers and with them, in s: {alone}, {beside}")
    assert not tls or beside.p99 >= 0  # with sslQuorum no leadership ends, and so no connection of a client


def run(start_ensemble, wire, count: int, tls: bool, protocol: str, each_second: int | None = None) -> list[Waits]:
    with start_ensemble("ours", "ours", "ours", start=False, protocol=protocol) as ensemble:
        begin(ensemble, tls=tls)
        return strangers_come(ensemble, wire, count, tls=tls, protocol=protocol, each_second=each_second)


def begin(ensemble: EnsembleProcesses, *, tls: bool) -> None:
    if tls:
        authority = trustme.CA()
        secure(ensemble, authority, dict.fromkeys(ensemble.servers, authority))
    ensemble.start()


@pytest.mark.thorough  # three processes, and some starts
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "sslQuorum"])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["silent", "a part of a handshake"])
def test_f5_who_says_nothing_keeps_no_member_out_and_holds_no_more_than_a_few_descriptors(
    start_ensemble, wire, tls, said
):
    """200 connections at each port between servers, from an address of the servers, while a member comes again."""
    with start_ensemble("ours", "ours", "ours", start=False) as ensemble:
        begin(ensemble, tls=tls)
        leader = ensemble.leader()
        lost = ensemble.followers()[0]
        others = [sid for sid in ensemble.servers if sid != lost]
        ensemble.kill(lost)
        ensemble.wait_serving(*others)
        before = {sid: descriptors(ensemble, sid) for sid in others}
        ports = [ensemble.election_ports[sid] for sid in others] + [ensemble.quorum_ports[leader]]
        held = []
        for port in ports:
            for _ in range(200):
                held.append(socket.create_connection(("127.0.0.1", port), timeout=20))
                held[-1].sendall(said)
        for sid in others:  # at most 128 at each of its ports that are open, and the port's own for the next one
            most = before[sid] + 130 * (2 if sid == leader else 1)
            ensemble.wait_for(
                lambda sid=sid, most=most: descriptors(ensemble, sid) <= most, "the oldest have been hung up on"
            )
        ensemble.start(lost)
        ensemble.wait_synced()
        assert wire(ensemble.port(lost)).create("/a", b"x") == 0
        for sock in held:
            sock.close()
        for sid in others:
            ensemble.wait_for(lambda sid=sid: descriptors(ensemble, sid) <= before[sid] + 8, "descriptors are closed")
        assert ensemble.leader() == leader
        what = "TLS handshakes that are not finished" if tls else "connections without a greeting"
        if tls or not said:
            assert f"election port: 128 {what}: hung up on the oldest" in log_of(ensemble, leader)
