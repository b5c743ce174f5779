"""The log against Apache's bytes, cuts, rot, and power cuts at every effect."""

from collections.abc import Callable
from errno import EIO, ENOSPC
from random import Random

import pytest

from recipes.core.disk.disk import Disk
from recipes.core.disk.txnlog import HEADER, LogFile, TxnLog, encode_records, read_log
from recipes.core.errors import DiskError
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import decode_txn, payload_zxid
from recipes.core.replication import Entry
from recipes.core.sim.disk import PowerCut, SimDisk
from tests.seeds import seeds

MakeEntry = Callable[..., Entry]
Put = Callable[[Disk, str, bytes], None]


def zxids(disk: Disk, after: int = 0) -> list[int]:
    return [payload_zxid(payload) for payload in read_log(disk, after)]


def ends_of(data: bytes) -> list[int]:
    """Where each record ends, the header first."""
    file = LogFile("log.1", data)
    return [len(HEADER), *(file.end for _ in file)]


def test_apaches_log_is_read_and_written_back_identically(apache_log: bytes):
    file = LogFile("log.100000001", apache_log + bytes(4096))
    payloads = list(file)
    assert file.damage is None
    assert [payload_zxid(payload) for payload in payloads] == list(range(0x1_00000001, 0x1_0000000C))
    digests = [decode_txn(payload)[1] for payload in payloads]
    assert digests[:4] == [0x51C6D660, 0x13F5471BF, 0x1E658E555, 0x20EF6B64D]
    assert digests[6] is None
    disk = SimDisk(Random(1))
    log = TxnLog(disk)
    for payload in payloads:
        log.append([Entry(payload_zxid(payload), payload)])
    log.close()
    assert disk.names() == ["log.100000001"]
    assert disk.read("log.100000001") == apache_log


@pytest.mark.parametrize("padding", [0, 64])
def test_cut_at_every_length_the_whole_records_are_left(apache_log: bytes, padding: int, put: Put):
    ends = ends_of(apache_log)
    for size in range(len(apache_log)):
        disk = SimDisk(Random(1))
        put(disk, "log.100000001", apache_log[:size] + bytes(padding))
        whole = sum(end <= size for end in ends[1:])
        assert zxids(disk) == list(range(0x1_00000001, 0x1_00000001 + whole)), size


def test_every_byte_of_the_last_record_flipped_costs_that_record_only(apache_log: bytes, put: Put):
    ends = ends_of(apache_log)
    for offset in range(ends[-2], ends[-1]):
        disk = SimDisk(Random(1))
        put(disk, "log.100000001", apache_log)
        disk.flip("log.100000001", offset, 0x55)
        assert zxids(disk) == list(range(0x1_00000001, 0x1_0000000B)), offset


def test_every_byte_before_the_last_record_flipped_is_refused(apache_log: bytes, put: Put):
    ends = ends_of(apache_log)
    for offset in [*range(8), *range(16, ends[-2])]:  # the header's database id means nothing
        disk = SimDisk(Random(1))
        put(disk, "log.100000001", apache_log)
        disk.flip("log.100000001", offset, 0x55)
        with pytest.raises(DiskError, match=r"log\.100000001"):
            zxids(disk)


def test_damage_names_file_offset_and_zxid(apache_log: bytes, put: Put):
    disk = SimDisk(Random(1))
    put(disk, "log.100000001", apache_log)
    disk.flip("log.100000001", 300)  # in the fourth record
    with pytest.raises(DiskError, match=r"log\.100000001: checksum .* offset 257, after zxid 0x100000003"):
        zxids(disk)


def test_what_is_no_log_is_refused(put: Put):
    disk = SimDisk(Random(1))
    put(disk, "log.1", b"this is something else entirely")
    with pytest.raises(DiskError, match="not a transaction log"):
        zxids(disk)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 15, 16])
def test_a_header_torn_by_a_crash_is_an_empty_log(size: int, put: Put):
    for padding in (0, 512):
        disk = SimDisk(Random(1))
        put(disk, "log.1", HEADER[:size] + bytes(padding))
        assert zxids(disk) == []


def test_a_zxid_that_goes_backwards_is_refused(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    put(disk, "log.1", HEADER + encode_records([entry(1), entry(2), entry(2)]))
    with pytest.raises(DiskError, match="goes backwards"):
        zxids(disk)


@pytest.mark.parametrize("files", [[[1, 2], [4]], [[2, 3]], [[1, 2], [2, 3]], [[1, 2, 20]]])
def test_missing_txns_are_refused(files: list[list[int]], entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    for numbers in files:
        put(disk, f"log.{numbers[0]:x}", HEADER + encode_records([entry(number) for number in numbers]))
    with pytest.raises(DiskError, match=r"missing|backwards"):
        zxids(disk)


def test_a_zxid_that_zookeeper_never_used_is_filled_with_a_txn_that_changes_nothing(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    numbers = [0x1_00000001, 0x1_00000004, 0x2_00000002]
    put(disk, "log.100000001", HEADER + encode_records([entry(number) for number in numbers]))
    found = {payload_zxid(payload): payload for payload in read_log(disk, 0x1_00000000)}
    assert list(found) == [*range(0x1_00000001, 0x1_00000005), 0x2_00000001, 0x2_00000002]
    assert all(decode_txn(found[zxid])[0][4] == op.ERROR for zxid in found.keys() - set(numbers))
    assert zxids(disk, 0x1_00000002) == list(found)[2:]
    with pytest.raises(DiskError, match="missing"):  # a leader's snapshot has them
        list(read_log(disk, 0x1_00000000, snapshot_zxids=[0x1_00000003]))


def test_a_new_epoch_starts_at_one(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    put(disk, "log.100000001", HEADER + encode_records([entry(0x1_00000001), entry(0x2_00000001)]))
    put(disk, "log.300000001", HEADER + encode_records([entry(0x3_00000001)]))
    assert zxids(disk) == [0x1_00000001, 0x2_00000001, 0x3_00000001]


def test_reading_starts_in_the_file_that_has_the_next_txn(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    for first in (1, 4, 7):
        put(disk, f"log.{first}", HEADER + encode_records([entry(first + step) for step in range(3)]))
    assert zxids(disk, 3) == [4, 5, 6, 7, 8, 9]
    assert zxids(disk, 7) == [8, 9]
    assert zxids(disk, 9) == []
    disk.remove("log.1")
    assert zxids(disk, 5) == [6, 7, 8, 9]


def test_one_file_is_read_at_a_time(entry: MakeEntry, put: Put):
    reads = []

    class Noting(SimDisk):
        def read(self, name: str) -> bytes:
            reads.append(name)
            return super().read(name)

    disk = Noting(Random(1))
    for first in (1, 4, 7):
        put(disk, f"log.{first}", HEADER + encode_records([entry(first + step) for step in range(3)]) + bytes(1 << 20))
    log = read_log(disk, 0)
    assert [payload_zxid(next(log)) for _ in range(3)] == [1, 2, 3]
    assert reads == ["log.1"]
    assert payload_zxid(next(log)) == 4
    assert reads == ["log.1", "log.4"]


@pytest.mark.parametrize("zxid", [0x2_00000000, 0x2_00000030, 0x1_00000030])
def test_a_zxid_that_cannot_be_next_is_refused(zxid: int, entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    put(disk, "log.100000001", HEADER + encode_records([entry(0x1_00000001), entry(0x1_00000002), entry(zxid)]))
    with pytest.raises(DiskError, match="missing"):
        zxids(disk, 0x1_00000000)


def test_an_epoch_ends_before_its_counter_comes_round(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    put(disk, "log.1ffffffff", HEADER + encode_records([entry(0x1_FFFFFFFF), entry(0x2_00000001)]))
    assert zxids(disk, 0x1_FFFFFFFE) == [0x1_FFFFFFFF, 0x2_00000001]
    put(disk, "log.1ffffffff", HEADER + encode_records([entry(0x1_FFFFFFFF), entry(0x2_00000000)]))
    with pytest.raises(DiskError, match="missing"):
        zxids(disk, 0x1_FFFFFFFE)


def test_a_record_larger_than_the_default_frame_is_read_back(entry: MakeEntry, put: Put):
    large = entry(2, data=bytes(3 << 20))  # as jute.maxbuffer may allow
    disk = SimDisk(Random(1))
    put(disk, "log.1", HEADER + encode_records([entry(1), large]))
    assert zxids(disk) == [1, 2]
    put(disk, "log.1", HEADER + encode_records([entry(1), large, entry(3)]))
    assert zxids(disk) == [1, 2, 3]


def test_a_torn_file_is_followed_by_a_new_one(entry: MakeEntry, put: Put):
    disk = SimDisk(Random(1))
    put(disk, "log.1", (HEADER + encode_records([entry(1), entry(2)]))[:-5])
    before = disk.read("log.1")
    log = TxnLog(disk)
    log.append([entry(2)])
    log.close()
    assert disk.read("log.1") == before
    assert zxids(disk) == [1, 2]


def test_room_ahead_is_zeros_and_holds_no_txn(disk: Disk, entry: MakeEntry):
    log = TxnLog(disk, fill_ahead_bytes=1 << 20)
    log.append([entry(1)])
    log.sync()
    assert log.reserve()
    size = len(disk.read("log.1"))
    assert size > 1 << 20
    log.append([entry(2), entry(3)])
    log.sync()
    assert len(disk.read("log.1")) == size
    assert zxids(disk) == [1, 2, 3]
    log.roll()
    log.append([entry(4)])
    log.close()
    assert "log.4" in disk.names()
    assert zxids(disk) == [1, 2, 3, 4]


def test_a_full_disk_is_said_before_anything_is_accepted(entry: MakeEntry):
    disk = SimDisk(Random(1), space_bytes=3 << 20)
    log = TxnLog(disk, fill_ahead_bytes=4 << 20)
    log.append([entry(1)])
    log.sync()
    assert not log.reserve()
    log.append([entry(2)])
    log.sync()
    assert zxids(disk) == [1, 2]
    disk.space_bytes = 9 << 20
    assert log.reserve()
    log.append([entry(3)])
    log.close()
    assert zxids(disk) == [1, 2, 3]


@pytest.mark.parametrize("rolled", [False, True])
def test_a_batch_that_does_not_fit_may_be_tried_again(rolled: bool, entry: MakeEntry):
    disk = SimDisk(Random(1), space_bytes=2000)
    log = TxnLog(disk, fill_ahead_bytes=1024)
    log.append([entry(1)])
    log.sync()
    if rolled:
        log.roll()
    batch = [entry(2, data=bytes(900)), entry(3, data=bytes(900))]
    for _ in range(2):
        with pytest.raises(OSError) as failed:
            log.append(batch)
        assert failed.value.errno == ENOSPC
    disk.space_bytes = 9000
    log.append([*batch, entry(4)])
    log.sync()
    disk.cut_power()
    disk.restart()
    assert zxids(disk) == [1, 2, 3, 4]


@pytest.mark.parametrize("rolled", [False, True])
def test_after_a_cut_a_batch_that_did_not_fit_is_a_torn_tail(rolled: bool, entry: MakeEntry):
    disk = SimDisk(Random(1), space_bytes=2000)
    log = TxnLog(disk, fill_ahead_bytes=1024)
    log.append([entry(1)])
    log.sync()
    if rolled:
        log.roll()
    with pytest.raises(OSError):
        log.append([entry(2, data=bytes(900)), entry(3, data=bytes(900))])
    disk.cut_power()
    disk.restart()
    assert zxids(disk) in ([1], [1, 2])


def test_a_sync_that_fails_is_told(entry: MakeEntry):
    disk = SimDisk(Random(1))
    log = TxnLog(disk)
    log.append([entry(1)])
    log.sync()
    disk.fail_syncs = True
    log.append([entry(2)])
    with pytest.raises(OSError) as failed:
        log.sync()
    assert failed.value.errno == EIO
    disk.cut_power()
    disk.restart()
    assert zxids(disk) == [1]


def run(disk: SimDisk, chance: Random, entry: MakeEntry, first: int, synced: int) -> tuple[int, int]:
    """Append batches until the power fails or there are 12; the last zxid synced and the last one written."""
    log = TxnLog(disk, fill_ahead_bytes=2048)
    zxid = first
    try:
        for _ in range(12):
            batch = [entry(zxid + step, data=bytes(chance.randrange(900))) for step in range(1 + chance.randrange(4))]
            zxid += len(batch)
            log.append(batch)
            log.sync()
            synced = zxid - 1
            if chance.randrange(4) == 0:
                log.roll()
            elif chance.randrange(3) == 0:
                log.reserve()
    except PowerCut:
        pass
    return synced, zxid - 1


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("seed", seeds(6, quick=2))
def test_power_cut_at_every_effect_loses_nothing_synced(seed: int, in_order: bool, entry: MakeEntry):
    whole = SimDisk(Random(seed))
    run(whole, Random(seed), entry, 1, 0)
    refused = 0
    for cut_before in range(1, whole.effects + 1):
        disk = SimDisk(Random(seed * 1000 + cut_before), cut_before, in_order=in_order)
        chance = Random(seed)
        first = 1
        for _ in range(3):  # each time life goes on behind the torn tail, and ends in another cut
            synced, written = run(disk, chance, entry, first, first - 1)
            disk.cut_power()
            disk.restart()
            try:
                found = zxids(disk)
            except DiskError:
                refused += 1
                break
            assert found == list(range(1, len(found) + 1))
            assert synced <= len(found) <= written
            first = len(found) + 1
            disk.cut_before = disk.effects + 1 + chance.randrange(40)
    # Where later sectors of a torn batch survive earlier ones it looks like rot, and is never guessed at.
    assert refused == 0 if in_order else refused < whole.effects // 2
