"""The order in which one turn lets things go out."""

import pytest

from recipes.core.disk.jobs import Batch, Look
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.replication import Entry, Truncate
from recipes.core.turn import Turn
from recipes.core.zab.epochs import epoch_cell
from tests.core.told_member import NoSnapshots, ToldMember, ToldReplica


class Shell:
    """Keeps what happens, in order. at_once: whether jobs are done when they are given."""

    def __init__(self, at_once=True):
        self.told = []
        self.jobs = []
        self.at_once = at_once
        self.fits = self.has_room = True
        self.wakes = []
        self.member, self.replica = ToldMember(self.told), ToldReplica(self.told)
        self.member.touched = ["client"]
        queue = WriteQueue(Replacements(None), reserve_every_bytes=1 << 20)
        self.turn = Turn(self.member, self.replica, queue, NoSnapshots(), self, tick_ms=1000)

    def decide(self, *writes):
        self.member.decided += writes
        self.turn.carry_out()

    def finish(self):
        job = self.jobs.pop(0)
        self.finish_job(job)
        self.turn.done(job)
        self.turn.carry_out()

    def finish_job(self, job):
        if isinstance(job, Batch):
            job.fits = self.fits
        elif isinstance(job, Look):
            job.found = self.has_room

    def write(self, job):
        what = [entry.zxid for entry in job.entries] if isinstance(job, Batch) else type(job).__name__
        self.told.append(("write", what))
        if not self.at_once:
            self.jobs.append(job)
            return False
        self.finish_job(job)
        return True

    def post(self, outbox):
        if outbox.votes:
            self.told.append(("post", outbox.votes))

    def reply(self, connections):
        self.told.append(("reply", connections))

    def wake_at(self, now_ms):
        self.wakes.append(now_ms)

    def log(self, text, is_error):
        self.told.append(text)


def entries(*zxids):
    return [Entry(zxid, b"payload") for zxid in zxids]


def test_the_outbox_leaves_before_the_writes_and_replies_behind_them():
    shell = Shell()
    shell.replica.outbox.votes.append("proposal")
    shell.member.flushed = lambda zxid: (shell.told.append(zxid), shell.member.touched.append("writer"))
    shell.decide(*entries(1, 2))
    assert shell.told == [
        ("post", ["proposal"]), ("reply", ["client"]), ("write", [1, 2]), 2, ("write", "Look"), ("reply", ["writer"]),
    ]  # fmt: skip


def test_while_a_job_is_under_way_nothing_else_is_begun_and_entries_gather():
    shell = Shell(at_once=False)
    shell.decide(*entries(1))
    shell.decide(*entries(2))
    shell.decide(Truncate(2), *entries(3), epoch_cell("currentEpoch", 1), *entries(4, 5))
    for _ in range(6):
        shell.finish()
    done = [each[1] if each[0] == "write" else each for each in shell.told if isinstance(each, tuple)]
    assert done == [
        ("reply", ["client"]), [1], [2], "OperationJob", (Truncate(2), None), [3], "OperationJob",
        (epoch_cell("currentEpoch", 1), None), [4, 5], "Look",
    ]  # fmt: skip
    assert [each for each in shell.told if isinstance(each, int)] == [1, 2, 3, 5]


def test_a_batch_without_room_waits_with_all_behind_it():
    shell = Shell()
    shell.fits = False
    shell.decide(*entries(1))
    shell.decide(*entries(2))
    full = "no space for the transaction log: writes are refused, reads go on; make room on its disk"
    assert shell.told == [("reply", ["client"]), ("write", [1]), full, "no room"]
    shell.has_room = False
    shell.turn.wake()
    shell.told.clear()
    shell.turn.begin(1000, 0)
    shell.turn.wake()
    assert shell.told == ["tick", ("write", "Look")]
    shell.fits = shell.has_room = True
    shell.told.clear()
    shell.turn.begin(2000, 0)
    shell.turn.wake()
    back = "there is space for the transaction log again"
    assert shell.told == ["tick", ("write", "Look"), ("write", [1, 2]), 2, ("write", "Look"), back, "room"]


def test_nothing_leaves_and_nothing_is_written_once_it_is_stopped():
    shell = Shell(at_once=False)
    shell.decide(*entries(1))
    shell.told.clear()
    shell.turn.stop()
    shell.member.touched = ["client"]
    shell.replica.outbox.votes.append("proposal")
    shell.decide(*entries(2))
    shell.turn._write_and_sync()
    assert shell.told == []


def test_it_is_woken_for_whatever_is_due_first_and_told_so_once():
    shell = Shell()
    shell.turn.carry_out()
    shell.turn.wake()
    assert shell.told == [("reply", ["client"]), "tick"]
    assert shell.wakes == [0, 1000]
    shell.turn.carry_out()
    assert shell.wakes == [0, 1000]
    shell.replica.deadline_ms = 300
    shell.turn.carry_out()
    assert shell.wakes == [0, 1000, 300]
    shell.turn.begin(300, 0)
    shell.turn.wake()
    assert shell.told[2:] == ["replica's tick"]


def test_an_empty_outbox_of_a_server_alone_is_not_posted():
    shell = Shell()
    shell.replica.take_outbox = lambda: None
    shell.post = lambda outbox: pytest.fail("posted")
    shell.decide(*entries(1))
    assert 1 in shell.told


def test_a_look_for_room_that_finds_none_says_so_once():
    shell = Shell()
    shell.has_room = False
    shell.decide(*entries(1))
    assert shell.told[-1] == "no room"
    shell.turn.wake()
    shell.told.clear()
    shell.turn.begin(1000, 0)
    shell.turn.wake()
    assert shell.told == ["tick", ("write", "Look")]


def test_f2_after_a_late_turn_what_has_arrived_comes_before_timers():
    shell = Shell()
    shell.turn.carry_out()
    shell.turn.wake()
    shell.replica.deadline_ms = 1000
    shell.told.clear()
    shell.turn.begin(4000, 0)  # it was to be woken at 1000
    shell.turn.wake()
    assert shell.told == ["stalled 3000"]
    assert shell.wakes[-1] == 4005
    shell.turn.begin(4002, 0)
    shell.turn.carry_out()  # a turn of what has arrived does not bring the timers forward
    shell.turn.wake()
    assert shell.told == ["stalled 3000"]
    shell.turn.begin(4005, 0)
    shell.turn.wake()
    assert shell.told == ["stalled 3000", "replica's tick", "tick"]


def test_f2_a_server_that_is_always_late_does_what_is_due():
    shell = Shell()
    shell.turn.carry_out()
    shell.turn.wake()
    for now_ms in (1100, 1200, 2300, 2400):
        shell.turn.begin(now_ms, 0)
        shell.turn.wake()
    assert shell.told.count("tick") == 3


def test_f2_work_of_several_turns_asks_for_the_next_one_at_once():
    shell = Shell()
    shell.turn.carry_out()
    shell.turn.wake()
    shell.member.has_work = True
    shell.member.work = lambda: shell.told.append("work")
    shell.turn.begin(10, 0)
    shell.turn.carry_out()
    assert shell.wakes[-1] == 10
    shell.told.clear()
    shell.turn.wake()
    assert shell.told == ["work"]
    assert shell.wakes[-1] == 10
