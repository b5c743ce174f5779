"""What a crash, a full disk or rot leaves of a member's data directory; power cuts at every effect of each change."""

from errno import ENOSPC
from random import Random

import pytest

from recipes.core.disk.recovery import TEMPORARY
from recipes.core.disk.replace import REJOIN
from recipes.core.disk.snapshot import snapshot_name
from recipes.core.disk.store import Store
from recipes.core.errors import DiskError
from recipes.core.jute.txns import decode_txn, encode_digest
from recipes.core.replication import Entry, InstallSnapshot, Operation, Truncate
from recipes.core.sim.disk import PowerCut, SimDisk
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell
from recipes.core.zab.protocol import ZAB
from tests.core.disk.directory import (
    E1,
    E2,
    E3,
    Directory,
    MakeEntry,
    Put,
    build,
    epochs_of,
    fuzzy,
    leaders_body,
    names,
    run,
    write_epoch,
)
from tests.seeds import seeds

# What a crash leaves.


OPERATIONS = {
    "accepted": epoch_cell(ACCEPTED_EPOCH, 16),
    "current": epoch_cell(CURRENT_EPOCH, 2),
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
    return directory.state, history, found.base_zxid, *epochs_of(found)


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


@pytest.mark.parametrize("seed", seeds(30, quick=8))
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
    write_epoch(disk, ACCEPTED_EPOCH, 3)
    write_epoch(disk, CURRENT_EPOCH, 2)
    for _ in range(2):
        tree = DataTree()
        found = Store(disk, disk, 0, protocol=ZAB).recover(tree)
        assert found.unsure
        assert (tree.last_zxid, *epochs_of(found)) == (-1, 3, 2)


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


@pytest.mark.parametrize("seed", seeds(100, quick=20))
def test_any_order_of_operations_and_power_cuts_leaves_what_was_decided(seed: int, entry: MakeEntry):
    chance = Random(seed)
    directory = Directory(entry, seed, apart=seed % 2 == 0)
    directory.carry_out(epoch_cell(ACCEPTED_EPOCH, 1000))
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
