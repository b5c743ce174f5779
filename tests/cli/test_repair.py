"""`recipes repair`."""

from pathlib import Path

import pytest

from recipes.core.disk.disk import RealDisk
from recipes.core.disk.recovery import recover, save_snapshot
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.disk.txnlog import HEADER, encode_records
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import encode_txn
from recipes.core.replication import Entry
from recipes.core.tree.tree import DataTree

OPEN = ((31, b"world", b"anyone"),)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory whose log is rotten at its second txn of three."""
    disk = RealDisk(tmp_path / "data" / "version-2")
    save_snapshot(disk, 0, write_snapshot(DataTree()))
    records = [
        encode_records([Entry(zxid, encode_txn(1, zxid, zxid, 1, op.CREATE, (b"/n%d" % zxid, b"", OPEN, False, zxid)))])
        for zxid in (1, 2, 3)
    ]
    records[1] = records[1][:20] + b"?" + records[1][21:]
    file = disk.create("log.1")
    file.write(0, HEADER + b"".join(records))
    file.close()
    disk.close()
    return tmp_path / "data"


def test_what_would_be_lost_is_told_and_nothing_is_changed(run, data_dir):
    before = sorted(path.name for path in (data_dir / "version-2").iterdir())
    done = run("repair", str(data_dir))
    assert done.returncode == 1
    assert "log.1: checksum does not match at offset" in done.stdout
    assert "after zxid 0x1" in done.stdout
    assert "1 txn after it, zxid 0x3" in done.stdout
    assert "--truncate" in done.stdout
    assert sorted(path.name for path in (data_dir / "version-2").iterdir()) == before


def test_truncate_cuts_and_the_server_starts(run, data_dir):
    refused = run("serve", "--data-dir", str(data_dir))
    assert refused.returncode == 1
    assert "recipes repair" in refused.stderr
    done = run("repair", str(data_dir), "--truncate")
    assert done.returncode == 0, done.stderr
    assert "kept as damaged-log.1" in done.stdout
    assert "ends with zxid 0x1" in done.stdout
    disk = RealDisk(data_dir / "version-2")
    assert recover(disk, disk, DataTree()).last_zxid == 1
    disk.close()
    healthy = run("repair", str(data_dir))
    assert (healthy.returncode, healthy.stdout) == (0, "no damage found\n")


def test_the_directory_of_the_files_is_not_the_data_directory(run, data_dir):
    done = run("repair", str(data_dir / "version-2"))
    assert done.returncode == 1
    assert "give the dataDir, the directory above" in done.stderr


def test_a_directory_in_use_or_missing_is_left_alone(run, data_dir, tmp_path):
    disk = RealDisk(data_dir / "version-2")
    done = run("repair", str(data_dir), "--truncate")
    disk.close()
    assert done.returncode == 1
    assert "locked by another server" in done.stderr
    done = run("repair", str(tmp_path / "missing"))
    assert done.returncode == 1
    assert "no such directory" in done.stderr
    assert not (tmp_path / "missing").exists()


def test_logs_beside_the_snapshots_are_not_passed_over(run, data_dir, tmp_path):
    (tmp_path / "logs" / "version-2").mkdir(parents=True)
    done = run("repair", str(data_dir), "--log-dir", str(tmp_path / "logs"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "log.1 in " in done.stderr
    assert "move the log.* files to " in done.stderr
