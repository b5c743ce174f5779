"""The epoch files: what is read, what is made good, what is refused."""

from collections.abc import Callable
from random import Random

import pytest

from recipes.core.disk.disk import Disk
from recipes.core.disk.recovery import _settled
from recipes.core.disk.store import Store
from recipes.core.errors import DiskError
from recipes.core.sim.disk import PowerCut, SimDisk
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH
from recipes.core.zab.protocol import ZAB
from tests.core.disk.directory import read_epoch, write_epoch

Put = Callable[[Disk, str, bytes], None]


def settle(disk: Disk, last_zxid: int) -> None:
    """As recovery does it, with a log that ends at `last_zxid`."""
    _settled(disk, ZAB, last_zxid)


def test_an_epoch_is_a_bare_decimal_number(disk: Disk):
    assert read_epoch(disk, CURRENT_EPOCH) is None
    write_epoch(disk, CURRENT_EPOCH, 12)
    assert disk.read(CURRENT_EPOCH) == b"12"
    assert read_epoch(disk, CURRENT_EPOCH) == 12


@pytest.mark.parametrize("content", [b"7", b"7\n", b"7\r\nmore"])
def test_only_the_first_line_is_read(content: bytes, put: Put):
    put(disk := SimDisk(Random(1)), ACCEPTED_EPOCH, content)
    assert read_epoch(disk, ACCEPTED_EPOCH) == 7


@pytest.mark.parametrize("content", [b"", b"-2", b"x", b"\0\0", b"1 2"])
def test_what_is_no_number_is_refused(content: bytes, put: Put):
    put(disk := SimDisk(Random(1)), ACCEPTED_EPOCH, content)
    with pytest.raises(DiskError, match="acceptedEpoch"):
        read_epoch(disk, ACCEPTED_EPOCH)


def test_without_data_such_a_member_begins_empty(put: Put):
    disk = SimDisk(Random(1))
    for name in (ACCEPTED_EPOCH, CURRENT_EPOCH):
        put(disk, name, b"-1")
    found = Store(disk, disk, 0, protocol=ZAB).recover(DataTree())
    assert (found.unsure, found.last_zxid) == ("", 0)


def test_an_apache_member_that_was_never_initialised_has_no_epochs(put: Put):
    disk = SimDisk(Random(1))
    for name in (ACCEPTED_EPOCH, CURRENT_EPOCH):
        put(disk, name, b"-1")
    settle(disk, 0x2_00000001)
    assert (read_epoch(disk, ACCEPTED_EPOCH), read_epoch(disk, CURRENT_EPOCH)) == (2, 2)


@pytest.mark.parametrize(
    ("accepted", "current", "unfinished", "last_zxid", "expected"),
    [
        (None, None, None, 0, (0, 0)),
        (None, None, None, 0x3_00000007, (3, 3)),
        (4, None, None, 0x3_00000007, (4, 3)),
        (5, 4, None, 0x2_00000001, (5, 4)),
        (5, 2, None, 0x4_00000001, (5, 4)),  # logged, and the epoch not stored yet
        (5, 2, b"5", 0x4_00000001, (5, 5)),  # ZOOKEEPER-1653: the rename was lost
        (5, 2, b"\0", 0x4_00000001, (5, 4)),
        (5, 2, b"3", 0x4_00000001, (5, 4)),
        (5, 4, b"5", 0x4_00000001, (5, 4)),  # not yet decided
        (5, 4, None, -1, (5, 4)),
        (None, None, None, -1, (0, 0)),
    ],
)
def test_epochs_are_settled_against_the_log(accepted, current, unfinished, last_zxid, expected, put: Put):
    disk = SimDisk(Random(1))
    if accepted is not None:
        write_epoch(disk, ACCEPTED_EPOCH, accepted)
    if current is not None:
        write_epoch(disk, CURRENT_EPOCH, current)
    if unfinished is not None:
        put(disk, CURRENT_EPOCH + ".tmp", unfinished)
    settle(disk, last_zxid)
    assert (read_epoch(disk, ACCEPTED_EPOCH), read_epoch(disk, CURRENT_EPOCH)) == expected


@pytest.mark.parametrize(
    ("accepted", "current", "last_zxid"), [(3, 4, 0), (3, 2, 0x4_00000001), (None, 5, 0x4_00000001)]
)
def test_an_accepted_epoch_before_the_current_one_is_refused(accepted, current, last_zxid):
    disk = SimDisk(Random(1))
    if accepted is not None:
        write_epoch(disk, ACCEPTED_EPOCH, accepted)
    write_epoch(disk, CURRENT_EPOCH, current)
    with pytest.raises(DiskError, match="acceptedEpoch"):
        settle(disk, last_zxid)


@pytest.mark.parametrize("seed", range(20))
def test_power_cut_at_every_effect_leaves_the_old_epoch_or_the_new_one(seed: int):
    seen = set()
    for cut_before in range(1, 6):
        disk = SimDisk(Random(seed * 100 + cut_before))
        write_epoch(disk, CURRENT_EPOCH, 9)
        disk.cut_before = disk.effects + cut_before
        try:
            write_epoch(disk, CURRENT_EPOCH, 10)
            done = True
        except PowerCut:
            done = False
        disk.cut_power()
        disk.restart()
        found = read_epoch(disk, CURRENT_EPOCH)
        assert found == 10 if done else found in (9, 10)
        seen.add(found)
    assert 9 in seen
