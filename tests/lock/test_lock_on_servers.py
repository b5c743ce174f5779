"""Lock on real servers: order, what breaks it, and what it leaves behind."""

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.errors import InvalidACL, LockLost, NoAuth, NoNode
from recipes.core.jute.records import ACL, Id
from recipes.election.election import Election
from recipes.lock.lock import Lock

pytestmark = pytest.mark.anyio

SECONDS = 60


async def until_children(client, path, count):
    """Return the names of the children once there are `count`."""
    while True:
        names, watch = await client.children_watch(path)
        if len(names) == count:
            watch.cancel()
            return names
        await watch.wait()


async def test_waiters_follow_in_order_of_arrival(hosts, root):
    order, fences = [], []

    async def work(client, number):
        async with Lock(client, root) as grant:
            order.append(number)
            fences.append(grant.fence)

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as other, anyio.create_task_group() as tasks:
            async with Lock(client, root, b"me") as grant:
                for number in range(4):
                    tasks.start_soon(work, (client, other)[number % 2], number)
                    await until_children(client, root, number + 2)
                lock = Lock(other, root)
                assert [(each.data, each.fence) for each in await lock.holders()] == [(b"me", grant.fence)]
                assert len(await lock.waiters()) == 4
                async with lock.try_acquire() as taken:
                    assert taken is None
            await until_children(client, root, 0)
    assert order == [0, 1, 2, 3]
    assert fences == sorted(fences)


async def test_a_lock_that_somebody_breaks_is_lost_and_leaves_nothing(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as operator:
            with pytest.raises(LockLost, match="deleted by somebody else"):
                async with Lock(client, root) as grant:
                    await operator.set(grant.path, b"a change is no loss")
                    await client.sync(root)
                    await client.sync(root)
                    assert not grant.ended.is_set()
                    await operator.delete(grant.path)
                    await anyio.sleep_forever()
            assert await operator.children(root) == []


async def test_a_lock_broken_before_its_block_says_anything_is_lost(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as operator:
            with pytest.raises(LockLost, match="deleted by somebody else"):
                async with Lock(client, root) as grant:
                    await operator.delete(grant.path)


async def test_the_end_of_the_session_ends_the_block(hosts, root, server, wire):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as witness:
            with pytest.raises(LockLost, match="the session is over"):
                async with Lock(client, root) as grant:
                    wire(server.port, session=(client.session.id, client.session.password)).close_session()
                    await anyio.sleep_forever()
            assert grant.ended.is_set()
            await until_children(witness, root, 0)


async def test_parents_that_exist_need_no_permission(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await client.ensure_path(f"{root}/above/line")
            await client.set_acl(root, [ACL(1, Id("world", "anyone"))])
            async with Lock(client, f"{root}/above/line/here") as grant:
                assert grant.fence > 0


async def test_a_missing_chroot_is_said(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts + root) as client:
            with pytest.raises(NoNode, match="the chroot is missing"):
                async with Lock(client, "/line"):
                    pytest.fail("held nowhere")


async def test_a_cancelled_waiter_leaves_no_znode(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as other, Lock(client, root) as grant:
            async with anyio.create_task_group() as tasks:

                async def wait_in_vain():
                    async with Lock(other, root):
                        pytest.fail("held by two")

                tasks.start_soon(wait_in_vain)
                await until_children(client, root, 2)
                tasks.cancel_scope.cancel()
            assert await until_children(client, root, 1) == [grant.path.rpartition("/")[2]]


@pytest.mark.parametrize("recipe", ["lock", "election"])
async def test_weak_12_an_acl_is_that_of_our_znode_and_of_the_line_we_made(hosts, root, recipe):
    acl = [ACL(31, Id("world", "anyone")), ACL(1, Id("ip", "127.0.0.1"))]
    path = f"{root}/above/line"
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            lock, election = Lock(client, path, acl=acl), Election(client, path, acl=acl)
            async with lock if recipe == "lock" else election.lead() as hold:
                assert (await client.get_acl(hold.path))[0] == acl
                assert (await client.get_acl(path))[0] == acl
                assert len((await client.get_acl(f"{root}/above"))[0]) == 1


async def test_weak_12_what_an_acl_does_not_permit_is_said_and_leaves_nothing(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await client.ensure_path(root)
            await client.set_acl(root, [ACL(1, Id("world", "anyone"))])
            with pytest.raises(NoAuth):
                async with Lock(client, root):
                    pytest.fail("held")
            with pytest.raises(InvalidACL):
                async with Lock(client, f"{root}-other", acl=[]):
                    pytest.fail("held")
            assert client.session.scopes == {}


async def test_whose_place_goes_with_the_holders_does_not_enter(hosts, root):
    """Its own watch is used up by a change of its data, so the event of the deletion in front tells nothing of it."""
    entered = []

    async def wait(client):
        with pytest.raises(LockLost):
            async with Lock(client, root):
                entered.append(client)

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as first, connect(hosts) as second, connect(hosts) as operator:
            for _ in range(5):
                grant = await Lock(first, root).acquire()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait, second)
                    await until_children(operator, root, 2)
                    own = next(path for path in await operator.children(root) if not grant.path.endswith(path))
                    await until_watched(second, f"{root}/{own}", grant.path)
                    async with operator.multi() as multi:
                        multi.set(f"{root}/{own}", b"a note")
                        multi.delete(f"{root}/{own}")
                        multi.delete(grant.path)
                with pytest.raises(LockLost):
                    await grant.release()
    assert entered == []


async def until_watched(client, *paths):
    """Return once the client has set a watch at each of these paths."""
    while not all(path.encode() in client.session.watches["data"] for path in paths):
        await anyio.sleep(0.001)
