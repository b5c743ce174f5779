"""A member's data directory: epochs, truncation, a leader's snapshot, history."""

from collections.abc import Iterator
from random import Random

import pytest

from recipes.core.disk import log_tail
from recipes.core.disk.recovery import Trust, purge, save_snapshot
from recipes.core.disk.snapshot import seal_body, shown_zxid, snapshot_name, write_snapshot
from recipes.core.disk.store import Store
from recipes.core.disk.txnlog import HEADER, encode_records
from recipes.core.errors import DiskError
from recipes.core.replication import InstallSnapshot, Truncate
from recipes.core.sim.disk import SimDisk
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell
from recipes.core.zab.protocol import ZAB
from tests.core.disk.directory import E1, E2, E3, Directory, MakeEntry, Put, epochs_of, fuzzy, leaders_body, names, run


def test_a_new_member_starts_empty_with_epoch_zero(entry: MakeEntry):
    found = Directory(entry).found
    assert (found.last_zxid, found.history, found.base_zxid) == (0, [], 0)
    assert (*epochs_of(found), found.unsure) == (0, 0, "")


def test_a_member_comes_back_with_its_epochs_and_history(one: Directory):
    one.carry_out(epoch_cell(ACCEPTED_EPOCH, 6))
    found = one.crash()
    assert one.state == (E1 + 9, names(*run(E1 + 1, E1 + 9)), "")
    assert epochs_of(found) == (6, 1)
    assert [item.zxid for item in found.history] == list(run(E1 + 1, E1 + 9))
    assert found.history[0].payload == one.entry(E1 + 1).payload
    assert found.base_zxid == E1


def test_what_a_killed_process_wrote_is_made_durable_before_it_counts(one: Directory):
    one.store.append([one.entry(E1 + 10)])
    assert one.start().last_zxid == E1 + 10  # the process was killed, the power stayed on
    assert one.crash().last_zxid == E1 + 10


# Truncation.


@pytest.mark.parametrize("zxid", run(E1 + 1, E1 + 9))
def test_truncate_leaves_what_was_logged_up_to_there(one: Directory, zxid: int):
    one.carry_out(Truncate(zxid))
    expected = (zxid, names(*run(E1 + 1, zxid)), "")
    assert one.state == expected
    found = one.crash()
    assert one.state == expected
    assert [item.zxid for item in found.history] == list(run(E1 + 1, zxid))
    one.log(E2 + 1)
    one.crash()
    assert one.state == (E2 + 1, names(*run(E1 + 1, zxid), E2 + 1), "")


def test_truncate_to_the_zxid_of_a_snapshot_alone(one: Directory):
    one.carry_out(InstallSnapshot(E2, leaders_body(E1 + 1)))
    one.log(E2 + 1, E2 + 2)
    one.carry_out(Truncate(E2))
    assert one.crash().last_zxid == E2
    assert one.state[1] == names(E1 + 1)
    assert one.found.history == []
    assert one.found.base_zxid == E2


@pytest.mark.parametrize("zxid", [E1 + 10, E1, E2 + 1])
def test_what_cannot_be_truncated_to_is_given_up_for_good(one: Directory, zxid: int):
    one.carry_out(Truncate(zxid))
    assert one.tree.last_zxid == -1
    for _ in range(2):
        found = one.crash()
        assert (found.last_zxid, found.history) == (-1, [])
        assert found.unsure
        assert epochs_of(found) == (5, 1)
    one.carry_out(InstallSnapshot(E2, leaders_body(E1 + 1)))
    assert one.crash().unsure == ""
    assert one.state[:2] == (E2, names(E1 + 1))


def test_a_snapshot_of_what_is_taken_back_goes(one: Directory):
    # Scenario 12, ZOOKEEPER-1549: restarted alone, it took a snapshot of its uncommitted tail.
    one.snapshot()
    assert snapshot_name(E1 + 9) in one.snapshots.names()
    one.carry_out(Truncate(E1 + 5))
    assert one.state == (E1 + 5, names(*run(E1 + 1, E1 + 5)), "")
    assert snapshot_name(E1 + 9) not in one.snapshots.names()
    one.crash()
    assert one.state == (E1 + 5, names(*run(E1 + 1, E1 + 5)), "")


def test_a_fuzzy_snapshot_that_shows_what_is_taken_back_goes(one: Directory):
    fuzzy(one, E1 + 10, E1 + 11)
    one.carry_out(Truncate(E1 + 10))
    assert snapshot_name(E1 + 9) not in one.snapshots.names()
    assert snapshot_name(E1 + 4) in one.snapshots.names()
    assert one.state == (E1 + 10, names(*run(E1 + 1, E1 + 10)), "")
    one.crash()
    assert one.state == (E1 + 10, names(*run(E1 + 1, E1 + 10)), "")


def test_a_fuzzy_snapshot_that_shows_no_more_stays(one: Directory):
    fuzzy(one, E1 + 10, E1 + 11)
    one.log(E1 + 12)
    one.carry_out(Truncate(E1 + 11))
    assert snapshot_name(E1 + 9) in one.snapshots.names()
    assert one.crash().snapshot_zxid == E1 + 9


def test_without_a_clean_snapshot_the_history_is_given_up(one: Directory):
    one.snapshot()
    assert purge(one.snapshots, one.logs, 1)
    one.carry_out(Truncate(E1 + 5))
    assert one.tree.last_zxid == -1
    assert one.crash().unsure


def test_a_longer_uncommitted_log_is_gone_after_another_restart(one: Directory):
    # Scenario 11: 1:6 to 1:9 were never acknowledged by others.
    one.snapshot()
    one.carry_out(Truncate(E1 + 5))
    one.log(E2 + 1)
    for _ in range(3):
        one.crash()
        assert one.state == (E2 + 1, names(*run(E1 + 1, E1 + 5), E2 + 1), "")


# A leader's snapshot.


def test_a_leaders_snapshot_replaces_everything(one: Directory):
    # Scenario 2(b): the log still holds what a later epoch took back.
    one.carry_out(InstallSnapshot(E2 + 3, leaders_body(E1 + 1, E2 + 1)))
    expected = (E2 + 3, names(E1 + 1, E2 + 1), "")
    assert one.state == expected
    one.crash()
    assert one.state == expected
    one.log(E2 + 4)
    found = one.crash()
    assert one.state == (E2 + 4, names(E1 + 1, E2 + 1, E2 + 4), "")
    assert [item.zxid for item in found.history] == [E2 + 4]
    assert found.base_zxid == E2 + 3


def test_a_leaders_snapshot_may_be_older_than_what_it_replaces(one: Directory):
    one.snapshot()
    one.carry_out(InstallSnapshot(E1 + 2, leaders_body(E1 + 1, E1 + 2)))
    one.crash()
    assert one.state == (E1 + 2, names(E1 + 1, E1 + 2), "")
    one.carry_out(InstallSnapshot(E1 + 2, leaders_body(E1 + 1)))
    one.crash()
    assert one.state == (E1 + 2, names(E1 + 1), "")


def test_a_superseded_log_is_never_replayed(one: Directory):
    # Scenario 25: after 2(b), the newest snapshot rots.
    one.carry_out(InstallSnapshot(E2, leaders_body(E1 + 1)))
    one.log(E2 + 1)
    one.snapshots.flip(snapshot_name(E2), 40)
    found = one.crash()
    assert found.unsure
    assert one.tree.last_zxid == -1
    assert one.state[1] == names()


@pytest.mark.parametrize("behind", [[], [E2 + 4], [E2 + 4, E2 + 5]])
def test_an_older_snapshot_does_not_stand_in_where_the_log_was_superseded(one: Directory, behind: list[int], put: Put):
    # As Apache's server leaves the directory after a SNAP: the old log stays beside it.
    put(one.snapshots, snapshot_name(E2 + 3), seal_body(leaders_body(E1 + 1)))
    if behind:
        put(one.logs, f"log.{behind[0]:x}", HEADER + encode_records([one.entry(zxid) for zxid in behind]))
    assert one.crash().unsure == ""
    assert one.state == (behind[-1] if behind else E2 + 3, names(E1 + 1, *behind), "")
    assert [item.zxid for item in one.found.history] == behind
    one.snapshots.flip(snapshot_name(E2 + 3), 40)
    assert one.crash().unsure


def test_nor_where_the_snapshot_is_named_after_the_epoch(one: Directory, put: Put):
    put(one.snapshots, snapshot_name(E2), seal_body(leaders_body(E1 + 1)))
    put(one.logs, f"log.{E2 + 1:x}", HEADER + encode_records([one.entry(E2 + 1)]))
    assert one.crash().unsure == ""
    assert ([item.zxid for item in one.found.history], one.found.base_zxid) == ([E2 + 1], E2)
    one.snapshots.flip(snapshot_name(E2), 40)
    assert "cannot be used" in one.crash().unsure


def test_a_snapshot_that_cannot_be_read_changes_nothing(one: Directory):
    body = leaders_body(E2 + 1)
    before = [(disk.names(), disk.effects) for disk in one.disks]
    one.store.roll()
    with pytest.raises(DiskError):
        one.carry_out(InstallSnapshot(E2, body[:40] + body[-5:]))
    assert [disk.names() for disk in one.disks] == [listed for listed, _ in before]
    one.crash()
    assert one.state == (E1 + 9, names(*run(E1 + 1, E1 + 9)), "")


def test_a_snapshot_that_came_over_the_network_does_not_tell_what_it_shows():
    data = seal_body(leaders_body(E1 + 1))
    assert shown_zxid(data) == 0
    tree = DataTree()
    tree.last_zxid = E1 + 5
    whole = b"".join(write_snapshot(tree))
    assert shown_zxid(whole) == E1 + 5
    assert shown_zxid(whole[:-1]) is None
    assert shown_zxid(whole[:-33]) is None  # without its digest section
    assert shown_zxid(whole[:30] + b"x" + whole[31:]) is None
    assert shown_zxid(b"") is None


def test_the_snapshot_of_zookeeper_tells_what_it_shows(apache_snapshot: bytes):
    assert shown_zxid(apache_snapshot) == E1 + 6


def test_what_a_snapshot_replaced_is_kept_until_the_next(one: Directory):
    one.carry_out(InstallSnapshot(E2, leaders_body(E1 + 1)))
    kept = [name for disk in one.disks for name in disk.names() if name.startswith("superseded-")]
    assert f"superseded-{snapshot_name(E1 + 4)}" in kept
    assert f"superseded-log.{E1 + 8:x}" in kept
    one.carry_out(InstallSnapshot(E3, leaders_body(E1 + 1)))
    kept = [name for disk in one.disks for name in disk.names() if name.startswith("superseded-")]
    assert kept == [f"superseded-{snapshot_name(E2)}"]
    assert purge(one.snapshots, one.logs, 3) == kept


# History.


@pytest.fixture
def long(entry: MakeEntry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """Epochs 1 to 3 in files and snapshots of all sizes."""
    monkeypatch.setattr(log_tail, "HISTORY_ENTRIES", 10)
    directory = Directory(entry)
    directory.carry_out(epoch_cell(ACCEPTED_EPOCH, 5))
    directory.log(*run(E1 + 1, E1 + 3))
    directory.store.roll()
    directory.log(*run(E1 + 4, E1 + 6))
    directory.log(*run(E2 + 1, E2 + 2))
    directory.snapshot()
    directory.log(*run(E3 + 1, E3 + 3))
    yield directory


def test_history_goes_back_over_files_epochs_and_snapshots(long: Directory):
    found = long.crash()
    assert [item.zxid for item in found.history] == [
        *run(E1 + 2, E1 + 6), *run(E2 + 1, E2 + 2), *run(E3 + 1, E3 + 3),
    ]  # fmt: skip
    assert found.base_zxid == E1 + 1
    long.log(*run(E3 + 4, E3 + 20))
    found = long.crash()
    assert [item.zxid for item in found.history] == list(run(E3 + 11, E3 + 20))
    assert found.base_zxid == E3 + 10


def test_history_ends_where_the_log_is_purged(long: Directory):
    long.logs.remove(f"log.{E1 + 1:x}")
    long.logs.sync()
    found = long.crash()
    assert found.history[0].zxid == E1 + 4
    assert found.base_zxid == E1 + 3


def test_history_ends_at_a_hole(long: Directory, put: Put):
    put(
        long.logs,
        f"log.{E1 + 4:x}",
        HEADER + encode_records([long.entry(E1 + 4), long.entry(E1 + 6), *map(long.entry, run(E2 + 1, E2 + 2))]),
    )
    found = long.crash()
    assert found.history[0].zxid == E1 + 6
    assert found.base_zxid == E1 + 5


def test_history_behind_a_fresh_snapshot_is_read_from_the_logs(long: Directory):
    long.snapshot()
    found = long.crash()
    assert found.txns == 0
    assert [item.zxid for item in found.history][-3:] == list(run(E3 + 1, E3 + 3))
    assert len(found.history) == 10


def test_the_data_of_zookeeper_becomes_a_member(apache_log: bytes, put: Put):
    disk = SimDisk(Random(1))
    save_snapshot(disk, E1, write_snapshot(DataTree()))
    put(disk, "log.100000001", apache_log + bytes(1 << 20))
    put(disk, ACCEPTED_EPOCH, b"7")
    put(disk, CURRENT_EPOCH, b"6")
    tree = DataTree()
    found = Store(disk, disk, 0, protocol=ZAB).recover(tree)
    assert (found.last_zxid, *epochs_of(found), found.unsure) == (E1 + 11, 7, 6, "")
    assert [item.zxid for item in found.history] == list(run(E1 + 1, E1 + 11))
    assert found.base_zxid == E1
    assert tree.digest == 0x2270F55E5


# What may be missing.


@pytest.mark.parametrize("protocol", [ZAB, None])
@pytest.mark.parametrize("trusted", [True, False])
def test_servers_13_a_log_without_a_snapshot_is_the_tree_if_asked_for(entry: MakeEntry, put: Put, protocol, trusted):
    logs = SimDisk(Random(1))
    put(logs, "log.1", HEADER + encode_records([entry(zxid) for zxid in (1, 2, 3)]))
    tree = DataTree()
    store = Store(logs, logs, 4096, protocol, Trust(missing_snapshot=trusted))
    if trusted:
        found = store.recover(tree)
        assert (found.last_zxid, found.txns, found.unsure) == (3, 3, "")
        assert Store(logs, logs, 4096, protocol).recover(DataTree()).last_zxid == 3  # asked for once
    elif protocol is not None:
        assert "snapshot.trust.empty=true" in store.recover(tree).unsure
    else:
        with pytest.raises(DiskError, match=r"snapshot\.trust\.empty=true"):
            store.recover(tree)


def test_servers_13_the_beginning_of_the_log_must_be_there_all_the_same(entry: MakeEntry, put: Put):
    logs = SimDisk(Random(1))
    put(logs, "log.2", HEADER + encode_records([entry(zxid) for zxid in (2, 3)]))
    with pytest.raises(DiskError, match="txns between 0x0 and 0x2 are missing"):
        Store(logs, logs, 4096, trust=Trust(missing_snapshot=True)).recover(DataTree())


def test_servers_5_a_member_without_data_has_no_vote_where_none_may_be_made(one: Directory, entry: MakeEntry):
    wary = Trust(empty_database=False)
    fresh = SimDisk(Random(1))
    tree = DataTree()
    found = Store(fresh, fresh, 4096, ZAB, wary).recover(tree)
    assert "db.autocreate=false" in found.unsure
    assert [name for name in fresh.names() if name.startswith("snapshot")] == []
    assert "db.autocreate=false" in Store(fresh, fresh, 4096, ZAB, wary).recover(DataTree()).unsure  # nor later
    member = Store(fresh, fresh, 4096, ZAB, wary)
    member.recover(DataTree())
    member.carry_out(epoch_cell(ACCEPTED_EPOCH, 2))
    member.carry_out(InstallSnapshot(E2, leaders_body(E1 + 1)))
    assert Store(fresh, fresh, 4096, ZAB, wary).recover(DataTree()).unsure == ""
    assert Store(one.snapshots, one.logs, 4096, ZAB, wary).recover(DataTree()).unsure == ""
    alone = SimDisk(Random(1))
    assert Store(alone, alone, 4096, None, wary).recover(DataTree()).last_zxid == 0  # as Apache's


def test_where_logged_entries_may_be_taken_back_the_tree_has_the_snapshot_alone(one: Directory):
    one.snapshot()
    one.log(*run(E1 + 10, E1 + 12))
    protocol = ZAB._replace(logged_counts=False)
    store = Store(one.snapshots, one.logs, 4096, protocol=protocol)
    found = store.recover(tree := DataTree())
    assert (tree.last_zxid, found.applied_zxid, found.base_zxid, found.last_zxid) == (*3 * [E1 + 9], E1 + 12)
    assert [item.zxid for item in found.history] == list(run(E1 + 10, E1 + 12))
    assert store.carry_out(Truncate(E1 + 11)) is None, "no new tree: the old one had nothing of it"
    found = Store(one.snapshots, one.logs, 4096, protocol=protocol).recover(DataTree())
    assert [item.zxid for item in found.history] == [E1 + 10, E1 + 11]
