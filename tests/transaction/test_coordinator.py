"""Coordinators on real servers, with participants in memory that do as they are told."""

import anyio
import pytest

from recipes import (
    ACL,
    BadArguments,
    Id,
    Perms,
    QuotaExceeded,
    SessionExpired,
    SettingsDiffer,
    TransactionAborted,
    TransactionInDoubt,
    UnknownTransaction,
    connect,
)
from recipes.testing.expire import expire_session
from recipes.transaction.branch import Answer, BranchState, Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.memory import MemoryParticipant
from recipes.transaction.record import Record
from recipes.transaction.stages import CommitProtocol
from tests.queue.conftest import SECONDS, until
from tests.transaction.faults import doing
from tests.transaction.unproved import commit_unproved

pytestmark = pytest.mark.anyio


class Mine(Exception):
    pass


def two():
    return {"a": MemoryParticipant(), "b": MemoryParticipant()}


async def records(client, root):
    return await client.children(f"{root}/default/records")


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
async def test_all_commit_and_nothing_stays_behind(client, root, protocol):
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        async with coordinator.begin(protocol=protocol) as tx:
            (await tx.enlist("a"))["x"] = 1
            (await tx.enlist("b"))["x"] = 2
            assert tx.outcome is None
        assert (tx.outcome, dict(tx.unsettled)) == ("commit", {})
        assert (parties["a"].values, parties["b"].values) == ({"x": 1}, {"x": 2})

        async def clean():
            return not await records(client, root) and not parties["a"].states

        await until(clean)
    asked = [request for request, _ in parties["a"].requests]
    first = [Request.PREPARE] if protocol == "2pc" else [Request.CAN_COMMIT, Request.PREPARE]
    assert asked == [*first, Request.COMMIT, Request.FORGET]


async def test_an_exception_aborts_and_comes_out_and_writes_nothing(client, root):
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        stat = await client.exists(f"{root}/default/records")
        with pytest.raises(Mine):
            async with coordinator.begin() as tx:
                (await tx.enlist("a"))["x"] = 1
                raise Mine
        assert tx.outcome == "abort"
        assert parties["a"].values == {}
        assert [request for request, _ in parties["a"].requests] == [Request.ABORT]
        assert (await client.exists(f"{root}/default/records")).cversion == stat.cversion


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer.REFUSED, "b: it will not commit"),
        (Answer.UNKNOWN, "b: nobody knows"),
        ("yes", "b: it answered 'yes', which is none of"),
        (Answer.COMMITTED, "b: proof that its work lasts"),
    ],
)
async def test_a_vote_that_is_no_clear_yes_aborts_all(client, root, answer, why):
    parties = two()

    async def say():
        return answer

    parties["b"].before = doing(Request.PREPARE, say)
    async with Coordinator(client, root, participants=parties) as coordinator:
        with pytest.raises(TransactionAborted, match=why):
            async with coordinator.begin() as tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2
    assert tx.outcome == "abort"
    assert parties["a"].values == parties["b"].values == {}
    assert set(parties["a"].states.values()) == {BranchState.ABORTED}


async def test_a_participant_that_raises_or_hangs_aborts_and_is_named(client, root):
    parties = two()

    async def fail():
        raise OSError("no route to host")

    parties["b"].before = doing(Request.PREPARE, fail)
    async with Coordinator(client, root, participants=parties) as coordinator:
        with pytest.raises(TransactionAborted, match="b: OSError: no route to host"):
            async with coordinator.begin() as tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2
        parties["b"].before = doing(Request.PREPARE, anyio.sleep_forever)
        with pytest.raises(TransactionAborted, match=r"b: no answer within [0-9.]+ s"):
            async with coordinator.begin(deadline=1.0) as tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2
    assert parties["a"].values == {}


async def test_a_block_that_takes_too_long_is_cancelled(client, root):
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        with pytest.raises(TransactionAborted, match="time is up"):
            async with coordinator.begin(deadline=0.1) as tx:
                (await tx.enlist("a"))["x"] = 1
                await anyio.sleep_forever()
    assert parties["a"].values == {}


async def test_a_commit_that_is_not_proved_in_time_stands_and_is_named(client, root):
    parties = two()

    async def fail():
        raise OSError("away")

    parties["b"].before = doing(Request.COMMIT, fail)
    async with Coordinator(client, root, participants=parties) as coordinator:
        async with coordinator.begin(deadline=2.0) as tx:
            (await tx.enlist("a"))["x"] = 1
            (await tx.enlist("b"))["x"] = 2
        assert tx.outcome == "commit"
        assert dict(tx.unsettled) == {"b": "OSError: away"}
        assert (parties["a"].values, parties["b"].values) == ({"x": 1}, {})
        parties["b"].before = None

        async def settled():
            return parties["b"].values == {"x": 2} and not await records(client, root)

        await until(settled)
        assert not tx.unsettled


async def test_a_block_that_is_cancelled_aborts(client, root):
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        with anyio.CancelScope() as scope:
            async with coordinator.begin() as tx:
                (await tx.enlist("a"))["x"] = 1
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

        async def aborted():
            return set(parties["a"].states.values()) == {BranchState.ABORTED}

        await until(aborted)
        assert tx.outcome == "abort"


async def test_what_a_dead_coordinator_left_undecided_is_aborted_by_another(hosts, client, root):
    """One weakness of two-phase commit as it is taught: participants that wait for a coordinator that never returns."""
    parties = two()
    prepared = anyio.Event()

    async def hang():
        prepared.set()
        await anyio.sleep_forever()

    parties["b"].before = doing(Request.PREPARE, hang)
    async with connect(hosts) as dying:
        async with anyio.create_task_group() as group:

            async def transact():
                coordinator = Coordinator(dying, root, participants=parties, serve=False)
                await coordinator.__aenter__()
                with pytest.raises(TransactionInDoubt):
                    async with coordinator.begin(deadline=60) as tx:
                        (await tx.enlist("a"))["x"] = 1
                        (await tx.enlist("b"))["x"] = 2

            group.start_soon(transact)
            with anyio.fail_after(SECONDS):
                await prepared.wait()
            await expire_session(dying, hosts)
    assert BranchState.PREPARED in parties["a"].states.values()
    parties["b"].before = None
    async with Coordinator(client, root, participants=parties):

        async def settled():
            return not await records(client, root)

        await until(settled)
    assert set(parties["a"].states.values()) == {BranchState.ABORTED}


async def test_a_decision_of_a_dead_coordinator_is_carried_out_by_another(hosts, client, root):
    """Another one: a coordinator that dies in the second phase, when some have heard of its decision and some not."""
    parties = two()

    async def fail():
        raise OSError("away")

    parties["b"].before = doing(Request.COMMIT, fail)
    async with connect(hosts) as dying:
        coordinator = Coordinator(dying, root, participants=parties, serve=False)
        await coordinator.__aenter__()
        tx = await commit_unproved(coordinator, {"a": {"x": 1}, "b": {"x": 2}})
        assert "b" in tx.unsettled
    parties["b"].before = None
    async with Coordinator(client, root, participants=parties):

        async def settled():
            return not await records(client, root)

        await until(settled)
    assert parties["b"].values == {"x": 2}


async def test_u40_a_deposed_coordinator_cannot_decide(hosts, client, root):
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        asked = anyio.Event()

        async def remove_ours():
            # As at the end of its session, which it has not heard of yet.
            (own,) = await client.children(f"{root}/default/coordinators")
            await client.delete(f"{root}/default/coordinators/{own}")
            asked.set()

        parties["b"].before = doing(Request.PREPARE, remove_ours)
        with pytest.raises(TransactionInDoubt):
            async with coordinator.begin() as tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2
        assert asked.is_set()
        assert tx.outcome is None

        async def settled():
            return not await records(client, root)

        await until(settled)
    assert parties["a"].values == parties["b"].values == {}


async def test_a_coordinator_goes_with_its_session_also_where_the_client_goes_on(hosts, root):
    parties = two()
    async with connect(hosts, renew=True) as client, Coordinator(client, root, participants=parties) as coordinator:
        number = client.session_id
        await expire_session(client, hosts)
        with anyio.fail_after(SECONDS):
            await client.outlive(number)
            with pytest.raises(SessionExpired):
                coordinator.begin()  # at once: else a loop that tries aborted transactions again would never end
        async with Coordinator(client, root, participants=parties) as another:
            async with another.begin() as tx:
                (await tx.enlist("a"))["x"] = 2
        assert parties["a"].values == {"x": 2}


async def test_a_branch_of_which_nobody_knows_whether_it_has_joined_is_not_undone(client, root):
    """It may have been asked, and have voted yes, by then."""
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        join = coordinator._records.join

        async def lost(*arguments):
            await join(*arguments)
            raise SessionExpired(path=root)

        record = Record("1-1", CommitProtocol.TWO_PHASE, ("a",), coordinator._own, 60.0)
        await client.create(f"{root}/default/records/1-1", record.encode())
        coordinator._records.join = lost
        with pytest.raises(SessionExpired):
            await coordinator.join("1-1", "b")
        assert parties["b"].requests == []
        coordinator._records.join = join
        with pytest.raises(UnknownTransaction):
            await coordinator.join("1-2", "b")
        assert [request for request, _ in parties["b"].requests] == [Request.ABORT]


async def test_bad_input_is_named(client, root):
    with pytest.raises(BadArguments, match=r"participants=\{\}"):
        Coordinator(client, root, participants={})
    with pytest.raises(BadArguments, match="the name 'a b'"):
        Coordinator(client, root, participants={"a b": MemoryParticipant()})
    async with Coordinator(client, root, participants=two()) as coordinator:
        with pytest.raises(BadArguments, match="protocol='4pc'"):
            coordinator.begin(protocol="4pc")
        with pytest.raises(BadArguments, match="deadline=0"):
            coordinator.begin(deadline=0)
        with pytest.raises(BadArguments, match=r"'c' is no participant.*a, b"):
            async with coordinator.begin() as tx:
                await tx.enlist("c")
        with pytest.raises(SettingsDiffer, match=r"participants=a,b.*participants=a,c"):
            async with Coordinator(client, root, participants={"a": MemoryParticipant(), "c": MemoryParticipant()}):
                pass
        async with Coordinator(client, root, participants=two(), name="another") as other:
            assert other.fleet != coordinator.fleet
    with pytest.raises(RuntimeError, match="inside"):
        coordinator.begin()


async def test_a_store_that_refuses_the_record_aborts_and_is_named(client, root):
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        everything_but_create = [ACL(Perms.ALL & ~Perms.CREATE, Id("world", "anyone"))]
        await client.set_acl(f"{root}/default/records", everything_but_create)
        with pytest.raises(TransactionAborted, match="The ACL does not permit this"):
            async with coordinator.begin() as tx:
                (await tx.enlist("a"))["x"] = 1
                (await tx.enlist("b"))["x"] = 2
        assert tx.outcome == "abort"
        assert set(parties["a"].states.values()) == {BranchState.ABORTED}


async def test_a_decision_that_the_store_refuses_for_a_while_is_written_later(client, root):
    parties = two()
    async with Coordinator(client, root, participants=parties) as coordinator:
        decide, refusals = coordinator._records.decide, []

        async def refuse_at_first(*arguments):
            if len(refusals) < 2:
                refusals.append(arguments)
                raise QuotaExceeded(f"{root}/default")
            return await decide(*arguments)

        coordinator._records.decide = refuse_at_first
        async with coordinator.begin(deadline=SECONDS) as tx:
            (await tx.enlist("a"))["x"] = 1
            (await tx.enlist("b"))["x"] = 2
        assert (tx.outcome, len(refusals)) == ("commit", 2)
        assert parties["a"].values == {"x": 1}


async def test_an_error_beside_the_deadline_leaves_no_branch_open(client, root):
    parties = two()

    async def fail_at_the_end():
        try:
            await anyio.sleep_forever()
        finally:
            raise Mine

    async with Coordinator(client, root, participants=parties) as coordinator:
        with pytest.RaisesGroup(Mine):
            async with coordinator.begin(deadline=0.1) as tx:
                (await tx.enlist("a"))["x"] = 1
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep_forever)
                    group.start_soon(fail_at_the_end)

        async def is_undone():
            return [request for request, _ in parties["a"].requests][:1] == [Request.ABORT]

        await until(is_undone)
        assert tx.outcome == "abort"
