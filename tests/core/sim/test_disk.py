"""The simulated disk loses what a real one may lose, and nothing else."""

from errno import EIO, ENOSPC
from random import Random

import pytest

from recipes.core.sim.disk import PowerCut, SimDisk


def restarted(disk: SimDisk) -> SimDisk:
    disk.cut_power()
    with pytest.raises(PowerCut):
        disk.names()
    disk.restart()
    return disk


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_stays(seed: int):
    disk = SimDisk(Random(seed))
    file = disk.create("a")
    file.write(0, b"safe")
    file.sync()
    disk.sync()
    assert restarted(disk).read("a") == b"safe"


def test_what_was_not_synced_is_kept_lost_or_torn():
    found = set()
    for seed in range(200):
        disk = SimDisk(Random(seed))
        file = disk.create("a")
        file.write(0, b"old.")
        file.sync()
        disk.sync()
        file.write(4, b"new!")
        found.add(restarted(disk).read("a"))
    assert {b"old.", b"old.new!", b"old.ne", b"old.\0\0\0\0"} <= found
    assert all(data.startswith(b"old.") for data in found)


def test_sectors_survive_each_for_itself():
    found = set()
    for seed in range(200):
        disk = SimDisk(Random(seed))
        file = disk.create("a")
        disk.sync()
        file.write(0, b"x" * 1024)
        data = restarted(disk).read("a")
        found.add((data[:512], data[512:]))
    assert (bytes(512), b"x" * 512) in found
    assert (b"x" * 512, bytes(512)) in found


def test_a_name_may_vanish_until_the_directory_is_synced():
    found = set()
    for seed in range(50):
        disk = SimDisk(Random(seed))
        file = disk.create("a")
        file.write(0, b"data")
        file.sync()
        disk.rename("a", "b")
        found.add(tuple(restarted(disk).names()))
    assert found == {(), ("a",), ("b",)}


def test_a_sync_that_failed_cannot_be_made_good():
    disk = SimDisk(Random(1))
    file = disk.create("a")
    disk.sync()
    file.write(0, b"data")
    disk.fail_syncs = True
    with pytest.raises(OSError) as failed:
        file.sync()
    assert failed.value.errno == EIO
    assert disk.read("a") == b"data"
    disk.fail_syncs = False
    assert restarted(disk).read("a") == b""


def test_a_full_disk_takes_a_part():
    disk = SimDisk(Random(1), space_bytes=6)
    file = disk.create("a")
    file.write(0, b"1234")
    with pytest.raises(OSError) as full:
        file.write(4, b"5678")
    assert full.value.errno == ENOSPC
    assert disk.read("a") == b"123456"
    file.write(0, b"abcd")  # in place: needs no room
    assert disk.read("a") == b"abcd56"


def test_the_power_fails_at_the_effect_asked_for():
    disk = SimDisk(Random(1), cut_before=2)
    file = disk.create("a")
    with pytest.raises(PowerCut):
        file.write(0, b"data")
    with pytest.raises(PowerCut):
        disk.read("a")


def test_the_same_seed_loses_the_same():
    def run(seed: int) -> list[bytes]:
        disk = SimDisk(Random(seed))
        for name in ("a", "b", "c"):
            disk.create(name).write(0, bytes(range(256)) * 8)
        restarted(disk)
        return [disk.read(name) for name in disk.names()]

    assert run(7) == run(7)
    assert len({tuple(run(seed)) for seed in range(20)}) > 5


def test_rot_is_durable():
    disk = SimDisk(Random(1))
    file = disk.create("a")
    file.write(0, b"data")
    file.sync()
    disk.sync()
    disk.flip("a", 1, 0xFF)
    assert restarted(disk).read("a") == b"d\x9eta"
