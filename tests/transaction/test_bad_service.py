"""What a coordinator makes of a service over HTTP that is bad, dies, or has a coordinator that is gone."""

import logging
import re

import anyio
import pytest

from recipes import (
    BranchId,
    Coordinator,
    FileParticipant,
    MemoryParticipant,
    Termination,
    TransactionAborted,
    TransactionInDoubt,
    branch_of,
    connect,
    participant_app,
)
from recipes.testing.expire import expire_session
from recipes.transaction.branch import BranchState, Request
from recipes.transaction.survey import TransactionState, find_transaction
from tests.queue.conftest import SECONDS, until
from tests.transaction.services import reached

pytest.importorskip("httpx", reason="needs httpx")

pytestmark = pytest.mark.anyio


def at(wanted, deed):
    async def fault(request, branch):
        return await deed(branch) if request is wanted else None

    return fault


async def raises(branch):
    raise OSError("away")


async def hangs(branch):
    await anyio.sleep_forever()


@pytest.mark.thorough  # a second of a processor; without HTTP test_coordinator.py has them
@pytest.mark.parametrize("deed", [raises, hangs])
@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
async def test_a_bad_participant_in_the_first_phase_aborts_all(our_server, root, service, protocol, deed):
    request = Request.PREPARE if protocol == "2pc" else Request.CAN_COMMIT
    memory, local = MemoryParticipant(before=at(request, deed)), MemoryParticipant()
    service.app = participant_app(memory, name="svc")
    limit = 0.5 if deed is hangs else SECONDS
    async with connect(our_server.hosts) as client, reached(service.url, timeout=limit) as remote:
        parties = {"svc": remote, "local": local}
        async with Coordinator(client, root, participants=parties) as coordinator:
            why = "svc: OSError: away" if deed is raises else "svc: .* no answer within 0.5 s"
            with pytest.raises(TransactionAborted, match=why):
                async with coordinator.begin(protocol=protocol) as tx:
                    branch = branch_of((await tx.enlist("svc")).headers)
                    (await memory.begin(branch))["x"] = 1
                    (await tx.enlist("local"))["x"] = 1
    assert (memory.values, local.values) == ({}, {})


@pytest.mark.parametrize(
    "protocol", ["2pc", pytest.param("3pc", marks=pytest.mark.thorough)]
)  # the same but for a name
async def test_a_service_that_repeats_loses_and_mixes_up_answers_commits_once_and_only_on_proof(
    our_server, root, service, protocol
):
    """It votes twice, answers for another transaction, and is away in the second phase, one behind the other."""
    memory, local = MemoryParticipant(), MemoryParticipant()
    proper = participant_app(memory, name="svc")
    wrong = iter(["another's", "page", "broken", "lost"])

    async def nothing():
        return {"type": "http.request"}

    async def app(scope, receive, send):
        if not scope["path"].endswith("/commit"):
            if scope["path"].endswith(("/prepare", "/pre_commit")):
                await proper(scope, nothing, lambda message: anyio.sleep(0))
            return await proper(scope, receive, send)
        match next(wrong, None):
            case "another's":
                scope = scope | {"path": scope["path"].replace("-", "-0", 1)}
            case "page":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return await send({"type": "http.response.body", "body": b"<html>Welcome</html>"})
            case "broken":
                raise OSError("the service is killed before it commits")
            case "lost":
                await proper(scope, receive, lambda message: anyio.sleep(0))
                raise OSError("the service is killed before it answers")
        await proper(scope, receive, send)

    service.app = app
    async with connect(our_server.hosts) as client, reached(service.url) as remote:
        async with Coordinator(client, root, participants={"svc": remote, "local": local}) as coordinator:
            async with coordinator.begin(protocol=protocol, deadline=SECONDS) as tx:
                branch = branch_of((await tx.enlist("svc")).headers)
                (await memory.begin(branch))["x"] = 1
                (await tx.enlist("local"))["x"] = 1
            assert (tx.outcome, dict(tx.unsettled)) == ("commit", {})
            assert (memory.values, local.values) == ({"x": 1}, {"x": 1})

            async def forgotten():
                return branch not in memory.states

            with anyio.fail_after(SECONDS):
                await until(forgotten)
    asked = [request for request, whose in memory.requests if whose == branch]
    assert asked.count(Request.COMMIT) == 2  # one answer was lost
    assert next(wrong, None) is None


@pytest.mark.parametrize(
    ("protocol", "phase"),
    [
        ("2pc", "prepare"),
        ("2pc", "commit"),
        # The same steps of the participant by other names.
        pytest.param("3pc", "can_commit", marks=pytest.mark.thorough),
        pytest.param("3pc", "pre_commit", marks=pytest.mark.thorough),
    ],
)
async def test_a_service_whose_process_ends_in_a_phase_keeps_its_word(
    our_server, root, service, tmp_path, protocol, phase
):
    """A file-backed one: the next process opens it, and knows no work, but all votes."""
    files, local = FileParticipant(tmp_path), MemoryParticipant()
    await files.open()
    proper = participant_app(files, name="svc")
    ended = []

    async def app(scope, receive, send):
        if scope["path"].endswith(f"/{phase}") and not ended:
            ended.append(phase)
            await files.aclose()
            await files.open()
        await proper(scope, receive, send)

    service.app = app
    async with connect(our_server.hosts) as client, reached(service.url, timeout=SECONDS) as remote:
        async with Coordinator(client, root, participants={"svc": remote, "local": local}) as coordinator:

            async def transact():
                async with coordinator.begin(protocol=protocol, deadline=SECONDS) as tx:
                    branch = branch_of((await tx.enlist("svc")).headers)
                    (await files.begin(branch)).write("x", b"1")
                    (await tx.enlist("local"))["x"] = 1

            if phase == "commit":
                await transact()
                assert (await files.read("x"), local.values) == (b"1", {"x": 1})
            else:
                with pytest.raises(TransactionAborted, match="svc: nothing is known here of the work of the branch"):
                    await transact()
                assert (await files.read("x"), local.values) == (None, {})
                assert set(local.states.values()) <= {BranchState.ABORTED}
    await files.aclose()
    assert ended == [phase]


@pytest.mark.parametrize(
    ("status", "to_do"),
    [(401, "the token of the service"), (403, "a token that the service accepts"), (404, "the url")],
)
async def test_a_service_that_refuses_is_told_once_and_the_transaction_waits_for_it(
    our_server, root, service, caplog, status, to_do
):
    """As when its token was changed: what is decided stays decided, and is shown, until somebody puts it right."""
    memory, local, asked = MemoryParticipant(), MemoryParticipant(), []
    proper, refuses = participant_app(memory, name="svc"), True

    async def app(scope, receive, send):
        if not (refuses and scope["path"].endswith("/commit")):
            return await proper(scope, receive, send)
        asked.append(status)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b'{"error": "no"}'})

    async def asked_often():
        return len(asked) > 3

    service.app = app
    caplog.set_level(logging.WARNING, "recipes.transaction")
    async with connect(our_server.hosts) as client, reached(service.url, token="s3cret") as remote:
        async with Coordinator(client, root, participants={"svc": remote, "local": local}) as coordinator:
            tx = coordinator.begin(deadline=SECONDS)

            async def transact():
                async with tx:
                    branch = branch_of((await tx.enlist("svc")).headers)
                    (await memory.begin(branch))["x"] = 1
                    (await tx.enlist("local"))["x"] = 1

            with anyio.fail_after(SECONDS):
                async with anyio.create_task_group() as group:
                    group.start_soon(transact)
                    await until(asked_often)
                    _, seen = await find_transaction(client, root, tx.id)
                    assert (seen.state, seen.record.branches) == (TransactionState.COMMITTING, ("svc", "local"))
                    refuses = False
        assert tx.outcome == "commit"
        (told,) = caplog.records
        assert told.levelname == "ERROR"
        expected = (
            f"the participant svc at {service.url} refuses, its transactions wait: it answered {status}: no: .* {to_do}"
        )
        assert re.match(expected, told.getMessage())
        assert "s3cret" not in caplog.text
        assert memory.values == {"x": 1}
        refuses = True  # another time is another change
        await remote.commit(BranchId("0000abcd", "1-1", "svc"))
        assert len(caplog.records) == 2


@pytest.mark.thorough  # tests of Termination have it with participants in memory
@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
async def test_a_service_whose_coordinator_is_gone_asks_the_record_by_itself(
    our_server, root, service, tmp_path, protocol
):
    files, prepared = FileParticipant(tmp_path), anyio.Event()
    await files.open()
    service.app = participant_app(files, name="svc")

    async def hang(branch):
        prepared.set()
        await anyio.sleep_forever()

    parties = {"local": MemoryParticipant(before=at(Request.PREPARE, hang))}
    async with connect(our_server.hosts) as dying, reached(service.url, timeout=SECONDS) as remote:
        async with anyio.create_task_group() as group:

            async def transact():
                coordinator = Coordinator(dying, root, participants=parties | {"svc": remote}, serve=False)
                await coordinator.__aenter__()
                with pytest.raises(TransactionInDoubt):
                    async with coordinator.begin(protocol=protocol, deadline=SECONDS) as tx:
                        branch = branch_of((await tx.enlist("svc")).headers)
                        (await files.begin(branch)).write("x", b"1")
                        (await tx.enlist("local"))["x"] = 1

            async def voted():
                return bool(await files.recover())

            group.start_soon(transact)
            with anyio.fail_after(SECONDS):
                await prepared.wait()
                await until(voted)
            await expire_session(dying, our_server.hosts)

    async def ended():
        return not await files.recover()

    async with connect(our_server.hosts) as client, Termination(client, root, {"svc": files}, after=0.1):
        with anyio.fail_after(SECONDS):
            await until(ended)
    assert await files.read("x") is None
    assert await files.keys() == []
    await files.aclose()
