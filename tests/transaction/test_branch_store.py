"""The files of a participant: what a crash at any point leaves of branches and values, and what damage does."""

import random
from contextlib import suppress
from copy import deepcopy
from functools import partial
from itertools import product

import pytest
from hypothesis import given, strategies

from recipes import DiskError
from recipes.core.disk.disk import RealDisk
from recipes.core.sim.disk import PowerCut, SimDisk
from recipes.transaction.branch import STEPS, Answer, BranchState, Deed, Request
from recipes.transaction.branch_store import LOG, Asked, BranchStore
from recipes.transaction.branches import Work
from recipes.transaction.participant import BranchId
from recipes.transaction.stages import CommitProtocol

B = [BranchId("0000abcd", f"1-{number}", "files") for number in range(5)]
KEYS = ["x", "y", "a key/with more"]
COMPACT_BYTES = 500  # so that it happens


class Model:
    """What the branches and values must be: the tables, and a dict."""

    def __init__(self):
        self.states = {}
        self.redo = {}
        self.values = {}

    def serve(self, request, branch, writes):
        """The answer."""
        step = STEPS[self.states.get(branch, BranchState.ABSENT), request]
        state, answer = step.state, step.answer
        if step.deed in (Deed.CHECK, Deed.WRITE):
            if writes is None or any(writes.keys() & other.keys() for other in self.redo.values()):
                state, answer = BranchState.ABORTED, Answer.REFUSED
            elif step.deed is Deed.WRITE and not writes:
                state, answer = BranchState.ABSENT, Answer.READ_ONLY
            elif step.deed is Deed.WRITE:
                self.redo[branch] = writes
        redo = {} if state is BranchState.PREPARED else self.redo.pop(branch, {})
        if step.deed is Deed.KEEP:
            self.values |= redo
            self.values = {key: value for key, value in self.values.items() if value is not None}
        self.states[branch] = state
        self.states = {each: state for each, state in self.states.items() if state is not BranchState.ABSENT}
        return answer

    def is_like(self, store):
        return (
            store.branches.states == self.states
            and {branch: each.redo for branch, each in store.branches.prepared.items()} == self.redo
            and {key: store.read(key) for key in store.keys()} == self.values
            and all(store.read(key) == self.values.get(key) for key in KEYS)
        )


def new_store(disk):
    return BranchStore(disk, lambda: 1.0, COMPACT_BYTES)


def run(batches, disk, crash):
    """Serve batches of (request, branch, writes); whenever the power fails, look at what is left, and go on with it.

    crash(): the disk comes back. Returns how many crashes there were.
    """
    store, may_be, crashes = new_store(disk), [Model()], 0

    def restart():
        nonlocal store, may_be, crashes
        crashes += 1
        crash()
        store = new_store(disk)
        store.load()
        may_be = [model for model in may_be if model.is_like(store)]
        assert may_be, store.branches.all()
        del may_be[1:]

    try:
        store.load()
    except PowerCut:
        restart()
    for batch in batches:
        before = may_be[0]
        after = deepcopy(before)
        answers = [after.serve(*each) for each in batch]
        asked = [
            Asked(request, branch, None if writes is None else Work({}, writes), CommitProtocol.TWO_PHASE)
            for request, branch, writes in batch
        ]
        try:
            store.serve(asked)
            if any(isinstance(each.error, PowerCut) for each in asked):
                may_be = [before, after]
                restart()
                continue
            assert [each.reply.answer for each in asked] == answers
            may_be = [after]
            assert after.is_like(store)
        except PowerCut:
            restart()
    crash()
    restart()
    return crashes - 1


SCRIPT = [
    [(Request.PREPARE, B[0], {"x": b"1", "y": b"1"})],
    [(Request.COMMIT, B[0], None)],
    [(Request.PREPARE, B[1], {"x": None, KEYS[2]: b"2" * 300}), (Request.PREPARE, B[2], {"y": b"2"})],
    [(Request.PREPARE, B[3], {"x": b"3"})],  # refused: another branch has the key
    [(Request.ABORT, B[1], None), (Request.COMMIT, B[2], None)],
    [(Request.FORGET, B[0], None), (Request.ABORT, B[4], None)],
    [(Request.PREPARE, B[4], {"x": b"4"})],  # refused: it comes late
    [(Request.PREPARE, B[0], {"x": None, "y": None})],
    [(Request.COMMIT, B[0], None)],
]


@pytest.mark.parametrize("power", [True, False], ids=["of the machine", "of the process"])
def test_a_crash_at_every_write_leaves_each_branch_where_it_was_or_where_it_went(power):
    for seed in range(2):
        for cut in range(1, 1000):
            disk = SimDisk(random.Random(f"{seed} {cut}"), cut_before=cut)
            if not run(SCRIPT, disk, disk.restart if power else disk.revive):
                break
        assert cut > 40, "the script has more effects than that"


def crash_twice(disk, again):
    """The second time in the repair."""
    disk.restart()
    disk.cut_before = disk.effects + again
    with suppress(PowerCut):
        new_store(disk).load()
    disk.restart()


@pytest.mark.thorough  # a second of a processor; the property test does it too, here and there
def test_a_crash_in_the_repair_after_a_crash_is_repaired_too():
    for cut, again in product(range(20, 60, 3), range(1, 30)):
        disk = SimDisk(random.Random(f"{cut} {again}"), cut_before=cut)
        run(SCRIPT, disk, partial(crash_twice, disk, again))


requests = strategies.tuples(
    strategies.sampled_from(list(Request)),
    strategies.sampled_from(B),
    strategies.none() | strategies.dictionaries(strategies.sampled_from(KEYS), strategies.binary(max_size=3)),
)


@given(
    batches=strategies.lists(strategies.lists(requests, min_size=1, max_size=3), max_size=25),
    seed=strategies.integers(0, 1000),
    cut=strategies.integers(1, 150),
    again=strategies.integers(1, 30),
)
def test_it_does_what_the_model_does_whatever_comes_and_wherever_it_crashes(batches, seed, cut, again):
    disk = SimDisk(random.Random(seed), cut_before=cut)
    run(batches, disk, partial(crash_twice, disk, again))


def asked(store, request, branch, writes=None, reads=None, protocol=CommitProtocol.TWO_PHASE):
    work = None if writes is None else Work(reads or {}, writes)
    one = Asked(request, branch, work, protocol)
    store.serve([one])
    if one.error is not None:
        raise one.error
    return one.reply


@pytest.fixture
def disk():
    return SimDisk(random.Random(1))


@pytest.fixture
def store(disk):
    return new_store(disk)


def test_who_locks_a_key_is_named(store):
    assert asked(store, Request.PREPARE, B[0], {"x": b"1"}).answer is Answer.PREPARED
    refused = asked(store, Request.PREPARE, B[1], {"x": b"2"})
    assert refused == (Answer.REFUSED, "'x' is locked by the branch recipes:0000abcd:1-0:files")
    assert store.read("x") is None  # the file has it, and nobody has committed it


def test_what_a_branch_read_is_looked_at_again(store):
    asked(store, Request.PREPARE, B[0], {"x": b"1"})
    asked(store, Request.COMMIT, B[0])
    lost = asked(store, Request.PREPARE, B[1], {"x": b"2"}, reads={"x": None})
    assert lost == (Answer.REFUSED, "'x' has changed since the branch read it")
    assert asked(store, Request.PREPARE, B[2], {"y": b"2"}, reads={"x": b"1"}).answer is Answer.PREPARED
    assert asked(store, Request.PREPARE, B[3], {"x": b"3"}).why.startswith("'x' is locked by")  # what it read must stay
    assert asked(store, Request.PREPARE, B[4], {}, reads={"x": b"1"}).answer is Answer.READ_ONLY


def test_who_waits_is_known_for_good_with_its_protocol_and_age(disk):
    now = 100.0
    store = BranchStore(disk, lambda: now, COMPACT_BYTES)
    asked(store, Request.PREPARE, B[0], {"x": b"1"})
    now = 103.5
    asked(store, Request.PREPARE, B[1], {"y": b"1"}, protocol=CommitProtocol.THREE_PHASE)
    now = 110.0
    waiting = [(B[0], CommitProtocol.TWO_PHASE, 10.0), (B[1], CommitProtocol.THREE_PHASE, 6.5)]
    assert store.waiting() == waiting
    disk.restart()
    assert BranchStore(disk, lambda: now, COMPACT_BYTES).waiting() == waiting
    now = 50.0  # the clock was set back
    assert [each.seconds for each in store.waiting()] == [0.0, 0.0]


def test_the_log_is_shortened(store, disk):
    for _ in range(30):
        asked(store, Request.PREPARE, B[0], {"x": bytes(100)})
        asked(store, Request.COMMIT, B[0])
        asked(store, Request.FORGET, B[0])
    assert len(disk.read(LOG)) < 2 * COMPACT_BYTES
    assert disk.unsynced(LOG) == []


def prepared_log(disk):
    """A log of three lines, the last a vote; its bytes."""
    store = BranchStore(disk, lambda: 1.0, 1 << 20)
    asked(store, Request.PREPARE, B[0], {"x": b"1"})
    asked(store, Request.COMMIT, B[0])
    asked(store, Request.PREPARE, B[1], {"y": b"1"})
    return disk.read(LOG)


def put(disk, data):
    file = disk.create(LOG)
    file.write(0, data)
    file.sync()
    disk.sync()


def test_a_tail_that_a_crash_tore_is_cut(disk):
    data = prepared_log(disk)
    last = data.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(data) - 1):
        for torn in (data[:end], data[:end] + bytes(len(data) - end)):
            put(disk, torn)
            store = new_store(disk)
            assert store.waiting() == []
            assert (store.read("x"), store.branches.states) == (b"1", {B[0]: BranchState.COMMITTED})


@pytest.mark.parametrize("bit", [1, 4, 16, 64])
def test_a_bit_that_rots_anywhere_is_told_and_nothing_is_destroyed(disk, bit):
    data = prepared_log(disk)
    for at in range(len(data)):
        rotten = bytearray(data)
        rotten[at] ^= bit
        put(disk, bytes(rotten))
        with pytest.raises(DiskError, match="log"):
            new_store(disk).load()
        assert disk.read(LOG) == rotten


def test_a_log_that_is_gone_is_told(disk):
    prepared_log(disk)
    disk.remove(LOG)
    with pytest.raises(DiskError, match="no file log"):
        new_store(disk).load()


def test_a_log_of_something_else_is_told(disk):
    put(disk, b"ZKLG\0\0")
    with pytest.raises(DiskError, match="expected a log of branches"):
        new_store(disk).load()


def test_a_full_disk_and_a_failed_sync_promise_nothing_and_it_goes_on_behind_them(disk, store):
    asked(store, Request.PREPARE, B[0], {"x": b"1"})
    disk.space_bytes = 10
    with pytest.raises(OSError, match="no space"):
        asked(store, Request.PREPARE, B[1], {"y": bytes(1000)})
    with pytest.raises(OSError, match="no space"):  # it cannot be told what is durable: each call tries again
        asked(store, Request.COMMIT, B[0])
    disk.space_bytes = None
    disk.fail_syncs = True
    with pytest.raises(OSError, match="failed to sync"):
        asked(store, Request.COMMIT, B[0])
    disk.fail_syncs = False
    assert asked(store, Request.COMMIT, B[0]).answer is Answer.COMMITTED
    assert asked(store, Request.ABORT, B[1]).answer is Answer.ABORTED
    disk.restart()
    again = new_store(disk)
    assert (again.read("x"), again.read("y")) == (b"1", None)


def test_one_sync_serves_those_that_come_together(tmp_path):
    syncs = []

    class Counted(RealDisk):
        def create(self, name):
            file = super().create(name)
            sync = file.sync

            class One:
                write, truncate, close = file.write, file.truncate, file.close

                def sync(self):
                    syncs.append(name)
                    sync()

            return One()

    disk = Counted(tmp_path / "values")
    store = BranchStore(disk, lambda: 1.0, 1 << 20)
    store.load()
    syncs.clear()
    batch = [Asked(Request.PREPARE, each, Work({}, {each.transaction: b"1"}), CommitProtocol.TWO_PHASE) for each in B]
    store.serve(batch)
    assert {each.reply.answer for each in batch} == {Answer.PREPARED}
    assert len(syncs) == 1
    store.close()
    disk.close()


def test_a_request_sees_what_came_before_it_in_its_batch(store):
    asked(store, Request.PREPARE, B[0], {"x": b"1"})
    store.serve([Asked(Request.ABORT, B[0], None, CommitProtocol.TWO_PHASE)])
    batch = [
        Asked(Request.PREPARE, B[1], Work({}, {"x": b"2"}), CommitProtocol.TWO_PHASE),
        Asked(Request.COMMIT, B[1], None, CommitProtocol.TWO_PHASE),
        Asked(Request.PREPARE, B[2], Work({"x": None}, {"x": b"3"}), CommitProtocol.TWO_PHASE),
        Asked(Request.PREPARE, B[3], Work({"x": b"2"}, {"x": b"3"}), CommitProtocol.TWO_PHASE),
        Asked(Request.ABORT, B[3], None, CommitProtocol.TWO_PHASE),
    ]
    store.serve(batch)
    prepared, committed, refused, again, aborted = (each.reply.answer for each in batch)
    assert (prepared, committed, refused) == (Answer.PREPARED, Answer.COMMITTED, Answer.REFUSED)
    assert (again, aborted) == (Answer.PREPARED, Answer.ABORTED)
    assert store.read("x") == b"2"
