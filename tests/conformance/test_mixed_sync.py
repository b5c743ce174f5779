"""A member that was away catches up with a leader of the other kind: by DIFF, by TRUNC, by SNAP.

What was used is read from the log of the Apache server at one of the ends.

Bugs of 3.8.0 these schedules stay clear of: a TRUNC keeps a snapshot that has what is to be taken back
(ZOOKEEPER-1549), so no server is truncated that has started to lead since, when it would have written one; a COMMIT
between NEWLEADER and UPTODATE ends the learner's connection (ZOOKEEPER-4394), so nothing is written through an Apache
leader while an Apache server joins; NEWLEADER is acknowledged before what was synced is on disk (ZOOKEEPER-4646), so
no Apache server is killed before it has been seen to serve.
"""

from __future__ import annotations

import re
import struct

import pytest

from tests.ensembles import EnsembleProcesses
from tests.wire import OPEN_ACL, Wire

pytestmark = pytest.mark.apache

HANDLER = "org.apache.zookeeper.server.quorum.LearnerHandler"
LONG_MS = 60_000  # a session that does not expire meanwhile: its end would be a txn
LEARNER, LEADERS = 1, (2, 3)
# As the learner says it, or the leader to whom it does.
SAID = {
    "DIFF": ("Getting a diff from the leader", f"Sending DIFF zxid=0x[0-9a-f]+  for peer sid: {LEARNER}"),
    "TRUNC": (
        "Truncating log to get in sync with the leader",
        f"Sending TRUNC to follower zxidToSend=0x[0-9a-f]+ for peer sid:{LEARNER}",
    ),
    "SNAP": ("Getting a snapshot from leader", "Sending snapshot last zxid of peer is"),
}


# Each test starts servers of Apache's anew. How ours bring one up to date, test_mixed.py shows too, where it joins.
@pytest.fixture(scope="module", params=["ours", pytest.param("apache", marks=pytest.mark.thorough)])
def ensemble(request, start_ensemble):
    """Server 1 is of the kind named, the two that will lead it are of the other."""
    other = "apache" if request.param == "ours" else "ours"
    with start_ensemble(request.param, other, other, start=False, maxSessionTimeout=LONG_MS) as started:
        for server in started.servers.values():
            server.properties.append(f"-Dorg.slf4j.simpleLogger.log.{HANDLER}=debug")  # it tells of a TRUNC
        started.start()
        client = Wire(started.port(1))
        for at in range(5):
            assert client.create(f"/a-{at}", b"x") == 0
        assert client.call(19, client.text("/box") + client.text("") + OPEN_ACL + struct.pack(">i", 4))[0] == 0
        client.close_session()
        if started.leader() == LEARNER:
            started.make_leader(LEADERS[0])
        yield started


def synced_by(ensemble: EnsembleProcesses, log_sizes: dict[int, int]) -> list[str]:
    """What server 1 was brought up to date with, since its Apache peer's log had that size."""
    judge = LEARNER if ensemble.kinds[LEARNER] == "apache" else ensemble.leader()
    with ensemble.servers[judge].log.open(errors="replace") as log:
        log.seek(log_sizes[judge])
        said = log.read()
    return [kind for kind, (got, sent) in SAID.items() if re.search(got if judge == LEARNER else sent, said)]


def log_sizes(ensemble: EnsembleProcesses) -> dict[int, int]:
    return {sid: server.log.stat().st_size for sid, server in ensemble.servers.items()}


def come_back(ensemble: EnsembleProcesses, expected: str) -> None:
    """Start server 1; it is synced as expected, and has what the others have, then and after one more start."""
    sizes = log_sizes(ensemble)
    ensemble.start(LEARNER)
    assert synced_by(ensemble, sizes) == [expected]
    ensemble.wait_synced()
    ensemble.assert_same()
    client = Wire(ensemble.port(LEARNER))
    assert client.create(f"/back-{expected}-", flags=2) == 0
    client.close_session()
    ensemble.restart(LEARNER)
    ensemble.assert_same()


def write(ensemble: EnsembleProcesses, count: int) -> None:
    client = Wire(ensemble.port(ensemble.leader()))
    for _ in range(count):
        client.post(1, client.text("/n-") + client.text(b"x") + OPEN_ACL + b"\0\0\0\2")
    for _ in range(count):
        assert client.reply()[2] == 0
    client.close_session()


def test_a_member_that_lacks_a_little_gets_a_diff(ensemble):
    ensemble.kill(LEARNER)
    write(ensemble, 20)
    come_back(ensemble, "DIFF")


@pytest.mark.thorough
def test_a_member_that_lacks_more_than_is_kept_in_memory_gets_it_from_the_disk(ensemble):
    """Apache sends it out of its log, as long as that is one file, ours out of its tree."""
    ensemble.kill(LEARNER)
    write(ensemble, 1100)
    come_back(ensemble, "DIFF" if ensemble.kinds[LEARNER] == "ours" else "SNAP")


def test_a_member_without_a_disk_gets_a_snapshot(ensemble):
    ensemble.wipe(LEARNER)
    write(ensemble, 20)
    client = Wire(ensemble.port(LEADERS[0]), timeout_ms=LONG_MS)
    assert client.create("/mortal", flags=1) == 0
    come_back(ensemble, "SNAP")
    client.close_session()
    ensemble.wait_synced()
    assert "/mortal" not in ensemble.assert_same()


@pytest.mark.parametrize(
    "written_since",
    [
        pytest.param(False, id="at once", marks=pytest.mark.thorough),  # 9 s; tests/core/zab has TRUNC
        pytest.param(True, id="after a txn of the next epoch", marks=pytest.mark.thorough),
    ],
)
def test_what_only_one_disk_has_is_taken_back(ensemble, written_since):
    """Server 1 leads and logs a proposal that reaches nobody; the others go on without it."""
    ensemble.make_leader(LEARNER)
    ensemble.wait_synced()
    client = Wire(ensemble.port(LEARNER), timeout_ms=LONG_MS)
    for sid in LEADERS:
        ensemble.pause(sid)
    lost = f"/lost-{written_since}"
    client.post(1, client.text(lost) + client.text(b"x") + OPEN_ACL + bytes(4))
    logs = ensemble.servers[LEARNER].data_dir / "version-2"
    ensemble.wait_for(lambda: any(lost.encode() in log.read_bytes() for log in logs.glob("log.*")), "it is in the log")
    for sid in (*LEADERS, LEARNER):
        ensemble.kill(sid)
    client.close()
    ensemble.start(*LEADERS)
    if written_since:
        write(ensemble, 3)
    # Apache truncates across epochs only while the leader has nothing of its own.
    come_back(ensemble, "SNAP" if written_since and ensemble.kinds[LEARNER] == "ours" else "TRUNC")
    assert lost not in ensemble.assert_same()
