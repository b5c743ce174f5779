"""A member's data directory: truncation, a leader's snapshot, history; and power cuts at every effect of each."""

from collections.abc import Callable, Iterator
from errno import ENOSPC
from random import Random

import pytest

from recipes.core.disk import log_tail
from recipes.core.disk.disk import Disk
from recipes.core.disk.epochs import ACCEPTED, CURRENT, write_epoch
from recipes.core.disk.recovery import TEMPORARY, Recovered, purge, save_snapshot
from recipes.core.disk.replace import REJOIN
from recipes.core.disk.snapshot import HEADER as SNAPSHOT_HEADER
from recipes.core.disk.snapshot import seal_body, shown_zxid, snapshot_name, write_snapshot
from recipes.core.disk.store import Store
from recipes.core.disk.txnlog import HEADER, encode_records
from recipes.core.errors import DiskError
from recipes.core.jute.txns import decode_txn, encode_digest
from recipes.core.replication import Entry, EpochWrite, InstallSnapshot, Operation, Truncate
from recipes.core.sim.disk import PowerCut, SimDisk
from recipes.core.tree.tree import DataTree

MakeEntry = Callable[..., Entry]
Put = Callable[[Disk, str, bytes], None]
E1, E2, E3 = 1 << 32, 2 << 32, 3 << 32


class Directory:
    """Two disks and the store on them, as a server has them from one start to the next."""

    def __init__(self, entry: MakeEntry, seed: int = 1, in_order: bool = True, apart: bool = True):
        self.entry = entry
        self.snapshots = SimDisk(Random(seed), in_order=in_order)
        self.logs = SimDisk(Random(seed + 1), in_order=in_order) if apart else self.snapshots
        self.start()

    @property
    def disks(self) -> list[SimDisk]:
        return [self.snapshots] if self.logs is self.snapshots else [self.snapshots, self.logs]

    def start(self) -> Recovered:
        self.store = Store(self.snapshots, self.logs, 4096, member=True)
        self.tree = DataTree()
        self.found = self.store.recover(self.tree)
        return self.found

    def log(self, *zxids: int) -> None:
        entries = [self.entry(zxid) for zxid in zxids]
        self.store.append(entries)
        self.store.sync()
        for item in entries:
            self.tree.apply(decode_txn(item.payload)[0])

    def snapshot(self) -> None:
        self.store.roll()
        save_snapshot(self.snapshots, self.tree.last_zxid, write_snapshot(self.tree))

    def carry_out(self, operation: Operation) -> None:
        tree = self.store.carry_out(operation)
        if tree is not None:
            self.tree = tree

    def crash(self) -> Recovered:
        for disk in self.disks:
            disk.cut_power()
        for disk in self.disks:
            disk.restart()
        return self.start()

    @property
    def state(self) -> tuple[int, frozenset[bytes], str]:
        nodes = frozenset(path for path in self.tree.nodes if path.startswith(b"/n"))
        return self.tree.last_zxid, nodes, self.found.unsure


def run(first: int, last: int) -> range:
    return range(first, last + 1)


def names(*zxids: int) -> frozenset[bytes]:
    return frozenset(b"/n%d" % zxid for zxid in zxids)


def leaders_body(*zxids: int) -> bytes:
    """The body of a SNAP by a leader that has these txns."""
    tree = DataTree()
    for zxid in zxids:
        tree.apply((1, 1, zxid, 1, 1, (b"/n%d" % zxid, b"", ((31, b"world", b"anyone"),), False, 1)))
    data = b"".join(write_snapshot(tree))
    return data[len(SNAPSHOT_HEADER) : len(data) - 13 - 20 - 13]


@pytest.fixture
def one(entry: MakeEntry) -> Directory:
    """Snapshots at 0 and 1:4, a log up to 1:9, epochs 5 and 1."""
    directory = Directory(entry)
    build(directory)
    return directory


def build(directory: Directory) -> None:
    directory.carry_out(EpochWrite(ACCEPTED, 5))
    directory.carry_out(EpochWrite(CURRENT, 1))
    directory.log(*run(E1 + 1, E1 + 4))
    directory.snapshot()
    directory.log(*run(E1 + 5, E1 + 7))
    directory.store.reserve()
    directory.store.roll()
    directory.log(*run(E1 + 8, E1 + 9))


def test_a_new_member_starts_empty_with_epoch_zero(entry: MakeEntry):
    found = Directory(entry).found
    assert (found.last_zxid, found.history, found.base_zxid) == (0, [], 0)
    assert (found.accepted_epoch, found.current_epoch, found.unsure) == (0, 0, "")


def test_a_member_comes_back_with_its_epochs_and_history(one: Directory):
    one.carry_out(EpochWrite(ACCEPTED, 6))
    found = one.crash()
    assert one.state == (E1 + 9, names(*run(E1 + 1, E1 + 9)), "")
    assert (found.accepted_epoch, found.current_epoch) == (6, 1)
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
        assert (found.accepted_epoch, found.current_epoch) == (5, 1)
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


def fuzzy(directory: Directory, *later: int) -> None:
    """A snapshot named after the last txn that shows later ones too, which are logged."""
    chunks = write_snapshot(directory.tree)
    zxid = directory.tree.last_zxid
    head = next(chunks)
    directory.log(*later)
    save_snapshot(directory.snapshots, zxid, [head, *chunks])


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


# What a crash leaves.


OPERATIONS = {
    "accepted": EpochWrite(ACCEPTED, 16),
    "current": EpochWrite(CURRENT, 2),
    "truncate in the last file": Truncate(E1 + 8),
    "truncate files": Truncate(E1 + 6),
    "truncate to a snapshot": Truncate(E1 + 4),
    "truncate behind a snapshot": Truncate(E1 + 2),
    "give up": Truncate(E1 + 20),
    "install later": InstallSnapshot(E2 + 3, leaders_body(E1 + 1, E2 + 1)),
    "install same": InstallSnapshot(E1 + 4, leaders_body(E1 + 1, E1 + 2)),
    "install earlier": InstallSnapshot(E1 + 1, leaders_body(E1 + 1)),
}


def whole_state(directory: Directory) -> tuple[object, ...]:
    found = directory.found
    history = [item.zxid for item in found.history]
    return directory.state, history, found.base_zxid, found.accepted_epoch, found.current_epoch


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("name", OPERATIONS)
def test_power_cut_at_every_effect_leaves_the_old_state_or_the_new_one(name: str, apart: bool, entry: MakeEntry):
    operation = OPERATIONS[name]

    def prepared(seed: int, in_order: bool = True) -> Directory:
        directory = Directory(entry, seed, in_order=in_order, apart=apart)
        build(directory)
        fuzzy(directory, E1 + 10)
        return directory

    directory = prepared(0)
    directory.crash()
    old = whole_state(directory)
    effects = [disk.effects for disk in directory.disks]
    directory.carry_out(operation)
    spent = [disk.effects - before for disk, before in zip(directory.disks, effects, strict=True)]
    directory.crash()
    new = whole_state(directory)
    assert old != new
    seen = set()
    for which, count in enumerate(spent):
        for cut_before in range(1, count + 1):
            for seed in range(4):
                directory = prepared(1000 * seed + cut_before, in_order=seed % 2 == 0)
                directory.crash()
                disk = directory.disks[which]
                disk.cut_before = disk.effects + cut_before
                with pytest.raises(PowerCut):
                    directory.carry_out(operation)
                # The next start may be cut short as well.
                for step in range(seed):
                    for each in directory.disks:
                        each.cut_power()
                        each.restart()
                    again = directory.disks[(which + step) % len(directory.disks)]
                    again.cut_before = again.effects + 1 + (cut_before + step) % 5
                    try:
                        directory.start()
                    except PowerCut:
                        continue
                    again.cut_before = None
                directory.crash()
                state = whole_state(directory)
                assert state in (old, new), (cut_before, seed)
                seen.add(state == new)
                directory.crash()
                assert whole_state(directory) == state
                # Life goes on behind it.
                if not directory.found.unsure:
                    zxid = E3 + 1
                    directory.log(zxid)
                    assert directory.crash().last_zxid == zxid
                    assert directory.state[1] == state[0][1] | names(zxid)
    assert False in seen
    assert True in seen


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_full_disk_changes_nothing_or_everything(name: str, entry: MakeEntry):
    states = set()
    for spare in (*range(3), 50, 200, 300, 1 << 20):
        directory = Directory(entry)
        build(directory)
        directory.crash()
        old = whole_state(directory)
        directory.snapshots.space_bytes = (1 << 62) - directory.snapshots.free_bytes() + spare
        if directory.snapshots.space_bytes > 1 << 40:
            used = sum(len(directory.snapshots.read(listed)) for listed in directory.snapshots.names())
            directory.snapshots.space_bytes = used + spare
        try:
            directory.carry_out(OPERATIONS[name])
        except OSError as error:
            assert error.errno == ENOSPC
            directory.crash()
            assert whole_state(directory) == old
            states.add("old")
        else:
            directory.crash()
            states.add("new")
    assert "new" in states


@pytest.mark.parametrize("seed", range(30))
def test_a_torn_tail_is_cut_before_life_goes_on(seed: int, entry: MakeEntry):
    directory = Directory(entry, seed)
    build(directory)
    for epoch in (2, 3, 4, 5):
        last = directory.tree.last_zxid
        synced = directory.state[1]
        directory.store.append([entry(last + 1), entry(last + 2)])  # never synced
        found = directory.crash()
        assert found.unsure == ""
        assert synced <= directory.state[1] <= synced | names(last + 1, last + 2)
        directory.log((epoch << 32) + 1)
        before = directory.state[1]
        directory.crash()
        assert directory.state == ((epoch << 32) + 1, before, "")


def test_what_rots_behind_is_no_torn_tail(one: Directory):
    end = len(one.logs.read(f"log.{E1 + 8:x}")) - 1
    one.log(E2 + 1)
    one.store.roll()
    one.log(E3 + 1)
    one.logs.flip(f"log.{E1 + 8:x}", end - 20)
    found = one.crash()
    assert "checksum" in found.unsure or "end mark" in found.unsure
    assert found.last_zxid == E1 + 8
    assert found.history == []
    one.carry_out(InstallSnapshot(E3 + 1, leaders_body(E1 + 1)))
    assert one.crash().unsure == ""


def test_a_hole_at_an_epochs_end_shows_by_the_next_digest(one: Directory, entry: MakeEntry):
    whole = DataTree()
    for zxid in (*run(E1 + 1, E1 + 10), E2 + 1):  # 1:10 was voted with and never written
        whole.apply(decode_txn(entry(zxid).payload)[0])
    payload = entry(E2 + 1).payload + encode_digest(whole.digest)
    one.store.append([Entry(E2 + 1, payload)])
    one.store.sync()
    found = one.crash()
    assert "0x200000001" in found.unsure
    assert found.history == []


def test_rot_in_the_last_file_keeps_what_is_before_it(one: Directory):
    one.logs.flip(f"log.{E1 + 8:x}", 40)
    found = one.crash()
    assert found.unsure
    assert one.state[:2] == (E1 + 7, names(*run(E1 + 1, E1 + 7)))
    assert one.crash().unsure


def test_a_server_alone_still_refuses(one: Directory):
    one.logs.flip(f"log.{E1 + 8:x}", 40)
    with pytest.raises(DiskError, match="valid"):
        Store(one.snapshots, one.logs, 0).recover(DataTree())


def test_a_server_alone_does_not_serve_what_was_given_up(one: Directory):
    one.carry_out(Truncate(E1 + 20))
    with pytest.raises(DiskError, match=REJOIN):
        Store(one.snapshots, one.logs, 0).recover(DataTree())


def test_epochs_without_data_are_no_empty_server(entry: MakeEntry):
    disk = SimDisk(Random(1))
    write_epoch(disk, ACCEPTED, 3)
    write_epoch(disk, CURRENT, 2)
    for _ in range(2):
        tree = DataTree()
        found = Store(disk, disk, 0, member=True).recover(tree)
        assert found.unsure
        assert (tree.last_zxid, found.accepted_epoch, found.current_epoch) == (-1, 3, 2)


def test_half_a_snapshot_is_removed_at_the_start(one: Directory, put: Put):
    # Scenario 14: what was half received or half written says nothing.
    put(one.snapshots, TEMPORARY, b"half")
    put(one.snapshots, "received-snapshot", b"half")
    one.crash()
    assert one.state[0] == E1 + 9
    assert not {TEMPORARY, "received-snapshot"} & set(one.snapshots.names())


def test_no_name_is_taken_for_a_log_or_a_snapshot_by_zookeeper(one: Directory):
    one.carry_out(Truncate(E1 + 20))
    one.carry_out(InstallSnapshot(E2, leaders_body(E1 + 1)))
    listed = {name for disk in one.disks for name in disk.names()}
    assert REJOIN not in listed
    assert {name for name in listed if name.split(".")[0] == "snapshot"} == {snapshot_name(E2)}
    assert not any(name.split(".")[0] == "log" for name in listed)


# History.


@pytest.fixture
def long(entry: MakeEntry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """Epochs 1 to 3 in files and snapshots of all sizes."""
    monkeypatch.setattr(log_tail, "HISTORY_ENTRIES", 10)
    directory = Directory(entry)
    directory.carry_out(EpochWrite(ACCEPTED, 5))
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
    put(disk, ACCEPTED, b"7")
    put(disk, CURRENT, b"6")
    tree = DataTree()
    found = Store(disk, disk, 0, member=True).recover(tree)
    assert (found.last_zxid, found.accepted_epoch, found.current_epoch, found.unsure) == (E1 + 11, 7, 6, "")
    assert [item.zxid for item in found.history] == list(run(E1 + 1, E1 + 11))
    assert found.base_zxid == E1
    assert tree.digest == 0x2270F55E5


def shown(directory: Directory) -> tuple[int, frozenset[bytes]]:
    return directory.state[:2]


def outcomes(
    directory: Directory, what: str, chance: Random
) -> tuple[list[tuple[int, frozenset[bytes]]], Operation | list[int]]:
    """Something to do, and every state that it, or a crash in it, may leave."""
    last, held = shown(directory)
    if what == "truncate":
        zxid = chance.choice(sorted(int(name[2:]) for name in held) or [0])
        return [(zxid, frozenset(n for n in held if int(n[2:]) <= zxid)), (-1, frozenset())], Truncate(zxid)
    if what == "install":
        zxid = chance.randrange(1, 6) * E1 + chance.randrange(5)
        zxids = [each for each in run(E1 + 1, E1 + chance.randrange(4)) if each <= zxid]
        return [(zxid, names(*zxids))], InstallSnapshot(zxid, leaders_body(*zxids))
    first = last + 1 if last & 0xFFFFFFFF and chance.randrange(3) else ((last >> 32) + 1 << 32) + 1
    zxids = list(run(first, first + chance.randrange(3)))
    return [(zxid, held | names(*run(first, zxid))) for zxid in zxids], zxids


@pytest.mark.parametrize("seed", range(100))
def test_any_order_of_operations_and_power_cuts_leaves_what_was_decided(seed: int, entry: MakeEntry):
    chance = Random(seed)
    directory = Directory(entry, seed, apart=seed % 2 == 0)
    directory.carry_out(EpochWrite(ACCEPTED, 1000))
    for _ in range(40):
        before = shown(directory)
        what = chance.choice(("log", "log", "fuzzy", "truncate", "install", "snapshot", "crash"))
        if before[0] < 0 and what != "crash":
            what = "install"
        possible, todo = outcomes(directory, what, chance)
        cut = chance.randrange(3) == 0
        for disk in directory.disks if cut else ():
            disk.cut_before = disk.effects + 1 + chance.randrange(12)
        try:
            if what == "snapshot":
                directory.snapshot()
                possible = [before]
            elif what == "log":
                directory.log(*todo)
            elif what == "fuzzy":
                fuzzy(directory, *todo)
            elif what != "crash":
                directory.carry_out(todo)
            else:
                possible = [before]
                directory.crash()
            for disk in directory.disks:
                disk.cut_before = None
        except PowerCut:
            possible.append(before)
            directory.crash()
        assert shown(directory) in possible
    found = directory.crash()
    assert bool(found.unsure) == (found.last_zxid < 0)
    history = [item.zxid for item in found.history]
    assert history == [] or history[-1] == found.last_zxid
    assert names(*history) <= directory.state[1]
