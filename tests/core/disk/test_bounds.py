"""What bounds a data directory: when snapshots are due, when a log file ends, and what is purged."""

import asyncio
from contextlib import nullcontext
from random import Random

import pytest

from recipes.core.config import ServerConfig
from recipes.core.disk import log_tail
from recipes.core.disk.log_tail import LogTail
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.snapshot_writer import SnapshotWriter
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import encode_txn
from recipes.core.replication import Entry
from recipes.core.server.server import Server
from recipes.core.sim.disk import SimDisk
from recipes.core.tree.tree import DataTree
from tests.core.server.test_server import config, create, frame, header, session


def writer(**settings) -> SnapshotWriter:
    return SnapshotWriter(
        SimDisk(Random(1)), 1000, Replacements(nullcontext()), randrange=lambda below: 0, clock=lambda: 0.0,
        log=lambda text, is_error: None, **settings,
    )  # fmt: skip


def test_servers_3_a_snapshot_is_due_by_size_too():
    snapshots = writer(size_limit_bytes=2000)
    assert not snapshots.is_due(1, 999)
    assert snapshots.is_due(1, 1000)
    snapshots.begin(DataTree(), 1500)
    snapshots.abandon()
    assert not snapshots.is_due(1, 2499)
    assert snapshots.is_due(1, 2500)
    assert not writer().is_due(1, 1 << 60)  # without a limit


@pytest.mark.parametrize("replayed", [(499, 0), (0, 999)])
def test_servers_3_what_was_replayed_at_the_start_counts(replayed):
    snapshots = writer(size_limit_bytes=2000, replayed=replayed)
    assert not snapshots.is_due(0, 0)
    assert snapshots.is_due(1, 1)


def test_servers_3_a_log_file_ends_at_its_limit():
    queue = WriteQueue(Replacements(nullcontext()), reserve_every_bytes=1 << 40, file_limit_bytes=300)

    def batch(zxid):
        queue.put([Entry(zxid, bytes(200))])
        job = queue.next()
        while not hasattr(job, "entries"):
            job.found = True
            queue.done(job)
            job = queue.next()
        job.fits = True
        queue.done(job)
        return job._rolls

    assert [batch(zxid) for zxid in range(1, 7)] == [False, False, True, False, True, False]
    queue.roll()
    assert [batch(zxid) for zxid in range(7, 10)] == [True, False, True]


@pytest.mark.asyncio
async def test_servers_3_a_server_that_is_restarted_often_writes_snapshots_and_purges_at_its_start(tmp_path):
    files = tmp_path / "version-2"
    for start in range(12):
        async with Server(config(tmp_path, snap_count=10)) as server:
            reader, writer = await session(server)
            for at in range(4):
                writer.write(create(1, b"/%d-%d" % (start, at), b"x"))
                assert header(await frame(reader)) == (1, 0)
            async with asyncio.timeout(60):
                while not server.turn.snapshots.is_free:
                    await asyncio.sleep(0.001)
            writer.close()
    assert len(list(files.glob("snapshot.*"))) > 4
    async with Server(config(tmp_path, purge_interval_hours=24)):
        async with asyncio.timeout(60):
            while len(list(files.glob("snapshot.*"))) > 3:
                await asyncio.sleep(0.001)


def test_servers_3_the_limits_are_read():
    settings = ServerConfig(data_dir="/data", snapSizeLimitInKb=20480, txnLogSizeLimitInKb=1)
    assert (settings.snap_size_limit_kb, settings.log_size_limit_kb) == (20480, 1)
    assert ServerConfig(data_dir="/data").snap_size_limit_kb == 4 << 20


@pytest.mark.parametrize("most", [200, 1 << 20])
def test_f16_a_start_remembers_no_more_of_the_log_than_it_may(monkeypatch, most):
    monkeypatch.setattr(log_tail, "_MOST_BYTES", most)
    tail = LogTail(0)
    payloads = [encode_txn(1, 0, zxid, 0, op.CREATE_SESSION, (4000,)) for zxid in range(1, 11)]
    for payload in payloads:
        tail.add(payload)
    entries, before = tail.finish(SimDisk(Random(1)), [])
    count = len(entries)
    assert [entry.payload for entry in entries] == payloads[10 - count :]
    assert before == 10 - count
    assert sum(len(entry.payload) for entry in entries) <= most
    assert count == 10 if most > 200 else 0 < count < 10
