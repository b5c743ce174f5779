"""What every participant of ours that keeps its own branches does: the table, over each way to reach one."""

import os
import sys
from contextlib import asynccontextmanager, suppress
from itertools import product

import anyio
import pytest

from recipes import Answer, BadArguments, BranchId, CommitProtocol, DiskError, FileParticipant, MemoryParticipant
from recipes.transaction.branch import STEPS, BranchState, Reply, Request

pytestmark = pytest.mark.anyio

BRANCH = BranchId("0000abcd", "1-1", "svc")
OTHER = BranchId("0000abcd", "1-2", "svc")
METHODS = {request: request.name.lower() for request in Request if request is not Request.TIME_UP}
BEFORE = {
    BranchState.ABSENT: [],
    BranchState.PREPARED: [Request.PREPARE],
    BranchState.COMMITTED: [Request.PREPARE, Request.COMMIT],
    BranchState.ABORTED: [Request.ABORT],
}


class Memory:
    """As the tests reach it: the participant, and what it has committed."""

    def __init__(self):
        self.participant = MemoryParticipant()

    async def write(self, branch, key, value):
        (await self.participant.begin(branch))[key] = value

    async def value(self, key):
        return self.participant.values.get(key)


class Files:
    def __init__(self, participant):
        self.participant = participant

    async def write(self, branch, key, value):
        (await self.participant.begin(branch)).write(key, value)

    async def value(self, key):
        return await self.participant.read(key)


@asynccontextmanager
async def memory(tmp_path):
    yield Memory()


@asynccontextmanager
async def files(tmp_path):
    participant = FileParticipant(tmp_path / "values")
    await participant.open()
    try:
        yield Files(participant)
    finally:
        await participant.aclose()


KINDS = [memory, files]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


async def ask(party, request, branch=BRANCH):
    said = await getattr(party.participant, METHODS[request])(branch)
    return said.answer if isinstance(said, Reply) else said


async def test_each_state_and_request(kind, tmp_path):
    async with kind(tmp_path) as party:
        for number, (state, request) in enumerate(product(BranchState, METHODS)):
            branch = BRANCH._replace(transaction=f"1-{number:x}")
            await party.write(branch, f"key {number}", b"1")
            for before in BEFORE[state]:
                await ask(party, before, branch)
            after, _, answer = STEPS[state, request]
            assert await ask(party, request, branch) is answer, (state, request)
            assert (branch in await party.participant.recover()) is (after is BranchState.PREPARED)
            done = BranchState.COMMITTED in (state, after)
            assert await party.value(f"key {number}") == (b"1" if done else None), (state, request)
            if request in (Request.PREPARE, Request.COMMIT, Request.ABORT):
                assert await ask(party, request, branch) is answer, ("again", state, request)


async def test_a_key_is_locked_from_the_vote_to_the_outcome(kind, tmp_path):
    async with kind(tmp_path) as party:
        await party.write(BRANCH, "x", b"1")
        await party.write(OTHER, "x", b"2")
        assert await ask(party, Request.PREPARE) is Answer.PREPARED
        assert await ask(party, Request.CAN_COMMIT, OTHER) is Answer.REFUSED
        assert await ask(party, Request.PREPARE, OTHER) is Answer.REFUSED
        await ask(party, Request.COMMIT)
        later = OTHER._replace(transaction="1-3")
        await party.write(later, "x", b"3")
        assert await ask(party, Request.PREPARE, later) is Answer.PREPARED
        assert await party.value("x") == b"1"
        await ask(party, Request.ABORT, later)
        assert await party.value("x") == b"1"


async def test_a_branch_that_writes_nothing_needs_no_second_phase(kind, tmp_path):
    async with kind(tmp_path) as party:
        await party.participant.begin(BRANCH)
        assert await ask(party, Request.PREPARE) is Answer.READ_ONLY
        assert await party.participant.recover() == []


async def test_who_waits_is_told_with_its_protocol(kind, tmp_path):
    async with kind(tmp_path) as party:
        for branch, prepare in ((BRANCH, "prepare"), (OTHER, "pre_commit")):
            await party.write(branch, str(branch), b"1")
            await getattr(party.participant, prepare)(branch)
        found = {each.branch: each for each in await party.participant.waiting()}
        assert found[BRANCH].protocol is CommitProtocol.TWO_PHASE
        assert found[OTHER].protocol is CommitProtocol.THREE_PHASE
        assert all(0 <= each.seconds < 120 for each in found.values())
        listed = {each.ours: each for each in await party.participant.prepared()}
        assert listed.keys() == found.keys()
        assert listed[BRANCH].locks == (f"the key {str(BRANCH)!r}",)


async def test_a_directory_has_one_owner_who_is_named(tmp_path):
    one, two = FileParticipant(tmp_path), FileParticipant(tmp_path)
    await one.open()
    await one.open()
    with pytest.raises(DiskError, match=f"{tmp_path} is locked by another participant, pid {os.getpid()}"):
        await two.open()
    await one.aclose()
    await one.aclose()
    assert await two.read("x") is None
    await two.aclose()
    with pytest.raises(RuntimeError, match=f"{tmp_path}: its participant is closed"):
        await two.read("x")
    await two.open()
    await two.aclose()


async def test_a_directory_that_is_damaged_can_be_had_by_others(tmp_path):
    (tmp_path / "log").write_text("something else\n")
    for _ in range(2):
        with pytest.raises(DiskError, match="expected a log of branches"):
            await FileParticipant(tmp_path).open()
    assert (tmp_path / "log").read_text() == "something else\n"


async def test_a_file_branch_reads_what_it_writes_and_loses_no_update(tmp_path):
    async with files(tmp_path) as party:
        one, two = await party.participant.begin(BRANCH), await party.participant.begin(OTHER)
        assert await one.read("x") is None
        one.write("x", b"1")
        assert await one.read("x") == b"1"
        assert await two.read("x") is None
        two.write("x", b"2")
        one.write("y", b"1")
        one.remove("y")
        await ask(party, Request.PREPARE)
        await ask(party, Request.COMMIT)
        with pytest.raises(RuntimeError, match=f"the branch {BRANCH} is COMMITTED: its work is over"):
            await party.participant.begin(BRANCH)
        refused = await party.participant.prepare(OTHER)
        assert str(refused) == "'x' has changed since the branch read it"
        assert await party.participant.keys() == ["x"]
        assert (tmp_path / "values" / "value.x").read_bytes() == b"1"


async def test_keys_and_values_that_are_none_are_named(tmp_path):
    for settings in ({"compact_bytes": 0}, {"keep_seconds": 0}, {"keep_seconds": float("nan")}):
        with pytest.raises(BadArguments, match=f"{next(iter(settings))}=.*: expected numbers above 0"):
            FileParticipant(tmp_path, **settings)
    async with files(tmp_path) as party:
        branch = await party.participant.begin(BRANCH)
        for key in ("", "k" * 241, "/" * 100, None, "\udc80"):
            with pytest.raises(BadArguments, match="the key"):
                branch.write(key, b"1")
        with pytest.raises(BadArguments, match="the value of 'x': expected bytes, not str"):
            branch.write("x", "1")
        for key in (".", "..", "a/b", "log", "ü", "\n"):
            branch.write(key, b"1")
        await ask(party, Request.PREPARE)
        await ask(party, Request.COMMIT)
        assert await party.participant.keys() == sorted([".", "..", "a/b", "log", "ü", "\n"])


async def test_what_is_cancelled_or_comes_at_the_same_time_is_carried_out_once(tmp_path):
    async with files(tmp_path) as party:
        branches = [BRANCH._replace(transaction=f"1-{number:x}") for number in range(40)]
        for branch in branches:
            await party.write(branch, branch.transaction, b"1")
        async with anyio.create_task_group() as group:
            for branch in branches:
                group.start_soon(ask, party, Request.PREPARE, branch)
            await anyio.sleep(0)
            group.cancel_scope.cancel()
        with anyio.fail_after(60):
            for branch in branches:  # a vote was given, or the work never came there
                said = await ask(party, Request.PREPARE, branch)
                assert said in (Answer.PREPARED, Answer.REFUSED)
                wanted = Answer.COMMITTED if said is Answer.PREPARED else Answer.ABORTED
                outcome = Request.COMMIT if said is Answer.PREPARED else Request.ABORT
                assert await ask(party, outcome, branch) is wanted
                assert await party.value(branch.transaction) == (b"1" if said is Answer.PREPARED else None)


async def test_what_nobody_will_ask_for_is_not_kept_for_ever(tmp_path):
    now = 1000.0
    files = FileParticipant(tmp_path, compact_bytes=1, keep_seconds=60, clock=lambda: now)
    await files.open()
    later = [BRANCH._replace(transaction=f"2-{number}") for number in range(4)]
    for branch in (BRANCH, OTHER, *later):
        (await files.begin(branch)).write(branch.transaction, b"1")
    assert (await files.prepare(BRANCH)).answer is Answer.PREPARED
    assert (await files.commit(BRANCH)).answer is Answer.COMMITTED
    assert (await files.abort(OTHER)).answer is Answer.ABORTED
    now += 61
    (await files.begin(later[3]._replace(participant="new"))).write("x", b"1")
    assert str(await files.prepare(later[0])).startswith("nothing is known here of the work")
    for _ in range(20):
        await files.abort(later[1])
        await files.forget(later[1])
    text = (tmp_path / "log").read_text()
    assert f"{OTHER}" not in text
    assert f"{BRANCH}" in text  # the only proof that it committed
    await files.aclose()


KILLED = """
import anyio, sys
from recipes import Answer, BranchId, FileParticipant

async def main():
    files = FileParticipant(sys.argv[1], compact_bytes=2000)
    await files.open()
    for number in range(int(sys.argv[2]), 100_000):
        branch = BranchId("0000abcd", f"1-{number:x}", "svc")
        work = await files.begin(branch)
        work.write("one", b"%d" % number)
        work.write("two", b"%d" % number)
        assert (await files.prepare(branch)).answer is Answer.PREPARED
        print("prepared", number, flush=True)
        assert (await files.commit(branch)).answer is Answer.COMMITTED
        print("committed", number, flush=True)
        await files.forget(branch)

anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the process that is killed runs on one of them anyway
async def test_a_process_that_is_killed_keeps_its_word(tmp_path):
    number = 0
    for lines in (2, 31):
        process = await anyio.open_process([sys.executable, "-c", KILLED, str(tmp_path), str(number)], stderr=None)
        said = b""
        with anyio.fail_after(60):
            while said.count(b"\n") < lines:
                said += await process.stdout.receive()
            process.kill()
            with suppress(anyio.EndOfStream):
                while True:
                    said += await process.stdout.receive()
            await process.wait()
        await process.aclose()
        number = int(said.split()[-1])
        files = FileParticipant(tmp_path)
        await files.open()
        one, two = await files.read("one"), await files.read("two")
        assert one == two
        waiting = await files.recover()
        done = -1 if one is None else int(one)
        if waiting:
            # Of the last one that it told, or of the next, whose vote nobody heard.
            (branch,) = waiting
            at = int(branch.transaction[2:], 16)
            assert (done, at) in ((number - 1, number), (number, number + 1))
            assert await files.commit(branch) == (Answer.COMMITTED, "")
            assert await files.read("one") == await files.read("two") == b"%d" % at
            number = at
        else:
            assert done == number
        await files.aclose()
        number += 1
