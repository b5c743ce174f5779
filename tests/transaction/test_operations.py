"""What an operator sees of transactions, and what he can decide."""

import anyio
import pytest

from recipes import (
    ACL,
    BadArguments,
    Id,
    MemoryParticipant,
    NoAuth,
    Perms,
    TransactionAborted,
    UnknownTransaction,
    connect,
)
from recipes.testing.expire import expire_session
from recipes.transaction.branch import Answer, BranchState, Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.participant import BranchId, Prepared
from recipes.transaction.record import Decision, Record, Records
from recipes.transaction.resolving import end_orphans, release_participant, resolve
from recipes.transaction.stages import CommitProtocol
from recipes.transaction.survey import TransactionState, find_orphans, find_transaction, read_fleets
from tests.queue.conftest import SECONDS, until
from tests.transaction.faults import doing
from tests.transaction.unproved import commit_unproved

pytestmark = pytest.mark.anyio


@pytest.fixture
def parties():
    return {"a": MemoryParticipant(), "b": MemoryParticipant()}


async def leave_undecided(hosts, root, parties):
    """A coordinator dies while it asks: "a" is prepared, and "b" where its answer is all that is missing."""
    prepared = anyio.Event()

    async def hang():
        prepared.set()
        await anyio.sleep_forever()

    parties["b"].after = doing(Request.PREPARE, hang)
    async with connect(hosts) as dying, anyio.create_task_group() as group:
        coordinator = Coordinator(dying, root, participants=parties, serve=False)
        await coordinator.__aenter__()
        tx = coordinator.begin(deadline=60)

        async def transact():
            async with tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2

        async def ignore():
            try:
                await transact()
            except Exception:  # it is in doubt
                pass

        group.start_soon(ignore)
        with anyio.fail_after(SECONDS):
            await prepared.wait()
        async with connect(hosts) as other:
            _, seen = await find_transaction(other, root, tx.id)
            assert seen.state is TransactionState.UNDER_WAY
        await expire_session(dying, hosts)
    parties["b"].after = None
    return tx.id


async def test_an_operator_sees_what_is_there_and_commits_what_all_have_prepared(hosts, client, root, parties):
    transaction = await leave_undecided(hosts, root, parties)
    (fleet,) = await read_fleets(client, root)
    (seen,) = fleet.transactions
    assert (fleet.home.name, fleet.home.participants, fleet.coordinators) == ("default", ("a", "b"), 0)
    assert (seen.state, seen.record.id, seen.record.branches) == (TransactionState.IN_DOUBT, transaction, ("a", "b"))
    assert await find_orphans(client, root, parties) == []
    with pytest.raises(BadArguments, match="commit needs proof that 'a' is prepared"):
        await resolve(client, root, transaction, Decision.COMMIT)
    without = {"a": parties["a"], "b": MemoryParticipant()}
    with pytest.raises(BadArguments, match="cannot commit: 'b' is not prepared"):
        await resolve(client, root, transaction, Decision.COMMIT, participants=without)
    record = await resolve(client, root, transaction, Decision.COMMIT, participants=parties)
    assert record.decision is Decision.COMMIT
    assert await resolve(client, root, transaction, Decision.COMMIT) == record
    with pytest.raises(BadArguments, match="commit is decided, and a decision never changes"):
        await resolve(client, root, transaction, Decision.ABORT)
    async with Coordinator(client, root, participants=parties) as coordinator:

        async def settled():
            return not (await read_fleets(client, root))[0].transactions

        await until(settled)
        assert (parties["a"].values, parties["b"].values) == ({"x": 1}, {"x": 2})
        stats = coordinator.stats()
        assert (stats.serving, stats.left, stats.recovered) == (True, 0, 1)
        assert "recipes_transactions_recovered_total 1\n" in stats.prometheus()


async def test_an_operator_is_not_told_an_outcome_of_what_was_settled_meanwhile(
    hosts, client, root, parties, monkeypatch
):
    transaction = await leave_undecided(hosts, root, parties)
    home, _ = await find_transaction(client, root, transaction)
    recover = parties["b"].recover

    async def settle_and_recover():
        await client.delete(f"{home.records}/{transaction}")  # its coordinator has committed, and removed it
        return await recover()

    monkeypatch.setattr(parties["b"], "recover", settle_and_recover)
    with pytest.raises(UnknownTransaction, match="settled meanwhile"):
        await resolve(client, root, transaction, Decision.COMMIT, participants=parties)


async def test_an_operator_aborts_under_a_coordinator_that_lives(client, root, parties):
    async with Coordinator(client, root, participants=parties) as coordinator:

        async def operator():
            await resolve(client, root, tx.id, Decision.ABORT)

        parties["b"].before = doing(Request.PREPARE, operator)
        tx = coordinator.begin()
        with pytest.raises(TransactionAborted, match="an operator decided"):
            async with tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2
        assert parties["a"].values == parties["b"].values == {}
        stats = coordinator.stats()
        assert (stats.committed, stats.aborted, stats.in_doubt, stats.under_way) == (0, 1, 0, 0)


async def test_a_participant_that_is_gone_for_good_is_waited_for_no_longer(hosts, client, root, parties):
    async def fail():
        raise OSError("the disk is gone")

    async with connect(hosts) as dying:
        coordinator = Coordinator(dying, root, participants=parties, serve=False)
        await coordinator.__aenter__()
        parties["b"].before = doing(Request.COMMIT, fail)
        tx = await commit_unproved(coordinator, {"a": {"x": 1}, "b": {"x": 2}})
        assert coordinator.stats().unsettled == 1
    with pytest.raises(BadArguments, match="does not wait for 'c': it waits for a, b"):
        await release_participant(client, root, tx.id, "c")
    record = await release_participant(client, root, tx.id, "b")
    assert record.branches == ("a",)
    async with Coordinator(client, root, participants=parties):

        async def settled():
            return not (await read_fleets(client, root))[0].transactions

        await until(settled)
    assert parties["a"].values == {"x": 1}


async def test_orphans_are_told_apart_and_ended_only_when_an_operator_says_so(client, root, parties):
    async with Coordinator(client, root, participants=parties) as coordinator:
        fleet = coordinator.fleet
    lost = BranchId(fleet, "7-0000000000000001", "a")
    foreign = Prepared("somebody's own", None, 3.0, ("RowExclusiveLock accounts",))
    other = BranchId("00000000", "7-0000000000000002", "a")
    for branch in (lost, other):
        (await parties["a"].begin(branch))[branch.fleet] = 1
        assert await parties["a"].prepare(branch) is Answer.PREPARED

    async def prepared():
        return [*(Prepared(str(each), each, None, ()) for each in await parties["a"].recover()), foreign]

    parties["a"].prepared = prepared
    found = await find_orphans(client, root, parties)
    assert [(each.prepared.id, each.why) for each in found] == [
        (str(lost), "there is no record of its transaction"),
        (str(other), f"of the fleet 00000000, which has no record at {root}"),
        ("somebody's own", "not prepared by recipes: its own transaction manager ends it"),
    ]
    (home,) = [each.home for each in await read_fleets(client, root)]
    with pytest.raises(UnknownTransaction, match="prepared at none of a, b"):
        await end_orphans(home, "7-0000000000000002", Decision.ABORT, parties)
    assert await end_orphans(home, lost.transaction, Decision.ABORT, parties) == {"a": ""}
    assert parties["a"].states == {lost: BranchState.ABORTED, other: BranchState.PREPARED}


async def test_what_is_not_there_is_named(client, root, parties):
    async with Coordinator(client, root, participants=parties) as coordinator:
        with pytest.raises(UnknownTransaction, match=r"1-ff.*no record"):
            await coordinator.join("1-ff", "a")
        assert set(parties["a"].states.values()) == {BranchState.ABORTED}  # what had begun there was undone
        with pytest.raises(BadArguments, match="'c' is no participant"):
            await coordinator.join("1-ff", "c")
    with pytest.raises(UnknownTransaction, match="1-ff"):
        await resolve(client, root, "1-ff", Decision.ABORT)
    with pytest.raises(BadArguments, match="name='mine': expected a fleet at this path: default"):
        await read_fleets(client, root, "mine")


async def test_records_that_an_operator_may_not_read_are_refused_as_any_znode(client, root, parties):
    async with Coordinator(client, root, participants=parties):
        (fleet,) = await read_fleets(client, root)
        for number in (1, 2):
            await client.create(f"{fleet.home.records}/{number}-ff", b"", acl=[ACL(Perms.ADMIN, Id("world", "anyone"))])
        with pytest.raises(NoAuth, match="-ff"):
            await read_fleets(client, root)


async def test_u41_a_participant_that_joins_while_others_are_asked_is_asked_too(client, root, parties):
    parties |= {"c": MemoryParticipant()}
    async with Coordinator(client, root, participants=parties) as coordinator:

        async def join():
            if not parties["c"].states:
                (await coordinator.join(tx.id, "c"))["x"] = 3

        parties["b"].before = doing(Request.PREPARE, join)
        tx = coordinator.begin()
        async with tx:
            (await tx.enlist("a"))["x"] = 1
            (await tx.enlist("b"))["x"] = 2
        assert parties["c"].values == {"x": 3}

        late = []

        async def too_late():
            if not late:
                with pytest.raises(TransactionAborted, match="c joined too late: commit was decided"):
                    await coordinator.join(second.id, "c")
                late.append(1)

        parties["b"].before = doing(Request.COMMIT, too_late)
        second = coordinator.begin()
        async with second:
            (await second.enlist("b"))["y"] = 1
        assert late
        assert parties["c"].values == {"x": 3}


async def test_a_participant_that_takes_part_already_cannot_join(client, root, parties):
    """It may have voted, and then nobody would ever ask it about the work that is added."""
    async with Coordinator(client, root, participants=parties) as coordinator:
        begun = []

        async def join():
            with pytest.raises(BadArguments, match=f"'b' takes part in {tx.id} already, and may have voted"):
                (await coordinator.join(tx.id, "b"))["lost"] = 1
            begun.append(dict(parties["b"]._working))

        parties["b"].after = doing(Request.PREPARE, join)
        async with coordinator.begin() as tx:
            (await tx.enlist("a"))["x"] = 1
            (await tx.enlist("b"))["x"] = 2
        assert (begun, parties["b"].values) == ([{}], {"x": 2})
        records = Records(client, f"{root}/default/records")
        await records.write(Record("1-2", CommitProtocol.TWO_PHASE, ("a",), "", 1.0), root)
        assert (await records.join("1-2", "b")).branches == ("a", "b")
        with pytest.raises(BadArguments, match="already"):
            await records.join("1-2", "b")


async def test_a_join_that_learns_late_that_its_participant_has_voted_undoes_nothing(client, root, parties):
    async with Coordinator(client, root, participants=parties) as coordinator:
        read = coordinator._records.read
        stale = [None]  # a server that lags behind answers the first read

        async def read_stale(transaction):
            return stale.pop() if stale else await read(transaction)

        async def join():
            coordinator._records.read = read_stale
            with pytest.raises(BadArguments, match="takes part"):
                await coordinator.join(tx.id, "b")

        parties["b"].after = doing(Request.PREPARE, join)
        async with coordinator.begin() as tx:
            (await tx.enlist("a"))["x"] = 1
            (await tx.enlist("b"))["x"] = 2
        assert (stale, parties["b"].values) == ([], {"x": 2})
