"""What a hold promises, entry by entry of what users reported: on the store in memory, partly under virtual time."""

import logging
from contextlib import AsyncExitStack
from functools import partial
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from recipes import ConnectionLoss, Election, LeadershipLost, Lock, LockLost
from tests.lock.conftest import spawn
from tests.lock.turns import until
from tests.lock.uses import lead, take, try_to_take
from tests.lock.virtual import BACKENDS, Thread, on_virtual_time


@BACKENDS
def test_w1_closing_a_client_tells_its_holders_first(backend):
    told = []

    async def scene(store, client, clock):
        async def hold():
            try:
                async with Lock(client, "/a") as grant:
                    store.removing = lambda path: told.append((grant.ended.is_set(), grant.lost, grant.why))
                    await anyio.sleep_forever()
            except LockLost as error:
                told.append(str(error))

        spawn(hold)
        await anyio.sleep(10)
        await client.__aexit__(None, None, None)

    on_virtual_time(backend, 0.4, scene)
    assert told == ["The lock was lost: /a (the client was closed)", (True, True, "the client was closed")]


@pytest.mark.anyio
async def test_w2_review_3_a_thread_sees_every_end(store):
    thread = Thread()
    async with Lock(store.client(), "/a") as grant:
        assert not thread.ask(grant.ended.is_set)
    async with Election(store.client(), "/e").lead() as term:
        await term.resign()
        assert thread.ask(term.ended.is_set)
    with anyio.CancelScope() as scope:
        async with Lock(store.client(), "/a") as cancelled:
            scope.cancel()
            await anyio.sleep_forever()
    assert all(thread.ask(hold.ended.is_set) for hold in (grant, term, cancelled))
    assert [hold.why for hold in (grant, term, cancelled)] == ["released", "resigned", "cancelled"]
    assert not any(hold.lost for hold in (grant, term, cancelled))
    with anyio.fail_after(60):
        await grant.ended.wait()
    thread.close()


@pytest.mark.anyio
async def test_an_end_by_the_clock_stays_though_a_late_reply_moves_the_deadline_on(store):
    client = store.client()
    with pytest.raises(LockLost, match="the session is over"):
        async with Lock(client, "/a") as grant:
            client.session.expires_at = 0
            assert grant.ended.is_set()
            client.session.expires_at = float("inf")
            assert grant.ended.is_set()
            await anyio.sleep_forever()  # it was cancelled
    assert store.names("/a") == []


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["exit stack", "bare", "try_acquire", "lead", "acquire"])
async def test_w4_what_was_entered_in_one_task_is_released_in_another(store, how):
    client, stack = store.client(), AsyncExitStack()
    lock = Lock(client, "/a")
    grants, entered = [], anyio.Event()

    async def start():
        blocks = {"try_acquire": lock.try_acquire, "lead": Election(client, "/a").lead}
        if how == "acquire":
            grants.append(await lock.acquire())
        elif how == "bare":
            grants.append(await lock.__aenter__())
        else:
            grants.append(await stack.enter_async_context(blocks.get(how, lambda: lock)()))
        entered.set()

    task = spawn(start)
    with anyio.fail_after(60):
        await entered.wait()
    assert len(store.names("/a")) == 1
    if how == "acquire":
        await grants[0].release()
    elif how == "bare":
        await lock.__aexit__(None, None, None)
    else:
        await stack.aclose()
    assert (grants[0].ended.is_set(), grants[0].lost) == (True, False)
    assert store.names("/a") == []
    async with lock:  # nobody is taken for the one that was inside
        pass
    assert client.session.scopes == {}
    assert task is not None


@pytest.mark.anyio
async def test_a_lost_hold_whose_task_has_ended_is_said_where_it_is_left(store):
    client, entered = store.client(), anyio.Event()
    lock = Lock(client, "/a")

    async def start():
        await lock.__aenter__()
        entered.set()

    task = spawn(start)
    await entered.wait()
    client.lose_session()
    with pytest.raises(LockLost):
        await lock.__aexit__(None, None, None)
    assert task is not None


@pytest.mark.anyio
async def test_leaving_a_lock_that_nobody_entered_is_said(store):
    with pytest.raises(RuntimeError, match="the lock /a is left"):
        await Lock(store.client(), "/a").__aexit__(None, None, None)


@pytest.mark.anyio
async def test_acquire_and_release_are_a_pair_without_a_block(store):
    client = store.client()
    grant = await Lock(client, "/a").acquire()
    with pytest.raises(RuntimeError, match="not reentrant"):
        await Lock(client, "/a").acquire()
    async with anyio.create_task_group():  # scopes may begin and end in between
        await grant.release()
    await grant.release()
    assert store.names("/a") == []
    lost = await Lock(client, "/a").acquire()
    store.remove(lost.path)
    assert lost.lost
    with pytest.raises(LockLost, match="deleted by somebody else"):
        await lost.release()
    assert client.session.scopes == {}


@pytest.mark.anyio
async def test_a_released_block_goes_on_and_takes_the_lock_again(store):
    lock = Lock(store.client(), "/a")
    async with lock as first:
        await first.release()
        assert store.names("/a") == []
        async with lock as second:
            assert second.fence > first.fence
    assert store.watches == []


@pytest.mark.anyio
@pytest.mark.parametrize("lose_request", [False, True])
async def test_w6_a_request_that_breaks_connection_after_connection_surfaces(store, lose_request):
    client = store.client()
    async with Lock(client, "/a"):
        pass
    made = client.start_create
    store.requests.clear()

    def break_it(*what, **how):
        store.lose_reply, store.lose_request = len(store.requests) + 1, True
        return made(*what, **how)

    client.start_create = break_it
    for use in (take, try_to_take, lead):
        store.requests.clear()
        with anyio.fail_after(60), pytest.raises(ConnectionLoss) as caught:
            await use(client)
        assert caught.value.path.startswith("/a/_r_")
        assert [name for name, _ in store.requests].count("create2") == 5
    assert client.session.scopes == {}


@pytest.mark.anyio
async def test_w6_a_parent_that_is_never_there_surfaces(store):
    client = store.client()

    async def ensure_path(path, *, container):
        await anyio.lowlevel.checkpoint()

    client.ensure_path = ensure_path
    with anyio.fail_after(60), pytest.raises(Exception, match="no such znode"):
        await take(client)


@pytest.mark.anyio
async def test_w7_run_takes_no_other_elections_loss_for_its_own(store):
    mine, other = store.client(), store.client()
    terms = []

    async def work(term):
        terms.append(term)
        async with Election(other, "/other").lead():
            other.lose_session()

    with anyio.fail_after(60), pytest.raises(LeadershipLost, match="/other"):
        await Election(mine, "/mine").run(work)
    assert len(terms) == 1


@BACKENDS
def test_newcomer_24_run_begins_anew_with_a_pause_when_work_returns_at_once(backend):
    terms = []

    async def scene(store, client, clock):
        async def work(term):
            terms.append(clock())

        with anyio.move_on_after(10):
            await Election(client, "/a").run(work)

    on_virtual_time(backend, 0.001, scene)
    assert 5 < len(terms) < 20


@pytest.mark.anyio
async def test_w12_a_lock_inside_itself_is_refused_whatever_object_asks(store):
    client = store.client()
    async with Lock(client, "/a"):
        for inside in (Lock(client, "/a"), Lock(client, "/a").try_acquire(), Lock(client, "/a").try_acquire(within=1)):
            with pytest.raises(RuntimeError, match=r"is inside the lock /a already.*not reentrant"):
                async with inside:
                    pytest.fail("inside itself")
        async with Lock(client, "/b"), Election(client, "/a").lead():  # these are others
            pass
        async with Lock(store.client(), "/a").try_acquire() as grant:  # another client: another session
            assert grant is None
        async with anyio.create_task_group() as tasks:  # another task may wait for this one
            tasks.start_soon(take, client)
            await until(lambda: len(store.names("/a")) == 2)
            tasks.cancel_scope.cancel()
    assert store.names("/a") == []


@pytest.mark.anyio
async def test_w12_lead_inside_lead_is_refused(store):
    client = store.client()
    async with Election(client, "/e").lead():
        for inside in (Election(client, "/e").lead(), Election(client, "/e").try_lead()):
            with pytest.raises(RuntimeError, match="is inside the election /e already"):
                async with inside:
                    pytest.fail("inside itself")
    assert store.names("/e") == []


FOREIGN = [
    "f00c5c1e0f0d4a4f9d1c1d2f3e4a5b6c__lock__0000000007",
    "_c_6e1c8f0a-3d2b-4c5d-8e9f-0a1b2c3d4e5f-lock-0000000007",
    "lock-0000000007",
]


@pytest.mark.anyio
@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("recipe", ["lock", "election"])
async def test_w13_another_librarys_place_on_our_path_is_warned_of_once(store, caplog, name, recipe):
    client, other = store.client(), store.client()
    await client.create("/a")
    store.nodes[f"/a/{name}"] = (b"", SimpleNamespace(czxid=1, ephemeral_owner=9, ctime=0))
    use = {"lock": lambda who: Lock(who, "/a"), "election": lambda who: Election(who, "/a").lead()}[recipe]
    with caplog.at_level(logging.WARNING):
        for who in (client, client, other):
            async with use(who):
                pass
    said = [record for record in caplog.records if record.name == f"recipes.{recipe}"]
    assert [record.levelname for record in said] == ["WARNING", "WARNING"]  # one a client
    assert f"{name} is in line at /a by another library's rules" in said[0].getMessage()


@pytest.mark.anyio
async def test_our_own_places_and_other_children_are_not_warned_of(store, caplog):
    client = store.client()
    async with Lock(client, "/a"), Election(client, "/a").lead():
        await client.create("/a/notes")
        async with Lock(store.client(), "/a").try_acquire():
            pass
    assert caplog.records == []


@pytest.mark.anyio
async def test_weak_10_a_waiter_whose_znode_was_deleted_notices_at_once(store):
    raised = []

    async def wait():
        try:
            async with Lock(store.client(), "/a"):
                pytest.fail("held by two")
        except LockLost as error:
            raised.append(str(error))

    async with Lock(store.client(), "/a") as grant:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: len(store.watches) == 3)
            (place,) = {f"/a/{name}" for name in store.names("/a")} - {grant.path}
            store.remove(place)
        assert not grant.ended.is_set()
    (said,) = raised
    assert said.startswith("The lock was lost: /a (while waiting for it: its znode is gone: deleted by somebody else")
    assert store.watches == []


@pytest.mark.anyio
async def test_review_17_candidates_are_in_order_and_their_times_are_seconds(store):
    election = Election(store.client(), "/e", b"one")
    assert await election.candidates() == []
    async with election.lead() as term:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(lead_at, Election(store.client(), "/e", b"two")))
            await until(lambda: len(store.names("/e")) == 2)
            candidates = await election.candidates()
            assert [each.data for each in candidates] == [b"one", b"two"]
            assert candidates[0].fence == term.fence
            assert candidates[0].since == store.nodes[term.path][1].ctime / 1000
            tasks.cancel_scope.cancel()


async def lead_at(election):
    async with election.lead():
        await anyio.sleep_forever()


@pytest.mark.anyio
async def test_a_block_is_entered_once(store):
    block = Lock(store.client(), "/a").try_acquire()
    async with block:
        pass
    with pytest.raises(RuntimeError, match="entered already"):
        await block.__aenter__()
