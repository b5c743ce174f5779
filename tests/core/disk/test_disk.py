"""The two disks do what every Disk does; and what the real one adds."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from recipes.core.disk.disk import Disk, RealDisk
from recipes.core.disk.txnlog import TxnLog
from recipes.core.errors import DiskError
from recipes.core.replication import Entry
from recipes.core.sim.disk import SimDisk
from tests.core.disk_suite import DiskSuite, files
from tests.descriptors import no_more_descriptors


class TestRealDisk(DiskSuite):
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Disk]:
        disk = RealDisk(tmp_path / "version-2")
        yield disk
        disk.close()


class TestSimDisk(DiskSuite):
    @pytest.fixture
    def disk(self) -> Disk:
        return SimDisk(Random(1))


def test_one_server_at_a_time(tmp_path: Path):
    first = RealDisk(tmp_path / "data")
    with pytest.raises(DiskError, match=f"locked by another server, pid {os.getpid()}$"):
        RealDisk(tmp_path / "data")
    first.close()
    RealDisk(tmp_path / "data").close()


def test_only_the_owner_may_look(tmp_path: Path):
    disk = RealDisk(tmp_path / "data")
    disk.create("a").close()
    disk.close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "a").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="file/data"):
        RealDisk(tmp_path / "file" / "data")


def test_a_new_directory_is_made_durable_with_those_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    RealDisk(tmp_path / "data" / "version-2").close()
    assert synced == [tmp_path, tmp_path / "data"]


def test_a_log_is_rolled_without_a_descriptor_to_spare(tmp_path: Path, entry: Callable[..., Entry]):
    disk = RealDisk(tmp_path / "data")
    log = TxnLog(disk)
    log.append([entry(1)])
    log.sync()
    with no_more_descriptors():
        log.roll()
        log.append([entry(2)])
        log.sync()
    log.close()
    assert files(disk) == ["log.1", "log.2"]
    disk.close()
