"""A time limit is kept whatever the server does, and `within=` limits the waiting alone: under virtual time."""

from functools import partial

import anyio
import pytest

from recipes import BadArguments, Election, Lock
from tests.lock.conftest import spawn
from tests.lock.uses import acquire, close, lead, take, try_to_take, try_to_take_for_long
from tests.lock.virtual import BACKENDS, VirtualClient, on_virtual_time


@BACKENDS
@pytest.mark.parametrize("server", ["fall_silent", "cut"])
@pytest.mark.parametrize("held", [False, True], ids=["asking", "holding"])
@pytest.mark.parametrize(
    "use", [take, try_to_take, try_to_take_for_long, acquire, lead, close], ids=lambda u: u.__name__
)
def test_newcomer_9_a_time_limit_is_kept_while_the_server_is_away(use, held, server, backend):
    async def scene(store, client, clock):
        if not held:
            getattr(client, server)()
        began = clock()
        with anyio.move_on_after(1):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use, client)
                if held:
                    await anyio.sleep(0.5)
                    getattr(client, server)()
        assert clock() - began <= 1.1

    on_virtual_time(backend, 0.01, scene)


@BACKENDS
@pytest.mark.parametrize("server", ["fall_silent", "cut"])
def test_newcomer_9_leaving_is_not_held_up_either(server, backend):
    async def scene(store, client, clock):
        async with Lock(client, "/a"):
            getattr(client, server)()
            began = clock()
        assert clock() - began <= 0.1

    on_virtual_time(backend, 0.01, scene)


@BACKENDS
def test_newcomer_9_what_was_left_behind_is_cleaned_up_once_the_server_is_back(backend):
    async def scene(store, client, clock):
        async with Lock(client, "/a"):
            client.cut()
        assert len(store.names("/a")) == 1
        client.mend()
        await anyio.sleep(3)
        assert store.names("/a") == []
        assert not client.session.lost

    on_virtual_time(backend, 0.01, scene)


@BACKENDS
@pytest.mark.parametrize("recipe", ["lock", "election"])
def test_review_19_within_bounds_the_waiting_and_never_the_body(recipe, backend):
    async def scene(store, client, clock):
        async with VirtualClient(store) as holder:
            attempt = {
                "lock": partial(Lock(client, "/a").try_acquire, within=2),
                "election": partial(Election(client, "/a").try_lead, within=2),
            }[recipe]
            other = Lock(holder, "/a") if recipe == "lock" else Election(holder, "/a").lead()
            async with attempt() as hold:
                await anyio.sleep(10)
                assert not hold.ended.is_set()
            async with other:
                began = clock()
                async with attempt() as hold:
                    assert hold is None
                    assert 2 <= clock() - began <= 2.1
                    assert len(store.names("/a")) == 1

                async def wait():
                    async with attempt() as hold:
                        assert hold is not None
                        await anyio.sleep(10)

                waiting = anyio.Event()
                spawned = spawn(lambda: wait_and_tell(wait, waiting))
                await anyio.sleep(1)
            with anyio.fail_after(60):
                await waiting.wait()
            assert spawned is not None

    on_virtual_time(backend, 0.01, scene)


async def wait_and_tell(wait, event):
    await wait()
    event.set()


@pytest.mark.anyio
@pytest.mark.parametrize("within", [-1, float("nan")])
async def test_a_wait_that_is_no_time_is_named(store, within):
    with pytest.raises(BadArguments, match=f"within={within}: expected seconds, 0 or more"):
        Lock(store.client(), "/a").try_acquire(within=within)
    with pytest.raises(BadArguments, match=f"within={within}: expected seconds, 0 or more"):
        Election(store.client(), "/a").try_lead(within=within)
