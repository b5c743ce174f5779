"""Metrics: in the form that Prometheus' own parser takes, under the names of docs/metrics.md, and they change."""

import asyncio
import re
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recipes.core.config import ServerConfig
from recipes.core.member.metrics import COUNTERS, figures, monitor
from recipes.core.member.stats import Stats
from recipes.core.server.server import Server
from recipes.core.server.unavailability import Unavailability
from tests.wire import Wire

DELETE, EXISTS, GET, SET, CHILDREN, AUTH = 2, 3, 4, 5, 8, 100
NO_NODE = -101

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
KEPT, OTHERS = (re.findall(r"^\| (`.+) \|.*\|$", part, re.MULTILINE) for part in PAGE.split("\n## ")[1:])
NAMES = {name for row in KEPT for name in re.findall(r"`(\w+)`", row.partition("|")[0])}
NOT_HERE = {name for row in OTHERS for name in re.findall(r"`(\w+)`", row.partition("|")[0])}
OF_ENSEMBLES = {
    "peer_state", "quorum_size", "learners", "synced_followers", "synced_non_voting_followers", "synced_observers",
    "pending_syncs", "leader_uptime", "observer_master_id", "diff_count", "last_proposal_size", "min_proposal_size",
    "max_proposal_size", "protocol",
}  # fmt: skip


def config(directory, **more):
    return ServerConfig(
        data_dir=directory, client_port=0, admin_enabled=True, admin_port=0, pre_alloc_size_kb=64, **more
    )


async def ask(port, path):
    """Head and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head, body


@pytest.mark.asyncio
async def test_every_figure_of_mntr_is_a_metric_for_prometheus(tmp_path):
    async with Server(config(tmp_path)) as server:
        head, body = await ask(server.admin_port, "/metrics")
        single = {key for key, value in figures(server.member).items() if not isinstance(value, str)}
        summaries = set(server.member.stats.summaries())
    assert b"text/plain; version=0.0.4" in head
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert set(families) == single | summaries
    assert {name for name, family in families.items() if family.type == "summary"} == summaries
    assert {name for name, family in families.items() if family.type == "counter"} == COUNTERS - OF_ENSEMBLES
    assert all(len(families[name].samples) == 1 for name in single)
    for name in summaries:
        samples = [(sample.name, *sample.labels.values()) for sample in families[name].samples]
        assert samples[:1] == [(name, "0.5")] and samples[-2:] == [(f"{name}_count",), (f"{name}_sum",)]
    assert families["znode_count"].samples[0].value > 0


@pytest.mark.asyncio
async def test_the_page_names_each_metric(tmp_path):
    async with Server(config(tmp_path)) as server:
        shown = {*figures(server.member), *server.member.stats.summaries()}
    assert shown == NAMES - OF_ENSEMBLES
    assert not NAMES & NOT_HERE


# What the load below must change.
CHANGED = {
    "packets_received", "packets_sent", "bytes_received_count", "response_bytes", "last_client_response_size",
    "max_client_response_size", "min_client_response_size", "num_alive_connections", "non_mtls_local_conn_count",
    "connection_request_count", "connection_revalidate_count", "connection_rejected", "cnt_readlatency",
    "cnt_updatelatency", "znode_count", "ephemerals_count", "approximate_data_size", "watch_count",
    "cnt_node_created_watch_count", "cnt_node_deleted_watch_count", "cnt_node_changed_watch_count",
    "sum_node_children_watch_count", "global_sessions", "auth_failed_count", "cnt_fsynctime",
    "cnt_sync_processor_queue_flush_time_ms", "cnt_sync_processor_queue_and_flush_time_ms",
    "sum_sync_processor_batch_size", "sync_processor_request_queued", "cnt_snapshottime",
    "prep_processor_request_queued", "cnt_propagation_latency", "request_throttle_wait_count",
    "stale_sessions_expired", "insecure_admin_count", "open_file_descriptor_count", "uptime",
}  # fmt: skip
HELD = 200  # reads behind a write: more than are taken from one client before it has had its answers


def load(port, stats):
    """Every kind of request that counts; returns the clients that stay connected."""
    expires = Wire(port, timeout_ms=1)
    expires.close()  # without its session
    client, other = Wire(port), Wire(port)
    for path in ("/a", "/a/ephemeral"):
        assert client.call(EXISTS, client.text(path) + b"\1")[0] == NO_NODE
        assert client.create(path, b"x" * 50, flags=path.endswith("ephemeral")) == 0
    client.call(CHILDREN, client.text("/a") + b"\1")
    client.call(GET, client.text("/a") + b"\1")
    write = struct.pack(">ii", 1, SET) + client.text("/a") + client.text("y" * 50) + struct.pack(">i", -1)
    read = struct.pack(">ii", 2, GET) + client.text("/a") + b"\0"
    frames = [struct.pack(">i", len(each)) + each for each in (write, *[read] * HELD)]
    while not stats.pauses:  # once all of them come together
        other.sock.sendall(b"".join(frames))
        for _ in frames:
            other.reply()
    client.call(GET, client.text("/a/ephemeral") + b"\1")
    client.call(DELETE, client.text("/a/ephemeral") + struct.pack(">i", -1))
    assert client.create("/a/ephemeral", flags=1) == 0
    client.call(GET, client.text("/a") + b"\1")
    session = other.session
    other.close()
    other = Wire(port, session=session)
    with suppress(EOFError, OSError):
        other.post(AUTH, struct.pack(">i", 0) + other.text("no such scheme") + other.text("x"), xid=-4)
        while other.receive():
            pass
    other.close()
    clients = [client]
    with suppress(EOFError, OSError):  # one too many
        while True:
            clients.append(Wire(port))
    return clients


@pytest.mark.asyncio
async def test_servers_8_load_changes_the_metrics_of_what_it_does(tmp_path):
    many = config(tmp_path, tick_time_ms=100, max_session_timeout_ms=60_000, max_connections_per_ip=4)
    async with Server(many) as server:
        before = monitor(server.member)
        clients = await asyncio.to_thread(load, server.client_port, server.member.stats)
        assert b"200 OK" in (await ask(server.admin_port, "/metrics"))[0]
        server.tidy()
        async with asyncio.timeout(60):
            while not (server.member.stats.snapshots.count and server.member.stats.sessions_expired):
                await asyncio.sleep(0.01)
        after = monitor(server.member)
        for client in clients:
            client.close()
    assert {name for name in CHANGED if before[name] == after[name]} == set()
    assert server.member.stats.sync_s > 0
    assert after["cnt_updatelatency"] >= 5 and after["cnt_readlatency"] > HELD
    assert after["cnt_readlatency"] + after["cnt_updatelatency"] == after["packets_received"]


def test_servers_8_latencies_of_reads_and_writes_are_kept_apart():
    stats = Stats()
    stats.packets_received, stats.updates = 10, 4
    stats.turn_took(3, 1)  # five of the reads came in that turn
    stats.waited(7, is_read=False)
    reads, updates = stats.summaries()["readlatency"], stats.summaries()["updatelatency"]
    assert (reads.count, reads.total, reads.most, reads.least) == (6, 15, 3, 0)
    assert (updates.count, updates.total, updates.most, updates.least) == (4, 7, 7, 0)
    assert (stats.latency_total_ms, stats.latency_max_ms) == (22, 7)


def test_times_of_batches_are_kept_also_below_a_millisecond():
    stats = Stats()
    for _ in range(10):
        stats.synced(0.0004, 0.0005, 0.0006)
    stats.synced(1.5, 1.6, 1.7)
    times = stats.summaries()
    assert (times["fsynctime"].count, times["fsynctime"].total, times["fsynctime"].most) == (11, 1504, 1500)
    assert times["sync_processor_queue_and_flush_time_ms"].most == 1700
    assert stats.slow_syncs == 1


def test_srst_starts_all_counts_anew():
    stats = Stats()
    fresh = {name: (summary.count, summary.total) for name, summary in stats.summaries().items()}
    stats.synced(1.5, 1.6, 1.7)
    stats.wrote([10, 20])
    stats.fire([1, 1])
    stats.loaded(5, 6)
    stats.updates = stats.packets_received = 3
    stats.reset()
    assert {name: (summary.count, summary.total) for name, summary in stats.summaries().items()} == fresh
    assert (stats.proposal_sizes.last, stats.logged, stats.updates) == (-1, 0, 0)


@pytest.mark.parametrize(
    ("stages", "figures"),
    [
        # (ms, stage) while it does not serve, then (ms, role): elections, times without service, as leader, following
        ([(0, "election"), (5, "election"), (7, "synchronization"), (9, "leader")], ([7], [9], [9], [])),
        ([(0, "election"), (3, "synchronization"), (8, "follower")], ([3], [8], [], [5])),
        ([(0, "election"), (3, "synchronization"), (4, "election"), (9, "synchronization"), (11, "follower")],
         ([3, 5], [11], [], [2])),
    ],
)  # fmt: skip
def test_servers_8_elections_and_times_without_service_are_measured(stages, figures):
    times = Unavailability()
    for now_ms, stage in stages[:-1]:
        times.looking(stage, now_ms)
    times.serving(stages[-1][1], stages[-1][0])
    stats = times.stats
    found = (stats.election, stats.unavailable, stats.leader_unavailable, stats.followed)
    assert [(each.count, each.total) for each in found] == [(len(each), sum(each)) for each in figures]
    assert stats.looked == stats.election.count


def mntr_of(ensemble):
    return {
        sid: {name.removeprefix("zk_"): value for name, value in ensemble.mntr(sid).items()} for sid in ensemble.servers
    }


@pytest.mark.thorough
def test_servers_8_an_ensemble_counts_what_it_does(start_ensemble, wire):
    ensemble = start_ensemble("ours", "ours", "ours", observers="ours")
    leader = ensemble.leader()
    follower, lost = (sid for sid in ensemble.voters if sid != leader)
    observer = 4
    before = mntr_of(ensemble)
    clients = [wire(ensemble.port(sid)) for sid in (follower, observer)]
    for number, client in enumerate(clients * 20):
        assert client.create(f"/{number}", b"x" * (number + 1)) == 0
    clients[0].close()
    wire(ensemble.port(observer), session=clients[0].session).call(EXISTS, client.text("/") + b"\0")
    ensemble.restart(lost)
    assert clients[1].create("/last") == 0
    ensemble.wait_synced()
    after = mntr_of(ensemble)

    def grew(sid, *names):
        return {name: int(after[sid][name]) - int(before[sid].get(name, "0")) for name in names}

    assert all(
        count >= 41 for count in grew(leader, "proposal_count", "commit_count", "request_commit_queued").values()
    )
    assert int(after[leader]["last_proposal_size"]) > 40 and int(after[leader]["max_proposal_size"]) > 40
    assert int(after[leader]["diff_count"]) + int(after[leader]["snap_count"]) >= 4
    assert int(after[leader]["cnt_leader_unavailable_time"]) == 1 and int(after[leader]["cnt_quorum_ack_latency"]) > 40
    received = ("learner_proposal_received_count", "learner_commit_received_count", "cnt_commit_propagation_latency")
    for sid in (follower, observer):
        assert all(count >= 41 for count in grew(sid, *received, "cnt_proposal_latency").values())
        assert "last_proposal_size" not in after[sid]
    assert int(after[follower]["cnt_follower_sync_time"]) == 1 and int(after[observer]["cnt_observer_sync_time"]) == 1
    assert list(grew(observer, "revalidate_count", "connection_revalidate_count").values()) == [1, 1]
    for sid in ensemble.servers:
        assert int(after[sid]["cnt_election_time"]) == int(after[sid]["looking_count"]) >= 1
        assert int(after[sid]["cnt_unavailable_time"]) >= 1
    shown = {*after[leader], *after[follower], *after[observer]}
    assert shown >= OF_ENSEMBLES
    of_summaries = {name for name in shown if name.partition("_")[2] in Stats().summaries()}
    assert shown - of_summaries <= NAMES  # the page has each of them
