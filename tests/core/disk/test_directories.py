"""The directories of snapshots and log: one or two, and what lies in the wrong one."""

import os
from errno import EACCES
from pathlib import Path

import pytest

from recipes.core.disk.directories import open_directories, take_initialize
from recipes.core.errors import DiskError


def put(directory: Path, *names: str) -> None:
    (directory / "version-2").mkdir(parents=True)
    for name in names:
        (directory / "version-2" / name).touch()


def test_without_a_log_directory_there_is_one(tmp_path: Path):
    put(tmp_path, "snapshot.0", "log.1")
    with open_directories(tmp_path, None) as (snapshots, logs):
        assert snapshots is logs


def test_one_that_is_named_in_two_ways_is_one(tmp_path: Path):
    put(tmp_path / "data", "snapshot.0", "log.1")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for name in ("data", "link"):
        with open_directories(tmp_path / "data", tmp_path / name) as (snapshots, logs):
            assert snapshots is logs


def test_logs_that_would_not_be_read_are_refused_before_anything_is_made(tmp_path: Path):
    put(tmp_path / "data", "snapshot.0", "log.1", "log.3", "log.a")
    data, logs = tmp_path / "data" / "version-2", tmp_path / "logs" / "version-2"
    with pytest.raises(DiskError) as caught, open_directories(tmp_path / "data", tmp_path / "logs"):
        pass
    said = f"log.1 and 2 more in {data} would not be read, since the transaction log is in {logs}: "
    assert str(caught.value) == f"{said}move the log.* files to {logs}"
    assert not (tmp_path / "logs").exists()
    assert not (data / ".lock").exists()


def test_so_are_snapshots_among_the_logs(tmp_path: Path):
    put(tmp_path / "logs", "snapshot.5", "log.1")
    data, logs = tmp_path / "data" / "version-2", tmp_path / "logs" / "version-2"
    with pytest.raises(DiskError) as caught, open_directories(tmp_path / "data", tmp_path / "logs"):
        pass
    said = f"snapshot.5 in {logs} would not be read, since the snapshots are in {data}: "
    assert str(caught.value) == f"{said}move the snapshot.* files to {data}"
    assert not (tmp_path / "data").exists()


def test_files_in_their_places_are_opened_and_let_go_of(tmp_path: Path):
    put(tmp_path / "data", "snapshot.0", "superseded-log.1")
    put(tmp_path / "logs", "log.1")
    for _ in range(2):
        with open_directories(tmp_path / "data", tmp_path / "logs") as (snapshots, logs):
            assert (snapshots.path.parent.name, logs.path.parent.name) == ("data", "logs")


def test_logs_are_not_forgotten_when_their_directory_is(tmp_path: Path):
    put(tmp_path / "data", "snapshot.0")
    put(tmp_path / "logs", "log.1")
    with open_directories(tmp_path / "data", tmp_path / "logs"):
        pass
    for log_dir in (None, tmp_path / "others"):
        with pytest.raises(DiskError, match=rf"move the log.*, or have dataLogDir say {tmp_path / 'logs'}"):
            with open_directories(tmp_path / "data", log_dir):
                pass
    assert not (tmp_path / "others").exists()
    (tmp_path / "logs/version-2/log.1").rename(tmp_path / "data/version-2/log.1")
    with open_directories(tmp_path / "data", None) as (snapshots, logs):
        assert snapshots is logs
    with open_directories(tmp_path / "data", None) as (snapshots, logs):
        assert "log-directory" not in snapshots.names()


def test_a_directory_that_cannot_be_looked_into_is_not_taken_for_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "data", "snapshot.0")
    with open_directories(tmp_path / "data", tmp_path / "logs"):
        pass

    def refuse(path: Path) -> list[str]:
        raise PermissionError(EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DiskError, match=rf"{tmp_path}/logs/version-2: Permission denied"):
        with open_directories(tmp_path / "data", None):
            pass


def test_servers_5_directories_are_not_made_where_they_must_be_there(tmp_path):
    with pytest.raises(DiskError, match=rf"{tmp_path}/version-2 is missing, and datadir\.autocreate=false"):
        with open_directories(tmp_path, None, create=False):
            pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "version-2").mkdir()
    with pytest.raises(DiskError, match=rf"{tmp_path}/log/version-2 is missing"):
        with open_directories(tmp_path, tmp_path / "log", create=False):
            pass
    with open_directories(tmp_path, None, create=False) as (snapshots, _):
        assert snapshots.path == tmp_path / "version-2"


@pytest.mark.parametrize("beside", ["data", "log"])
def test_servers_5_the_file_initialize_counts_once(tmp_path, beside):
    for name in ("data", "log"):
        (tmp_path / name).mkdir()
    (tmp_path / beside / "initialize").touch()
    assert take_initialize(tmp_path / "data", tmp_path / "log")
    assert not take_initialize(tmp_path / "data", tmp_path / "log")
    assert not take_initialize(tmp_path / "none", None)


def test_servers_2_a_compressed_snapshot_in_the_directory_of_the_log_is_seen(tmp_path):
    (tmp_path / "log" / "version-2").mkdir(parents=True)
    (tmp_path / "log" / "version-2" / "snapshot.5.gz").touch()
    with pytest.raises(DiskError, match=r"snapshot\.5\.gz in .* would not be read"):
        with open_directories(tmp_path, tmp_path / "log"):
            pass
