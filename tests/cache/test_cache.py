"""Caches on our server and on Apache's, on asyncio and on trio."""

import gc

import anyio
import pytest
from pydantic import BaseModel

from recipes.cache import ChangeKind, ChildrenCache, NodeCache, TreeCache
from recipes.core.client.connect import connect
from recipes.core.client.session import ConnectionState
from recipes.core.errors import (
    BadArguments,
    ClientClosed,
    ConnectionLoss,
    NoAuth,
    SessionExpired,
    ThrottledOp,
    Unimplemented,
)
from recipes.core.jute import opcodes as op
from recipes.core.permissions import digest_acl
from recipes.testing.expire import expire_session
from tests.cache.conftest import SECONDS, EachWatched, tree_of
from tests.servers import four_letter

pytestmark = pytest.mark.anyio


async def filled(client, root):
    for path in ("", "/a", "/a/x", "/a/x/deep", "/b"):
        await client.create(root + path, path.encode(), make_parents=True)


async def next_of(changes, most):
    return [await anext(changes) for _ in range(most)]


async def test_a_tree_is_read_whole_and_kept_current(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as other:
            await filled(client, root)
            async with kind(client, root) as cache:
                assert cache.state == "current" and cache.stale_since is None and cache.error is None
                assert cache.paths() == [root + path for path in ("", "/a", "/a/x", "/a/x/deep", "/b")]
                assert cache[f"{root}/a/x"].data == b"/a/x" and cache.get(f"{root}/no") is None
                assert list(cache.children(f"{root}/a")) == ["x"] and cache.children(f"{root}/b") == {}
                assert cache.children(f"{root}/no") is None
                await other.set(f"{root}/a/x/deep", b"new")
                await other.create(f"{root}/b/c", b"made")
                await other.delete(f"{root}/a/x/deep")
                await cache.wait_until(lambda c: f"{root}/b/c" in c and f"{root}/a/x/deep" not in c)
                expected = await tree_of(other, root)
                await cache.wait_until(lambda c: {path: tuple(node) for path, node in c.items()} == expected)


async def test_a_tree_that_does_not_exist_yet(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, kind(client, f"{root}/later") as cache:
            assert cache.state == "current" and len(cache) == 0 and cache.children(cache.path) is None
            for _ in range(2):
                await client.create(f"{root}/later/child", b"1", make_parents=True)
                await cache.wait_until(lambda c: f"{root}/later/child" in c)
                await client.delete(f"{root}/later/child")
                await client.delete(f"{root}/later")
                await cache.wait_until(lambda c: not len(c))


async def test_the_depth_is_limited(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await filled(client, root)
            async with kind(client, root, max_depth=1) as cache:
                assert cache.paths() == [root, f"{root}/a", f"{root}/b"]
                await client.create(f"{root}/a/x/deeper")
                await client.create(f"{root}/c")
                await cache.wait_until(lambda c: f"{root}/c" in c)
                assert cache.paths() == [root, f"{root}/a", f"{root}/b", f"{root}/c"]
            async with kind(client, root, max_depth=0) as cache:
                assert cache.paths() == [root]


@pytest.mark.parametrize("depth", [-1, True, 1.5, "1"])
async def test_a_depth_that_is_none_is_refused(hosts, depth):
    async with connect(hosts) as client:
        with pytest.raises(BadArguments, match="max_depth="):
            TreeCache(client, "/a", max_depth=depth)
        with pytest.raises(BadArguments):
            TreeCache(client, "a")


async def test_changes_are_differences(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await filled(client, root)
            async with kind(client, root) as cache:
                changes = cache.changes()
                before = [change.path for change in await next_of(cache.changes(initial=True), 5)]
                assert sorted(before) == cache.paths()
                for value in range(20):  # nobody reads the stream meanwhile
                    await client.set(f"{root}/b", b"%d" % value)
                await client.create(f"{root}/gone")
                await cache.wait_until(lambda c: f"{root}/gone" in c)
                await client.delete(f"{root}/gone")
                await client.create(f"{root}/last")
                await cache.wait_until(lambda c: f"{root}/last" in c and f"{root}/gone" not in c)
                first, second = await next_of(changes, 2)
                assert (first.kind, first.path, first.node.data) == (ChangeKind.UPDATED, f"{root}/b", b"19")
                assert (second.kind, second.path) == (ChangeKind.ADDED, f"{root}/last")
                await client.delete(f"{root}/a/x/deep")
                removed = await anext(changes)
                assert (removed.kind, removed.path, removed.node.data) == (
                    ChangeKind.REMOVED,
                    f"{root}/a/x/deep",
                    b"/a/x/deep",
                )


async def test_children_with_their_data(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, ChildrenCache(client, root) as cache:
            assert cache.parent is None and list(cache) == []
            changes = cache.changes()
            await filled(client, root)
            await cache.wait_until(lambda c: len(c) == 2)
            assert cache.names() == ["a", "b"] and cache["a"].data == b"/a" and cache.parent is not None
            assert {change.path for change in await next_of(changes, 2)} == {f"{root}/a", f"{root}/b"}
            assert "x" not in cache and cache.get("none") is None


class Settings(BaseModel):
    limit: int


async def test_a_node_as_a_model(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, NodeCache[Settings](client, root) as cache:
            assert cache.node is None and cache.value is None
            await client.create(root, b'{"limit": 3}')
            assert (await cache.wait_until(lambda c: c.value)).limit == 3
            assert cache.value is cache.value
            await client.set(root, b"nonsense")
            await cache.wait_until(lambda c: c.node.data == b"nonsense")
            with pytest.raises(ValueError, match=f"{root}: not the JSON of a Settings"):
                _ = cache.value
            async with NodeCache(client, root) as plain, NodeCache(client, root, model=dict) as told:
                assert plain.value == b"nonsense"
                await client.set(root, b'{"a": 1}')
                await told.wait_until(lambda c: c.node.data[:1] == b"{")
                assert told.value == {"a": 1}


async def test_what_may_not_be_read_is_left_out_and_named(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts, auth=[("digest", "owner:secret")]) as owner, connect(hosts) as client:
            await filled(owner, root)
            await owner.create(f"{root}/a/secret", acl=[digest_acl("owner", "secret")])
            async with kind(client, root) as cache:
                assert f"{root}/a/secret" not in cache and cache.state == "current"
                assert [(path, type(error)) for path, error in cache.refused.items()] == [(f"{root}/a/secret", NoAuth)]
                # Servers tell of that to those that may read it: for others it shows at the next full reading.
                await owner.delete(f"{root}/a/secret")
                cache._mirror._begin_round()
                await cache.wait_until(lambda c: not c.refused)
                await owner.set_acl(f"{root}/b", [digest_acl("owner", "secret")])
                with pytest.raises(NoAuth, match=f"{root}/b"):
                    async with kind(client, f"{root}/b"):
                        pytest.fail("it was entered")


async def test_no_watch_is_left_on_the_server(server, root, kind):
    """Neither after the block, nor after one that was cancelled at some point, nor here."""
    with anyio.fail_after(SECONDS):
        async with connect(server.hosts) as client:
            await filled(client, root)

            async def none_left():
                await client.get(root)  # answered behind what removes the watches
                assert not any(client.session.watches.values()) and client._state_listeners == {}
                assert client.session.scopes == {}
                assert root not in four_letter(server.port, "wchp")

            async with kind(client, root):
                assert root in four_letter(server.port, "wchp")
            for make in (
                lambda: kind(client, root),
                lambda: ChildrenCache(client, root),
                lambda: NodeCache(client, root),
            ):
                for _ in range(3):
                    async with make():
                        pass
                await none_left()
            for turns in range(12):
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:

                        async def cancel(scope=scope, turns=turns):
                            for _ in range(turns):
                                await anyio.lowlevel.checkpoint()
                            scope.cancel()

                        tasks.start_soon(cancel)
                        async with kind(client, root):
                            await anyio.sleep_forever()
            await none_left()


async def test_two_caches_of_one_client_do_not_take_each_others_watches(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await filled(client, root)
            async with kind(client, root) as one:
                async with kind(client, root), NodeCache(client, f"{root}/a"):
                    pass
                await client.set(f"{root}/a", b"new")
                await one.wait_until(lambda c: c[f"{root}/a"].data == b"new")


async def test_the_end_of_the_session_is_told(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await client.create(root, b"last")
            async with kind(client, root) as cache:
                changes = cache.changes()
                async with anyio.create_task_group() as tasks:
                    told = []

                    async def wait(what):
                        try:
                            await what
                        except SessionExpired as error:
                            told.append(error)

                    tasks.start_soon(wait, cache.wait_until(lambda c: False))
                    tasks.start_soon(wait, anext(changes))
                    await expire_session(client, hosts)
                assert len(told) == 2 and isinstance(cache.error, SessionExpired)
                assert cache.state == "stale" and cache.stale_since is not None
                assert cache[root].data == b"last"
                with pytest.raises(SessionExpired):
                    await cache.wait_until(len)
            with pytest.raises(SessionExpired):
                async with kind(client, root):
                    pytest.fail("it was entered")


async def test_a_client_that_closes_tells_its_caches(hosts, root, kind):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            cache = await kind(client, root).__aenter__()
        assert isinstance(cache.error, ClientClosed) and cache.state == "stale"
        with pytest.raises(ClientClosed):
            await cache.wait_until(lambda c: True)
        await cache.__aexit__(None, None, None)


async def test_outside_its_block_a_cache_says_so(hosts, root):
    async with connect(hosts) as client:
        cache = TreeCache(client, root)
        assert cache.state == "syncing"
        for _ in range(2):
            with pytest.raises(RuntimeError, match="block"):
                await cache.wait_until(len)
            with pytest.raises(RuntimeError, match="block"):
                cache.changes()
            if cache.state == "syncing":
                async with cache:
                    pass
        with pytest.raises(RuntimeError, match="entered already"):
            await cache.__aenter__()


@pytest.mark.parametrize("error", [ConnectionLoss, ThrottledOp])
async def test_u28_a_failed_reading_is_tried_again(hosts, root, kind, error):
    """The cache says that it is stale meanwhile."""
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await filled(client, root)
            async with kind(client, root) as cache:
                hear, states = cache._mirror._heard, []

                def heard(call):
                    if len(states) < 3:
                        call.error = error()
                    hear(call)
                    states.append((cache.state, cache.stale_since is None))

                cache._mirror._heard = heard
                await client.set(f"{root}/a", b"new")
                await cache.wait_until(lambda c: c[f"{root}/a"].data == b"new")
                assert states[:3] == [("stale", False)] * 3
                await cache.wait_until(lambda c: True)
                assert cache.stale_since is None


async def test_u28_what_a_read_only_server_shows_is_stale(hosts, root, kind):
    """It is read, and may be behind the other servers for any time."""
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await filled(client, root)
            async with kind(client, root) as cache:
                client._set_state(ConnectionState.SUSPENDED)
                since = cache.stale_since
                client._set_state(ConnectionState.READ_ONLY)
                mirror = cache._mirror
                while mirror._calls or mirror.copy.has_work:
                    await mirror.news()
                assert mirror.copy.is_whole and cache.state == "stale" and cache.stale_since == since
                client._set_state(ConnectionState.CONNECTED)
                assert cache.state == "stale"
                await cache.wait_until(lambda c: True)
                assert cache.state == "current" and mirror.copy.round == 3


async def test_a_server_without_recursive_watches_is_served_alike(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await filled(client, root)
            submit = client._namespace.submit

            def refuse(call):
                if call.op == op.ADD_WATCH:
                    call.fail(Unimplemented())
                    return call
                return submit(call)

            client._submit = client._namespace.submit = refuse
            async with TreeCache(client, root) as cache, EachWatched(client, root) as other:
                assert not client.session.watches["recursive"] and dict(cache) == dict(other)
                await client.create(f"{root}/b/new")
                await cache.wait_until(lambda c: f"{root}/b/new" in c)
            assert client.state is ConnectionState.CONNECTED


async def test_many_znodes_are_read_with_few_requests_and_few_at_a_time(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await client.create(root)
            for begin in range(0, 1000, 250):
                async with client.multi() as multi:
                    for number in range(begin, begin + 250):
                        multi.create(f"{root}/{number}", b"x" * 100)
            submit, most, kinds = client._namespace.submit, 0, []
            cache = TreeCache(client, root)

            def counted(call):
                nonlocal most
                kinds.append(call.op)
                most = max(most, len(cache._mirror._calls) + 1)
                return submit(call)

            client._submit = client._namespace.submit = counted
            async with cache:
                assert len(cache) == 1001
            assert len(kinds) < 40 and most <= 4, (len(kinds), most)


async def test_memory_is_flat_over_many_blocks(our_server, root):
    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client:
            await filled(client, root)

            async def cycles():
                for _ in range(15):
                    for make in (TreeCache, EachWatched, ChildrenCache, NodeCache):
                        async with make(client, root) as cache:
                            cache.changes()
                await client.get(root)
                del cache
                gc.collect()
                return len(gc.get_objects())

            await cycles()
            before = await cycles()
            assert await cycles() < before + 100
            assert root not in four_letter(our_server.port, "wchp")
