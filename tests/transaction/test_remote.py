"""A participant over HTTP: what a service answers, whoever asks."""

import json
import logging
import ssl
import sys

import anyio
import anyio.lowlevel
import pytest
import trustme

from recipes import (
    Answer,
    BadArguments,
    BranchId,
    CommitProtocol,
    FileParticipant,
    MemoryParticipant,
    ParticipantError,
    RemoteParticipant,
    branch_of,
    participant_app,
)
from recipes.transaction.branch import STEPS, BranchState, Reply
from recipes.transaction.service import WHY_CHARACTERS
from tests.queue.conftest import SECONDS
from tests.transaction.services import Service, raw, reached
from tests.transaction.test_participants import BEFORE, METHODS

pytest.importorskip("httpx", reason="needs httpx")

pytestmark = pytest.mark.anyio

BRANCH = BranchId("0000abcd", "1-1", "svc")
OTHER = BranchId("0000abcd", "1-2", "svc")


async def answered(service, body, status=200, kind="application/json"):
    """Let the service give this answer to everything; what a RemoteParticipant makes of it."""

    async def app(scope, receive, send):
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if isinstance(body, bytes) else body.encode()})

    service.app = app
    async with reached(service.url) as participant:
        return await participant.commit(BRANCH)


@pytest.mark.parametrize("answer", Answer)
async def test_every_answer_goes_over_unharmed(service, answer):
    async def say(request, branch):
        return answer

    service.app = participant_app(MemoryParticipant(before=say))
    async with reached(service.url) as participant:
        for method in ("can_commit", "prepare", "pre_commit", "commit", "abort", "forget"):
            assert await getattr(participant, method)(BRANCH) == Reply(answer)
    assert service.asked == [
        ("POST", f"/branches/{BRANCH}/{method}")
        for method in ("can_commit", "prepare", "pre_commit", "commit", "abort", "forget")
    ]


async def test_every_error_and_reason_goes_over_unharmed(service, tmp_path):
    async def fail(request, branch):
        raise OSError("no route to the ledger")

    service.app = participant_app(MemoryParticipant(before=fail))
    async with reached(service.url) as participant:
        assert await participant.prepare(BRANCH) == (Answer.UNKNOWN, "OSError: no route to the ledger")

        async def fail_at_length(request, branch):
            raise OSError("x" * 10_000)

        service.app = participant_app(MemoryParticipant(before=fail_at_length))
        assert len((await participant.prepare(BRANCH)).why) < WHY_CHARACTERS + 10

        closed = FileParticipant(tmp_path)
        await closed.aclose()
        service.app = participant_app(closed)
        why = (await participant.prepare(BRANCH)).why
        assert why.startswith("RuntimeError: ")
        with pytest.raises(ParticipantError, match=r"500.*RuntimeError"):
            await participant.recover()


async def test_branches_are_prepared_there_and_who_waits_is_told_here(service, tmp_path):
    files = FileParticipant(tmp_path)
    await files.open()
    service.app = participant_app(files, name="svc")
    async with reached(service.url) as participant:
        await participant.open()
        branch = await participant.begin(BRANCH)
        (await files.begin(branch_of(branch.headers))).write("x", b"1")
        (await files.begin(OTHER)).write("x", b"2")
        assert await participant.prepare(BRANCH) == (Answer.PREPARED, "")
        assert await participant.pre_commit(OTHER) == (Answer.REFUSED, f"'x' is locked by the branch {BRANCH}")
        assert await participant.recover() == [BRANCH]
        (waiting,) = await participant.waiting()
        assert (waiting.branch, waiting.protocol) == (BRANCH, CommitProtocol.TWO_PHASE)
        assert 0 <= waiting.seconds < 120
        (listed,) = await participant.prepared()
        assert listed == (str(BRANCH), BRANCH, listed.age, ("the key 'x'",))
        assert 0 <= listed.age < 120
        assert await participant.commit(BRANCH) == (Answer.COMMITTED, "")
        assert (await participant.abort(BRANCH)).answer is Answer.CONTRADICTION
    assert await files.read("x") == b"1"
    await files.aclose()


@pytest.mark.parametrize("state", BranchState)
async def test_each_state_and_request_is_answered_over_http_as_without(service, state):
    memory = MemoryParticipant()
    service.app = participant_app(memory)
    async with reached(service.url) as participant:
        for number, request in enumerate(METHODS):
            branch = BRANCH._replace(transaction=f"1-{number:x}")
            (await memory.begin(branch))[f"key {number}"] = 1
            for before in BEFORE[state]:
                await memory._serve(before, branch)
            expected = STEPS[state, request]
            assert (await getattr(participant, METHODS[request])(branch)).answer is expected.answer
            assert (branch in await participant.recover()) is (expected.state is BranchState.PREPARED)


async def test_requests_that_are_cancelled_at_any_point_are_in_nobodys_way(service):
    async def wait(request, branch):
        await anyio.sleep(0.001)

    service.app = participant_app(MemoryParticipant(before=wait))
    async with reached(service.url, timeout=SECONDS) as participant:
        for steps in range(0, 60, 4):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(participant.commit, BRANCH)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        for _ in range(3):
            assert await participant.commit(BRANCH) == Reply(Answer.UNKNOWN)


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ("<html>Bad gateway</html>", 502, "it answered 502: <html>Bad gateway</html>"),
        ("ERROR: deadlock detected", 200, "it answered 200: ERROR: deadlock detected"),
        ('"COMMITTED"', 200, "it answered 200: COMMITTED"),
        ('{"answer": "COMMITTED"}', 200, "it answered 200: {'answer': 'COMMITTED'}"),
        (json.dumps({"branch": str(BRANCH), "answer": "committed"}), 200, "'answer': 'committed'"),
        (json.dumps({"branch": str(BRANCH), "answer": ["COMMITTED"]}), 200, "'answer': ['COMMITTED']"),
        (json.dumps({"branch": str(BRANCH), "answer": "COMMITTED"}), 500, "it answered 500: {'branch': "),
        (json.dumps({"branch": str(OTHER), "answer": "COMMITTED"}), 200, f"answered for another transaction: {OTHER}"),
        ("", 200, "it answered 200"),
        ("", 301, "it answered 301"),
        (b"\xff\xfe\0", 200, "it answered 200"),
        ("[" * 100_000, 200, "it answered 200"),
        ("x" * 5_000_000, 200, "more than 4194304 bytes"),
    ],
)
async def test_u42_an_answer_that_is_not_understood_counts_as_unknown(service, body, status, why):
    reply = await answered(service, body, status)
    assert reply.answer is Answer.UNKNOWN
    assert why in reply.why
    assert len(reply.why) < WHY_CHARACTERS + 100


async def test_silence_and_a_service_that_is_away_count_as_unknown(service, silent_port):
    async def hang(request, branch):
        await anyio.sleep_forever()

    service.app = participant_app(MemoryParticipant(before=hang), limit_seconds=0.5)
    async with reached(service.url, timeout=0.05) as participant:
        assert "no answer within 0.05 s" in (await participant.commit(BRANCH)).why
    async with reached(service.url, timeout=SECONDS) as participant:  # the service gives up, and says so
        assert await participant.commit(BRANCH) == (Answer.UNKNOWN, "no answer within 0.5 s")
    async with reached(f"http://127.0.0.1:{silent_port}") as participant:
        reply = await participant.commit(BRANCH)
        assert (reply.answer, "ConnectError" in reply.why) == (Answer.UNKNOWN, True)
        with pytest.raises(ParticipantError, match="ConnectError"):
            await participant.recover()


async def test_a_connection_that_breaks_in_an_answer_counts_as_unknown(service):
    async def app(scope, receive, send):
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"branch"', "more_body": True})
        raise OSError

    service.app = app
    async with reached(service.url) as participant:
        assert (await participant.commit(BRANCH)).answer is Answer.UNKNOWN


async def test_the_service_checks_what_it_is_asked():
    memory = MemoryParticipant()
    app = participant_app(memory, name="svc", token="s3cret")
    allowed = [(b"authorization", b"Bearer s3cret")]
    path = f"/branches/{BRANCH}/commit"
    for wrong in (
        [],
        [(b"authorization", b"Bearer s3cre")],
        [(b"authorization", b"s3cret")],
        [(b"x", b"Bearer s3cret")],
    ):
        status, headers, said = await raw(app, "POST", path, wrong)
        assert (status, headers[b"www-authenticate"], said["error"]) == (
            401,
            b"Bearer",
            "expected the token of this service",
        )
    status, headers, _ = await raw(app, "GET", path, allowed)
    assert (status, headers[b"allow"]) == (405, b"POST")
    status, headers, _ = await raw(app, "HEAD", "/branches", allowed)
    assert (status, headers[b"allow"]) == (405, b"GET")
    for nowhere in ("/", "/branches/x", f"/branches/{BRANCH}/time_up", f"/branches/{BRANCH}/_serve", f"{path}/more"):
        assert (await raw(app, "POST", nowhere, allowed))[0] == 404
    assert (await raw(app, "POST", path, allowed, bytes(1025)))[0] == 413
    assert (await raw(app, "POST", path, [*allowed, (b"content-length", b"99999999999")]))[0] == 413
    assert (await raw(app, "POST", path, [*allowed, (b"content-length", b"-1")]))[0] == 413
    status, _, said = await raw(app, "POST", "/branches/mine/commit", allowed)
    assert (status, said["error"]) == (400, "'mine' is no branch's id: expected recipes:FLEET:TRANSACTION:PARTICIPANT")
    status, _, said = await raw(app, "POST", f"/branches/{BRANCH._replace(participant='bank')}/commit", allowed)
    assert (status, said["error"]) == (421, "this is the participant 'svc', and not 'bank'")
    assert memory.requests == []
    status, _, said = await raw(app, "POST", f"/mounted{path}", allowed, bytes(1024), root="/mounted")
    assert (status, said) == (200, {"branch": str(BRANCH), "answer": "UNKNOWN", "why": ""})
    assert (await raw(app, "GET", "/name", allowed))[2] == {"name": "svc", "three_phase": True}


class Plain:
    """A participant with nothing but what it must have."""

    async def prepare(self, branch):
        return Answer.PREPARED

    async def commit(self, branch):
        return Answer.COMMITTED

    async def abort(self, branch):
        return Answer.ABORTED

    async def recover(self):
        return []


async def test_a_participant_that_cannot_do_what_it_is_asked_says_so():
    app = participant_app(Plain())
    assert (await raw(app, "GET", "/name"))[2] == {"name": None, "three_phase": False}
    said = (await raw(app, "POST", f"/branches/{BRANCH}/can_commit"))[2]
    assert (said["answer"], said["why"]) == ("UNKNOWN", "Plain has no can_commit")
    assert (await raw(app, "GET", "/waiting"))[0] == 501


async def test_a_service_that_does_not_tell_of_locks_tells_what_is_prepared(service):
    class Bare(Plain):
        async def recover(self):
            return [BRANCH]

    service.app = participant_app(Bare())
    async with reached(service.url) as participant:
        assert await participant.prepared() == [(str(BRANCH), BRANCH, None, ())]
        with pytest.raises(ParticipantError, match="501: Bare has no waiting"):
            await participant.waiting()


async def test_the_application_opens_and_closes_what_it_serves(tmp_path):
    files = FileParticipant(tmp_path)
    events = ["lifespan.startup", "lifespan.shutdown"]
    said = []

    async def receive():
        return {"type": events.pop(0)}

    async def send(message):
        said.append(message)
        if message["type"] == "lifespan.startup.complete":
            assert await files.keys() == []

    await participant_app(files)({"type": "lifespan"}, receive, send)
    assert [each["type"] for each in said] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    (tmp_path / "log").write_text("damaged")
    events.append("lifespan.startup")
    await participant_app(files)({"type": "lifespan"}, receive, send)
    assert said[-1]["type"] == "lifespan.startup.failed"
    assert "DiskError" in said[-1]["message"]


async def test_the_branch_of_a_request_is_in_its_header():
    headers = (await RemoteParticipant("http://localhost").begin(BRANCH)).headers
    assert branch_of(headers) == BRANCH
    pairs = [(name.upper().encode(), value.encode()) for name, value in headers.items()]
    assert branch_of([(b"host", b"x"), *pairs]) == BRANCH
    for wrong, why in (
        ({}, "the header recipes-branch is missing"),
        ({"recipes-branch": "mine"}, "the header recipes-branch is 'mine': expected one branch's id"),
        ([*pairs, *pairs], "the header recipes-branch is there 2 times"),
    ):
        with pytest.raises(BadArguments, match=why):
            branch_of(wrong)


async def test_bad_input_is_named(monkeypatch):
    for url in ("localhost:80", "ftp://x", "http://", "http://x:99999", "http://x/?a=b", None, 3):
        with pytest.raises(BadArguments, match="url="):
            RemoteParticipant(url)
    with pytest.raises(BadArguments, match=r"url='\.\.\.@x': expected") as error:
        RemoteParticipant("http://me:s3cret@x")
    assert "s3cret" not in str(error.value)
    with pytest.raises(BadArguments, match="timeout=0"):
        RemoteParticipant("http://x", timeout=0)
    for token in ("", "a\nb", "ü", 3):
        with pytest.raises(BadArguments, match="token: expected"):
            RemoteParticipant("http://x", token=token)
    with pytest.raises(BadArguments, match="token: expected"):
        participant_app(Plain(), token="")
    with pytest.raises(BadArguments, match="the name 'a b'"):
        participant_app(Plain(), name="a b")
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"needs the extra `http`: pip install 'zab-recipes\[http\]'"):
        RemoteParticipant("http://x")


@pytest.mark.thorough  # a server of its own, with certificates
async def test_a_service_with_a_certificate_is_reached_by_who_trusts_it(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    certificate.private_key_pem.write_to_path(str(key))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    service = Service()
    service.app = participant_app(MemoryParticipant(), token="s3cret")
    service.start(ssl_certfile=str(chain), ssl_keyfile=str(key))
    try:
        url = f"https://localhost:{service.port}"
        async with reached(url, token="s3cret", ssl_context=trusting, timeout=SECONDS) as participant:
            await participant.open()
            assert await participant.abort(BRANCH) == Reply(Answer.ABORTED)
        async with reached(url, token="s3cret", timeout=SECONDS) as participant:
            reply = await participant.abort(BRANCH)
            assert reply.answer is Answer.UNKNOWN
            assert "CERTIFICATE_VERIFY_FAILED" in reply.why
    finally:
        service.stop()


async def test_a_token_without_encryption_is_warned_of_once(caplog):
    with caplog.at_level(logging.WARNING, "recipes.transaction"):
        for url in ("http://127.0.0.1:1", "http://localhost", "http://[::1]:1", "https://example.com"):
            RemoteParticipant(url, token="s3cret")
        RemoteParticipant("http://example.com")
        assert caplog.messages == []
        participant = RemoteParticipant("http://example.com/", token="s3cret")
        assert caplog.messages == ["the token for http://example.com is sent without encryption: use https"]
    assert "s3cret" not in repr(participant) + repr(vars(participant)["_url"])


async def test_a_service_that_is_another_or_away_is_told_at_the_beginning(service, silent_port):
    service.app = participant_app(MemoryParticipant(), token="s3cret")
    async with reached(service.url, token="other") as participant:
        with pytest.raises(ParticipantError, match="401: expected the token of this service"):
            await participant.open()
    async with reached(service.url, token="s3cret") as participant:
        await participant.open()
    async with reached(f"{service.url}/elsewhere", token="s3cret") as participant:
        with pytest.raises(ParticipantError, match="404: there is nothing at '/elsewhere/name'"):
            await participant.open()
    async with reached(f"http://127.0.0.1:{silent_port}") as participant:
        with pytest.raises(ParticipantError, match=f"http://127.0.0.1:{silent_port}") as caught:
            await participant.open()
        assert caught.value.status is None
