"""What a broken connection does to a hold: nothing at first, or the end of it with `on_suspend="release"`."""

import anyio
import pytest

from recipes import (
    BadArguments,
    Election,
    HoldLost,
    LeaderLatch,
    LeadershipLost,
    Lock,
    LockLost,
    ReadWriteLock,
    Semaphore,
    connect,
)
from tests.cable import cabled
from tests.lock.virtual import BACKENDS, TIMEOUT, VirtualClient, on_virtual_time

BLOCKS = {
    "lock": lambda client, policy: Lock(client, "/a", on_suspend=policy),
    "election": lambda client, policy: Election(client, "/a", on_suspend=policy).lead(),
}


def one_permit(client, path, **options):
    return Semaphore(client, path, 1, **options)


@BACKENDS
@pytest.mark.parametrize("recipe", BLOCKS)
def test_a_hold_that_does_not_survive_a_broken_connection(recipe, backend):
    async def scene(store, client, clock):
        began = clock()
        with pytest.raises(LeadershipLost if recipe == "election" else LockLost, match="the connection broke"):
            async with BLOCKS[recipe](client, "release") as hold:
                client.cut()
                await anyio.sleep(10 * TIMEOUT)
        assert hold.lost
        assert clock() - began < TIMEOUT / 2
        assert len(store.names("/a")) == 1
        client.mend()
        async with VirtualClient(store) as other, BLOCKS[recipe](other, "wait") as later:  # its znode is deleted soon
            assert later.fence > hold.fence
        assert not client.session.lost

    on_virtual_time(backend, 0.01, scene)


@BACKENDS
@pytest.mark.parametrize("recipe", BLOCKS)
def test_a_hold_that_survives_a_short_one(recipe, backend):
    async def scene(store, client, clock):
        async with BLOCKS[recipe](client, "wait") as hold:
            client.cut()
            await anyio.sleep(TIMEOUT / 4)
            client.mend()
            await anyio.sleep(TIMEOUT)
            assert not hold.ended.is_set()

    on_virtual_time(backend, 0.01, scene)


@BACKENDS
def test_nobody_listens_any_more_after_the_block(backend):
    async def scene(store, client, clock):
        async with Lock(client, "/a", on_suspend="release") as grant:
            assert len(client._state_listeners) == 1
        assert client._state_listeners == {}
        assert (grant.lost, grant.why) == (False, "released")
        grant = await Lock(client, "/a", on_suspend="release").acquire()
        client.cut()
        await grant.ended.wait()
        assert grant.lost
        client.mend()
        with pytest.raises(LockLost, match="the connection broke"):
            await grant.release()
        assert client._state_listeners == {}

    on_virtual_time(backend, 0.01, scene)


@pytest.mark.anyio
async def test_every_kind_of_hold_ends_when_its_connection_breaks(our_server):
    async with cabled(our_server.hosts) as (client, cable), connect(our_server.hosts) as other:
        both = ReadWriteLock(client, "/suspended/rw", on_suspend="release")
        holds = [
            await Lock(client, "/suspended/lock", on_suspend="release").acquire(),
            await both.acquire_read(),
            await Semaphore(client, "/suspended/semaphore", 2, on_suspend="release").acquire(2),
            await Semaphore(client, "/suspended/leases", 2, naming="curator", on_suspend="release").acquire(),
        ]
        async with LeaderLatch(client, "/suspended/latch", on_suspend="release") as latch:
            with anyio.fail_after(60):
                holds.append(await latch.wait_leader())
                await cable.pull()
                for hold in holds:
                    await hold.ended.wait()
                await cable.plug()
                for hold in holds[:-1]:
                    with pytest.raises(HoldLost):
                        await hold.release()
                async with both.write():  # the reader is gone
                    pass
                assert (await latch.wait_leader()).fence > holds[-1].fence  # it stands again
                async with Lock(other, "/suspended/lock"):
                    pass


@pytest.mark.parametrize("make", [Lock, Election, LeaderLatch, ReadWriteLock, one_permit])
def test_another_policy_is_refused(make):
    with pytest.raises(BadArguments, match="on_suspend='stop': expected 'wait' or 'release'"):
        make(connect(private=True), "/a", on_suspend="stop")
