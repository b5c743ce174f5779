"""A last record that was written to its end and has changed since, told from one that a crash has torn."""

from itertools import product

import pytest

from recipes.core.disk.recovery import recover
from recipes.core.disk.txnlog import HEADER, RECORD_BYTES, SECTOR_BYTES, LogFile, encode_records
from recipes.core.errors import DiskError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int
from recipes.core.jute.txns import encode_txn
from recipes.core.replication import Entry, Truncate
from recipes.core.tree.tree import DataTree
from recipes.core.zab.protocol import ZAB
from tests.core.disk.directory import E1, E2


def damage_of(data):
    file = LogFile("log.1", data)
    read = len(list(file))
    return read, file.damage


def flipped(data, at, bits=1):
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def test_f10_each_bit_of_a_last_record_is_missed(entry):
    first = HEADER + encode_records([entry(1)])
    data = first + encode_records([entry(2)])
    for at in range(len(first), len(data) - 1):
        if len(first) + 8 <= at < len(first) + 12:
            continue  # its length: without that its end is not known
        for bit in range(8):
            read, damage = damage_of(flipped(data, at, 1 << bit) + bytes(4096))
            assert read == 1 and damage.torn and damage.rotten, at
            assert str(damage) == f"log.1: checksum does not match at offset {len(first)}, after zxid 0x1"


@pytest.mark.parametrize("before", [0, 100, 480, 492, 493, 500, 509])
def test_f10_what_a_crash_has_torn_is_not_rotten(entry, before):
    """Each set of sectors of the last record may be missing, and each set of the bytes behind a cut."""
    first = HEADER + encode_records([entry(1, data=b"x" * before)])
    data = first + encode_records([entry(2, data=b"x" * 1500)])
    start = len(first) - len(first) % SECTOR_BYTES
    sectors = range(start, len(data), SECTOR_BYTES)
    for written in product((False, True), repeat=len(sectors)):
        found = bytearray(data)
        for sector, is_there in zip(sectors, written, strict=True):
            if not is_there:
                at, end = max(sector, len(first)), min(sector + SECTOR_BYTES, len(data))
                found[at:end] = bytes(end - at)
        read, damage = damage_of(bytes(found) + bytes(100))
        assert (read, damage) == (2, None) or (read == 1 and (damage is None or not damage.rotten)), written
    for size in range(len(first), len(data)):
        read, damage = damage_of(data[:size] + bytes(100))
        assert read == 1 and (damage is None or not damage.rotten)


def test_f10_a_sector_that_was_never_written_is_found_before_whole_records_too(entry):
    first = HEADER + encode_records([entry(1)])
    middle = encode_records([entry(2, data=b"x" * 1500)])
    data = bytearray(first + middle + encode_records([entry(3)]))
    data[SECTOR_BYTES : 2 * SECTOR_BYTES] = bytes(SECTOR_BYTES)
    _, damage = damage_of(bytes(data))
    assert damage.unwritten and not damage.torn and not damage.rotten
    _, damage = damage_of(flipped(bytes(first + middle + encode_records([entry(3)])), len(first) + 700))
    assert not damage.unwritten and not damage.torn and not damage.rotten


def last_log(disk):
    return max(name for name in disk.names() if name.startswith("log."))


def rot(disk, records=1):
    """Flip a bit near the end of the last of these records, each of the size of the last one."""
    name = last_log(disk)
    data = disk.read(name).rstrip(b"\0")
    disk.flip(name, len(data) - RECORD_BYTES - 8)
    return name


def test_f10_a_server_alone_says_what_it_has_lost(one):
    one.log(E2 + 1, E2 + 2)
    one.store.close()
    name = rot(one.logs)
    tree = DataTree()
    found = recover(one.snapshots, one.logs, tree)
    assert tree.last_zxid == E2 + 1
    assert found.rotten_end.startswith(f"{name}: checksum does not match at offset ")
    assert found.rotten_end.endswith(f"after zxid 0x{E2 + 1:x}")


def test_f10_a_member_does_not_vote_with_a_rotten_last_record(one):
    one.log(E2 + 1, E2 + 2)
    one.store.close()
    name = rot(one.logs)
    for _ in range(2):  # nor after another start
        found = one.start()
        assert found.unsure.startswith(f"{name}: checksum does not match at offset ") and found.may_cut
        assert found.unsure == found.rotten_end
        assert (found.last_zxid, found.history[-1].zxid) == (E2 + 1, E2 + 1)
        one.store.close()


def test_f10_a_record_that_looks_rotten_can_be_cut(one):
    one.log(E2 + 1, E2 + 2)
    one.store.close()
    rot(one.logs)
    one.start()
    tree = one.store.carry_out(Truncate(E2 + 1))
    assert tree.last_zxid == E2 + 1
    one.store.close()
    found = one.start()
    assert (found.unsure, found.rotten_end, found.last_zxid) == ("", "", E2 + 1)


def test_f10_a_record_without_a_sector_before_a_whole_one_can_be_cut(one, entry, put):
    one.store.close()
    records = [encode_records([entry(E2 + 1)]), encode_records([entry(E2 + 2, data=b"x" * 1500)])]
    data = bytearray(HEADER + b"".join(records) + encode_records([entry(E2 + 3)]))
    data[SECTOR_BYTES : 2 * SECTOR_BYTES] = bytes(SECTOR_BYTES)
    put(one.logs, f"log.{E2 + 1:x}", bytes(data))
    found = one.start()
    assert "with valid txns after it" in found.unsure and found.may_cut
    assert one.store.carry_out(Truncate(E2 + 1)).last_zxid == E2 + 1
    one.store.close()
    assert (one.start().unsure, one.found.last_zxid) == ("", E2 + 1)


def test_f10_other_damage_is_not_cut(one):
    one.log(E2 + 1, E2 + 2, E2 + 3)
    one.store.close()
    name = last_log(one.logs)
    one.logs.flip(name, len(HEADER) + 40)
    found = one.start()
    assert found.unsure and not found.may_cut


def test_small_1_small_2_a_log_of_another_version_is_called_so(one, put):
    one.store.close()
    put(one.logs, f"log.{E1 + 10:x}", HEADER[:7] + b"\3" + bytes(100))
    assert "a transaction log of version 3, expected 2" in one.start().unsure
    with pytest.raises(DiskError, match="version 3"):
        recover(one.snapshots, one.logs, DataTree())
    put(one.logs, "log.1_0", b"no log")  # nor is this one
    assert ZAB.name == "zab" and "log.1_0" in one.logs.names()


def test_interop_1_a_txn_of_a_later_version_is_named_with_file_and_zxid(one, put):
    one.store.close()
    unknown = Entry(E2 + 1, encode_txn(1, 1, E2 + 1, 0, op.ERROR, (1,)).replace(pack_int(op.ERROR), pack_int(77), 1))
    put(one.logs, f"log.{E2 + 1:x}", HEADER + encode_records([unknown]))
    name = f"log.{E2 + 1:x}: txn 0x{E2 + 1:x}: txn of unknown type 77"
    assert one.start().unsure.startswith(name)
    with pytest.raises(DiskError, match=name):
        recover(one.snapshots, one.logs, DataTree())
