"""Caches whose connection breaks, on our server and on Apache's, on asyncio and on trio."""

from random import Random

import anyio
import pytest

from recipes.cache import ChangeKind, ChildrenCache, NodeCache
from recipes.core.client.connect import connect
from recipes.core.errors import RecipesError
from tests.cable import cabled
from tests.cache.conftest import SECONDS, tree_of

pytestmark = pytest.mark.anyio


async def until(condition):
    while not condition():
        await anyio.sleep(0.005)


async def test_u27_a_znode_that_is_made_anew_while_nobody_is_connected_is_a_change(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other:
            await other.create(f"{root}/child", b"same", make_parents=True)
            async with (
                kind(client, root) as tree,
                NodeCache(client, f"{root}/child") as node,
                ChildrenCache(client, root) as children,
            ):
                streams = [cache.changes() for cache in (tree, node, children)]
                old = node.node
                await cable.pull()
                await until(lambda: tree.state == node.state == children.state == "stale")
                await other.delete(f"{root}/child")
                await other.create(f"{root}/child", b"same")
                await cable.plug()
                for changes in streams:
                    change = await anext(changes)
                    assert (change.kind, change.path) == (ChangeKind.UPDATED, f"{root}/child")
                    assert change.node.stat.czxid > old.stat.czxid and change.node.stat.version == old.stat.version


async def test_u28_a_cache_says_that_it_is_stale_until_all_is_read_again(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other:
            await other.create(f"{root}/child", b"old", make_parents=True)
            async with kind(client, root) as cache:
                assert (cache.state, cache.stale_since) == ("current", None)
                before = client.clock()
                await cable.pull()
                await until(lambda: cache.state == "stale")
                since = cache.stale_since
                assert before <= since <= client.clock()
                await other.set(f"{root}/child", b"new")
                asked = []
                async with anyio.create_task_group() as tasks:

                    async def wait():
                        await cache.wait_until(lambda c: asked.append(c[f"{root}/child"].data) or True)

                    tasks.start_soon(wait)
                    await until(lambda: cache._mirror._next is not None)
                    assert cache.stale_since == since and cache[f"{root}/child"].data == b"old"
                    await cable.plug()
                # It was not asked before all had been read again.
                assert asked == [b"new"] and (cache.state, cache.stale_since) == ("current", None)


async def test_u29_nothing_there_and_nothing_known_are_told_apart(hosts, root):
    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other:
            await other.create(f"{root}/worker", make_parents=True)
            async with ChildrenCache(client, root) as cache:
                await cable.pull()
                await until(lambda: cache.state == "stale")
                assert cache.names() == ["worker"]  # kept, and said to be old
                await other.delete(f"{root}/worker")
                await cable.plug()
                await cache.wait_until(lambda c: not c.names())
                assert cache.state == "current" and cache.parent is not None  # really empty
                await other.delete(root)
                await cache.wait_until(lambda c: c.parent is None)


async def write_at_random(client, root, random, writes):
    names = ["a", "b", "c"]
    for _ in range(writes):
        path = root + "".join(f"/{random.choice(names)}" for _ in range(random.randint(0, 3)))
        try:
            if random.random() < 0.5:
                await client.create(path, b"%d" % random.randrange(99))
            elif random.random() < 0.5:
                await client.set(path, b"%d" % random.randrange(99))
            else:
                await client.delete(path)
        except RecipesError:
            pass  # it is there, or is not, or has children


async def test_a_tree_becomes_what_the_store_is_whatever_the_connection_does(hosts, root, kind):
    random = Random(root)
    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other:
            async with kind(client, root) as cache, anyio.create_task_group() as tasks:
                replayed = {}

                async def replay():
                    async for change in cache.changes():
                        if change.kind is ChangeKind.REMOVED:
                            del replayed[change.path]
                        else:
                            assert (change.path in replayed) == (change.kind is ChangeKind.UPDATED)
                            replayed[change.path] = change.node.data

                tasks.start_soon(replay)
                for _ in range(3):
                    await write_at_random(other, root, random, random.randint(5, 25))
                    await cable.pull()
                    await write_at_random(other, root, random, random.randint(0, 25))
                    await cable.plug()
                    if random.random() < 0.5:  # else the next cut may come while it reads
                        await cache.wait_until(lambda c: True)
                expected = await tree_of(other, root)
                await cache.wait_until(lambda c: {path: tuple(node) for path, node in c.items()} == expected)
                await until(lambda: replayed == {path: data for path, (data, _) in expected.items()})
                tasks.cancel_scope.cancel()
