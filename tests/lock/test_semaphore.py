import json
from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import BadArguments, ConnectionLoss, LockLost, SettingsDiffer
from recipes.lock import Semaphore
from tests.lock.turns import cancel_at_each_turn, settled

pytestmark = pytest.mark.anyio
PATH = "/s"


class Visitors:
    """Tasks, each with a client of its own, that take permits and stay until they are let go."""

    def __init__(self, store, tasks, limit):
        self.store, self.tasks, self.limit = store, tasks, limit
        self.inside, self.let_go, self.errors, self.waiting, self.scopes = [], {}, {}, set(), {}

    async def come(self, *names, permits=1, client=None):
        for name in names:
            self.let_go[name] = anyio.Event()
            self.tasks.start_soon(self._stay, name, permits, client or self.store.client())
            await settled(self.store)

    async def _stay(self, name, permits, client):
        self.scopes[name] = anyio.CancelScope()
        with self.scopes[name]:
            try:
                semaphore = Semaphore(client, PATH, self.limit)
                async with semaphore.try_acquire(permits, within=float("inf")) as grant:
                    assert grant.permits == permits
                    self.inside.append(name)
                    await self.let_go[name].wait()
            except BadArguments as error:
                self.errors[name] = error
        if name in self.inside:
            self.inside.remove(name)

    async def leave(self, *names):
        for name in names:
            self.let_go[name].set()
            await settled(self.store)


async def visit(store, limit, scene):
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            await scene(Visitors(store, tasks, limit))
            tasks.cancel_scope.cancel()
    await settled(store)
    assert store.names(PATH) == []
    assert store.watches == []


async def test_p20_as_many_as_the_limit_and_then_first_come_first_served(store):
    async def scene(all):
        await all.come(*"abcdef")
        assert sorted(all.inside) == ["a", "b"]
        await all.leave("b")
        assert sorted(all.inside) == ["a", "c"]
        await all.leave("a", "c")
        assert sorted(all.inside) == ["d", "e"]
        await all.leave("d")
        assert sorted(all.inside) == ["e", "f"]

    await visit(store, 2, scene)


async def test_several_permits_are_had_together_and_nobody_overtakes(store):
    async def scene(all):
        await all.come("a", permits=2)
        await all.come("b", permits=3)
        await all.come("c", permits=1)
        assert sorted(all.inside) == ["a"]  # one is free, and c does not overtake b
        await all.leave("a")
        assert sorted(all.inside) == ["b"]
        await all.leave("b")
        assert sorted(all.inside) == ["c"]

    await visit(store, 3, scene)


async def test_an_end_wakes_one_waiter(store):
    async def scene(all):
        await all.come(*"abcdefgh")
        store.requests.clear()
        await all.leave("b")
        awake = [name for name, _ in store.requests]
        # The first of the waiters is woken, gets in and tells the one behind it, which watches the line from then on.
        assert awake.count("multi_read") == 2 and awake.count("set") == 1
        assert awake.count("children_watch") == 1
        store.requests.clear()
        all.scopes["f"].cancel()  # it waits, and has one behind it
        await settled(store)
        assert sorted(all.inside) == ["a", "c", "d"]
        assert [name for name, _ in store.requests].count("multi_read") <= 2

    await visit(store, 3, scene)


async def test_a_waiter_that_watches_too_late_for_the_sign_of_the_one_in_front_lists_again(store):
    client = store.client()
    watch_now = client.exists_watch

    async def scene(all):
        async def watch_late(path, *, watch=None):
            client.exists_watch = watch_now
            await all.leave("a")  # so "c" gets in, and tells the one behind it, which does not watch it yet
            return await watch_now(path, watch=watch)

        client.exists_watch = watch_late
        await all.come(*"abc")
        await all.come("d", client=client)
        assert sorted(all.inside) == ["b", "c"]
        await all.leave("b")
        assert sorted(all.inside) == ["c", "d"]

    await visit(store, 2, scene)


async def test_each_waiter_watches_one_place_and_only_the_first_watches_the_line(store):
    async def scene(all):
        await all.come(*"abcdef")
        lines = [watch for watch in store.watches if watch.children]
        assert len(lines) == 1
        fronts = [w.path for w in store.watches if not hasattr(w, "gone") and w.path != PATH]
        assert len(fronts) == len(set(fronts)) == 3

    await visit(store, 2, scene)


async def test_u9_u11_permits_of_a_lost_session_are_free(store):
    client = store.client()
    semaphore = Semaphore(client, PATH, 2)
    lost = await semaphore.acquire(2)

    async def scene(all):
        await all.come("a", "b")
        assert sorted(all.inside) == []
        client.lose_session()
        await settled(store)
        assert sorted(all.inside) == ["a", "b"]
        assert lost.lost

    await visit(store, 2, scene)


async def test_u12_failed_tries_leave_nothing_so_the_next_one_gets_it(store):
    one, two = (Semaphore(store.client(), PATH, 1) for _ in range(2))
    async with one:
        for _ in range(5):
            async with two.try_acquire() as grant:
                assert grant is None
        async with two.try_acquire(within=0.01) as grant:
            assert grant is None
        assert len(store.names(PATH)) == 1
    async with two.try_acquire() as grant:
        assert grant is not None and grant.permits == 1
    assert store.names(PATH) == []


async def test_uncontended_it_is_two_requests(store):
    semaphore = Semaphore(store.client(), PATH, 2)
    async with semaphore:
        pass
    async with AsyncExitStack() as stack:
        store.requests.clear()
        await stack.enter_async_context(semaphore)
        requests = [name for name, _ in store.requests]
    assert requests == ["create2", "multi_read", "watch_deletion"]


# The limit.


async def test_the_limit_is_stored_and_another_one_is_refused_with_both(store):
    async with Semaphore(store.client(), PATH, 2):
        assert json.loads(store.nodes[PATH][0]) == {"limit": 2}
        with pytest.raises(SettingsDiffer, match=r"limit=2.*limit=3"):
            await Semaphore(store.client(), PATH, 3).acquire()
        assert len(store.names(PATH)) == 1
    with pytest.raises(SettingsDiffer, match="limit=3"):
        async with Semaphore(store.client(), PATH, 3).try_acquire():
            pass
    assert store.names(PATH) == []


@pytest.mark.parametrize("data", [b"5", b"{}", b"[]", b'{"limit": "x"}', b"\xff"])
async def test_a_path_with_other_data_is_refused(store, data):
    client = store.client()
    await client.create2(PATH, data)
    with pytest.raises(SettingsDiffer):
        await Semaphore(client, PATH, 3).acquire()
    with pytest.raises(SettingsDiffer):
        await Semaphore(client, PATH, 3).resize(4)
    assert store.names(PATH) == []


async def test_a_znode_without_data_takes_the_limit_on(store):
    client = store.client()
    await client.ensure_path(PATH)
    async with Semaphore(client, PATH, 3):
        assert json.loads(store.nodes[PATH][0]) == {"limit": 3}


@pytest.mark.parametrize("permits", [4, 0, -1, True, 1.5, "1", None])
async def test_permits_that_nobody_can_have_are_refused_at_once(store, permits):
    semaphore = Semaphore(store.client(), PATH, 3)
    with pytest.raises(BadArguments, match=f"permits={permits!r}"):
        await semaphore.acquire(permits)
    with pytest.raises(BadArguments, match=f"permits={permits!r}"):
        semaphore.try_acquire(permits)
    assert store.requests == []


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "1", None, 2**31])
async def test_a_limit_that_is_none_is_refused_at_once(store, limit):
    with pytest.raises(BadArguments, match="limit="):
        Semaphore(store.client(), PATH, limit)
    with pytest.raises(BadArguments, match="limit="):
        await Semaphore(store.client(), PATH, 3).resize(limit)
    assert store.requests == []


async def test_a_higher_limit_lets_waiters_in_at_once(store):
    async def scene(all):
        await all.come(*"abcde")
        assert sorted(all.inside) == ["a"]
        semaphore = Semaphore(store.client(), PATH, 1)
        await semaphore.resize(3)
        await settled(store)
        assert sorted(all.inside) == ["a", "b", "c"]
        await semaphore.resize(8)
        await settled(store)
        assert sorted(all.inside) == ["a", "b", "c", "d", "e"]
        async with semaphore.try_acquire(3) as grant:  # the object that resized goes along
            assert grant is not None

    await visit(store, 1, scene)


async def test_after_a_lower_limit_holders_keep_theirs_and_newcomers_wait_for_enough_of_them(store):
    async def scene(all):
        await all.come(*"abcd")
        await Semaphore(store.client(), PATH, 4).resize(2)
        all.limit = 2
        await all.come("e", "f")
        assert sorted(all.inside) == ["a", "b", "c", "d"]
        await all.leave("d")  # the one right in front goes first
        assert sorted(all.inside) == ["a", "b", "c"]
        await all.leave("b")
        assert sorted(all.inside) == ["a", "c"]
        await all.leave("c")
        assert sorted(all.inside) == ["a", "e"]
        await all.leave("a")
        assert sorted(all.inside) == ["e", "f"]

    await visit(store, 4, scene)


async def test_after_a_lower_limit_all_that_hold_are_named_until_they_leave(store):
    async def who():
        semaphore = Semaphore(store.client(), PATH, 3)
        semaphore._agreement.agreed = True
        found = await semaphore.holders(), await semaphore.waiters()
        return tuple("".join(names[each.id] for each in line) for line in found)

    async def scene(all):
        await all.come(*"abcdw")
        order = await Semaphore(store.client(), PATH, 4).holders() + await Semaphore(store.client(), PATH, 4).waiters()
        names.update({each.id: name for each, name in zip(order, "abcdw", strict=True)})
        await Semaphore(store.client(), PATH, 4).resize(3)
        assert await who() == ("abcd", "w")
        await Semaphore(store.client(), PATH, 3).resize(2)  # "c" and "d" are beyond it now
        assert await who() == ("abcd", "w")
        await all.leave("b")
        assert await who() == ("acd", "w")
        assert sorted(all.inside) == ["a", "c", "d"]
        await Semaphore(store.client(), PATH, 2).resize(1)
        assert len(await Semaphore(store.client(), PATH, 1).revoke()) == 3
        await Semaphore(store.client(), PATH, 1).resize(3)
        assert json.loads(store.nodes[PATH][0]) == {"limit": 3, "most": 4}
        assert await who() == ("acd", "w")
        await all.leave("a", "c", "d")
        assert (await who(), all.inside) == (("w", ""), ["w"])

    names = {}
    await visit(store, 4, scene)


async def test_one_that_leaves_while_the_limit_goes_down_is_not_written_down(store):
    """Nor is it overlooked who holds in its place."""

    async def scene(all):
        await all.come(*"abcw")
        resizing = Semaphore(store.client(), PATH, 3)
        children = resizing._client.children

        async def slowly(path):
            found = await children(path)
            resizing._client.children = children
            await all.leave("a")
            return found

        resizing._client.children = slowly
        await resizing.resize(1)
        assert sorted(all.inside) == ["b", "c", "w"]
        assert [each.permits for each in await resizing.holders()] == [1, 1, 1]
        assert len(json.loads(store.nodes[PATH][0])["kept"]) == 2

    await visit(store, 3, scene)


async def test_a_waiter_for_more_than_a_lower_limit_leaves_with_an_error_and_blocks_nobody(store):
    async def scene(all):
        await all.come("a", permits=2)
        await all.come("b", permits=3)
        await all.come("c", permits=1)
        await Semaphore(store.client(), PATH, 3).resize(2)
        await settled(store)
        assert sorted(all.inside) == ["a"]
        assert "limit of this semaphore, 2" in str(all.errors["b"])
        await all.leave("a")
        assert sorted(all.inside) == ["c"]

    await visit(store, 3, scene)


@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("number", range(1, 5))
async def test_resizing_whose_reply_is_lost_can_be_repeated(store, number, lose_request):
    semaphore = Semaphore(store.client(), PATH, 2)
    await semaphore.resize(2)
    store.requests.clear()
    store.lose_reply, store.lose_request = number, lose_request
    for _ in range(2):
        try:
            await semaphore.resize(5)
        except ConnectionLoss:
            continue
    assert json.loads(store.nodes[PATH][0]) == {"limit": 5, "most": 5}


async def test_resizing_what_is_not_there_makes_it(store):
    semaphore = Semaphore(store.client(), "/deep/down", 2)
    await semaphore.resize(4)
    assert json.loads(store.nodes["/deep/down"][0]) == {"limit": 4}
    async with semaphore.try_acquire(4) as grant:
        assert grant is not None


async def test_holders_waiters_and_the_refusal_of_a_second_one(store):
    semaphore = Semaphore(store.client(), PATH, 3, b"me")
    assert await semaphore.holders() == []
    async with semaphore.try_acquire(2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Semaphore(store.client(), PATH, 3).acquire, 2)
            await settled(store)
            (holder,), (waiter,) = await semaphore.holders(), await semaphore.waiters()
            assert (holder.kind, holder.permits, holder.data, waiter.permits) == ("permits", 2, b"me", 2)
            with pytest.raises(RuntimeError, match="the semaphore /s already"):
                await semaphore.acquire()
            tasks.cancel_scope.cancel()


# Faults, as for Lock.


@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("number", range(1, 12))
async def test_any_lost_reply_leaves_one_holder_and_then_nothing(store, number, lose_request):
    store.lose_reply, store.lose_request = number, lose_request
    async with Semaphore(store.client(), "/a/b", 2) as grant:
        assert [f"/a/b/{name}" for name in store.names("/a/b")] == [grant.path]
    assert store.names("/a/b") == []
    assert store.watches == []


@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("number", range(1, 16))
async def test_any_lost_reply_while_others_wait_strands_nobody(store, number, lose_request):
    async def scene(all):
        await all.come(*"abcde")
        store.requests.clear()
        store.lose_reply, store.lose_request = number, lose_request
        await all.leave("a", "b")
        assert sorted(all.inside) == ["c", "d"]
        await all.leave("c")
        assert sorted(all.inside) == ["d", "e"]

    await visit(store, 2, scene)


@pytest.mark.parametrize("contended", [False, True])
async def test_cancelled_at_each_await_nothing_stays_behind(store, contended):
    holder = Semaphore(store.client(), PATH, 2)
    async with holder:
        pass

    def take():
        return Semaphore(store.client(), PATH, 2)

    hold = (lambda: holder.try_acquire(2)) if contended else None
    finished = await cancel_at_each_turn(store, PATH, take, hold, 60)
    assert (finished > 0) is not contended


async def test_a_waiter_that_goes_at_any_moment_strands_nobody_behind_it(store):
    for turns in range(2, 44, 3):

        async def scene(all, turns=turns):
            await all.come(*"abcde")
            all.let_go["a"].set()
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            all.scopes["c"].cancel()
            await settled(store)
            assert sorted(all.inside) == ["b", "d"], turns
            await all.leave("d")
            assert sorted(all.inside) == ["b", "e"], turns

        await visit(store, 2, scene)


async def test_session_lost_while_waiting_and_while_holding(store):
    client, raised = store.client(), []

    async def wait_in_vain():
        try:
            async with Semaphore(client, PATH, 1):
                pytest.fail("one too many")
        except LockLost as error:
            raised.append(error)

    async with Semaphore(store.client(), PATH, 1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_in_vain)
            await settled(store)
            client.lose_session()
    assert len(raised) == 1
    client = store.client()
    with pytest.raises(LockLost):
        async with Semaphore(client, PATH, 1):
            client.lose_session()
            await anyio.sleep_forever()
    assert store.names(PATH) == []
