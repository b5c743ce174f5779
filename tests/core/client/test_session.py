"""The session without sockets: what happens to each kind of call, and which watches survive."""

from struct import pack

import anyio
import pytest

from recipes.core.client.call import Call, Watcher
from recipes.core.client.session import Session
from recipes.core.errors import AuthFailed, ConnectionLoss, SessionExpired, WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import write_buffer

pytestmark = pytest.mark.anyio


class Recorder(Watcher):
    def __init__(self):
        self.seen = []

    def fire(self, kind, path):
        self.seen.append((kind, path))


def reply(xid, zxid=1, err=0, body=b""):
    return pack(">iqi", xid, zxid, err) + body


def event(kind, path):
    return reply(-1, -1, 0, pack(">ii", kind, 3) + write_buffer(path))


def xids(data):
    """(xid, opcode) of each frame."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(
            (
                int.from_bytes(data[at + 4 : at + 8], "big", signed=True),
                int.from_bytes(data[at + 8 : at + 12], "big", signed=True),
            )
        )
        at += 4 + size
    return found


def submit(session, *calls):
    session.unsent.extend(calls)
    return calls[0] if len(calls) == 1 else calls


def ended(call):
    return call.done


async def test_p27_a_lost_connection_repeats_reads_sends_unsent_writes_and_doubts_sent_ones():
    session = Session(10.0)
    read, write = submit(session, Call(op.GET_DATA, b"", reads=True), Call(op.SET_DATA, b"", path="/w"))
    assert xids(session.outgoing(1.0)) == [(1, op.GET_DATA), (2, op.SET_DATA)]
    later = submit(session, Call(op.DELETE, b""))
    session.disconnected()
    with pytest.raises(ConnectionLoss) as caught:
        await write.result()
    assert (caught.value.path, caught.value.maybe_applied) == ("/w", True)
    assert xids(session.outgoing(2.0)) == [(3, op.GET_DATA), (4, op.DELETE)]
    session.receive(reply(3))
    session.receive(reply(4))
    await read.result()
    await later.result()


async def test_the_end_of_the_session_fails_everything_pending():
    session = Session(10.0)
    sent = submit(session, Call(op.GET_DATA, b"", reads=True))
    session.outgoing(1.0)
    unsent = submit(session, Call(op.SET_DATA, b""))
    session.end(SessionExpired)
    for call in (sent, unsent):
        with pytest.raises(SessionExpired):
            await call.result()


async def test_p4_the_deadline_runs_from_the_sending_of_what_was_answered():
    session = Session(10.0)
    session.expires_at = 0.0  # as a handshake long ago left it
    submit(session, Call(op.GET_DATA, b"", reads=True))
    session.outgoing(100.0)
    session.ping(101.0)
    session.receive(reply(op.PING_XID))  # a pong can overtake
    assert session.expires_at == 110.5  # 95 % of the timeout: clocks may differ in rate by 5 %
    session.receive(reply(1))
    assert session.expires_at == 110.5


async def test_a_cancelled_call_that_was_not_sent_is_never_sent():
    session = Session(10.0)
    call = submit(session, Call(op.CREATE2, b""))
    with anyio.move_on_after(0) as scope:
        await call.result()
    assert scope.cancelled_caught
    assert session.outgoing(1.0) == b""


async def test_of_two_tasks_that_wait_for_a_call_one_may_be_cancelled():
    session = Session(10.0)
    call = submit(session, Call(op.GET_DATA, b"", lambda data, at: data[at:], reads=True))
    session.outgoing(1.0)
    results = []

    async def wait(limit: anyio.CancelScope) -> None:
        with limit:
            results.append(await call.result())

    first, second = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(wait, first)
        group.start_soon(wait, second)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        session.receive(reply(1, body=b"mine"))
    assert results == [b"mine"]


async def test_a_cancelled_call_that_was_sent_keeps_its_place_but_not_its_watch():
    session = Session(10.0)
    watcher = Recorder()
    first, second = submit(
        session,
        Call(op.GET_DATA, b"", reads=True, watch=("data", b"/a", watcher)),
        Call(op.GET_DATA, b"", lambda data, at: data[at:], reads=True),
    )
    session.outgoing(1.0)
    with anyio.move_on_after(0):
        await first.result()
    session.receive(reply(1))
    session.receive(reply(2, body=b"mine"))
    assert await second.result() == b"mine"
    assert session.watches["data"] == {}


async def test_a_reply_that_cannot_be_decoded_fails_its_call():
    session = Session(10.0)

    def decode(data, at):
        raise WireError("cut")

    call = submit(session, Call(op.GET_DATA, b"", decode, reads=True))
    session.outgoing(1.0)
    with pytest.raises(WireError):
        session.receive(reply(1))
    assert ended(call)
    with pytest.raises(WireError, match="cut"):
        await call.result()


async def test_an_answer_to_restored_credentials_is_not_the_answer_to_new_ones():
    session = Session(10.0)
    session.credentials_sent(1)
    call = submit(session, Call(op.AUTH, b""))
    session.outgoing(1.0)
    session.receive(reply(op.AUTH_XID))
    assert not ended(call)
    session.receive(reply(op.AUTH_XID))
    await call.result()


@pytest.mark.parametrize(
    ("table", "kind", "fires"),
    [
        ("data", op.EVENT_DATA, True),
        ("data", op.EVENT_DELETED, True),
        ("data", op.EVENT_CHILDREN, False),
        ("exist", op.EVENT_CREATED, True),
        ("exist", op.EVENT_CHILDREN, False),
        ("child", op.EVENT_CHILDREN, True),
        ("child", op.EVENT_DELETED, True),
        ("child", op.EVENT_DATA, False),
    ],
)
async def test_a_one_shot_watch_fires_once_on_its_own_events(table, kind, fires):
    session, watcher = Session(10.0), Recorder()
    session.watches[table][b"/a"] = [watcher]
    session.receive(event(kind, b"/a"))
    session.receive(event(kind, b"/a"))
    assert watcher.seen == ([(kind, b"/a")] if fires else [])


async def test_watches_are_restored_in_frames_of_bounded_size():
    session = Session(10.0)
    assert session.restore() == []
    names = [b"/%01000d" % index for index in range(300)]
    for name in names:
        session.watches["data"][name] = [Recorder()]
    frames = session.restore()
    assert {pair for part in frames for pair in xids(part)} == {(op.SET_WATCHES_XID, op.SET_WATCHES)}
    assert all(len(part) < 130 * 1024 for part in frames)
    assert sum(part.count(name) for part in frames for name in names) == 300
    session.watches["recursive"][b"/r"] = [Recorder()]
    assert {kind for part in session.restore() for _, kind in xids(part)} == {op.SET_WATCHES2}


async def test_each_pending_call_gets_an_exception_of_its_own_about_its_own_path():
    session = Session(10.0)
    calls = submit(session, *(Call(op.GET_DATA, b"", path=path, reads=True) for path in ("/a", "/b")))
    session.outgoing(1.0)
    later = submit(session, Call(op.GET_DATA, b"", path="/c", reads=True))
    session.end(SessionExpired)
    assert [call.error.path for call in (*calls, later)] == ["/a", "/b", "/c"]
    assert len({id(call.error) for call in (*calls, later)}) == 3


async def test_refused_credentials_are_why_the_session_is_over():
    session = Session(10.0)
    pending = submit(session, Call(op.GET_DATA, b"", path="/a", reads=True))
    session.outgoing(1.0)
    session.receive(reply(op.AUTH_XID, err=-115))
    with pytest.raises(AuthFailed) as caught:
        await pending.result()
    assert caught.value.path == "/a"
    assert isinstance(session.ending(path="/later"), AuthFailed)


async def test_a_call_is_heard_once_whether_it_ends_well_or_not():
    session, heard = Session(10.0), []
    submit(session, *(Call(op.GET_DATA, b"", reads=True, heard=heard.append) for _ in range(2)))
    session.outgoing(1.0)
    session.receive(reply(1))
    assert [call.error for call in heard] == [None]
    session.end(SessionExpired)
    assert [type(call.error) for call in heard] == [type(None), SessionExpired]
