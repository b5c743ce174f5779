"""What every Disk does, and what the real one adds."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.core.disk.disk import Disk, RealDisk
from recipes.core.disk.txnlog import TxnLog
from recipes.core.errors import DiskError
from recipes.core.replication import Entry
from tests.descriptors import no_more_descriptors


def files(disk: Disk) -> list[str]:
    return [name for name in disk.names() if not name.startswith(".")]


def test_a_new_disk_is_empty(disk: Disk):
    assert files(disk) == []


def test_what_was_written_is_read(disk: Disk):
    file = disk.create("a")
    file.write(0, b"hello")
    file.write(3, b"p!!")
    assert disk.read("a") == b"help!!"
    file.sync()
    file.close()
    disk.sync()
    assert disk.read("a") == b"help!!"


def test_a_write_behind_the_end_leaves_zeros(disk: Disk):
    file = disk.create("a")
    file.write(4, b"x")
    file.close()
    assert disk.read("a") == b"\0\0\0\0x"


def test_create_empties_and_open_does_not(disk: Disk):
    file = disk.create("a")
    file.write(0, b"one")
    file.close()
    file = disk.open("a")
    file.write(3, b"two")
    file.close()
    assert disk.read("a") == b"onetwo"
    disk.create("a").close()
    assert disk.read("a") == b""


@pytest.mark.parametrize(("size", "left"), [(2, b"he"), (7, b"hello\0\0")])
def test_truncate_sets_the_size(disk: Disk, size: int, left: bytes):
    file = disk.create("a")
    file.write(0, b"hello")
    file.truncate(size)
    file.close()
    assert disk.read("a") == left


def test_rename_replaces(disk: Disk):
    for name in ("b", "a"):
        file = disk.create(name)
        file.write(0, name.encode())
        file.close()
    disk.rename("a", "b")
    assert files(disk) == ["b"]
    assert disk.read("b") == b"a"


def test_names_are_sorted_and_remove_removes(disk: Disk):
    for name in ("c", "a", "b"):
        disk.create(name).close()
    assert files(disk) == ["a", "b", "c"]
    disk.remove("b")
    assert files(disk) == ["a", "c"]


def test_a_missing_file_is_an_error(disk: Disk):
    for what in (disk.read, disk.open, disk.remove, lambda name: disk.rename(name, "b")):
        with pytest.raises(FileNotFoundError):
            what("missing")


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
