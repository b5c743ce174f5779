"""The client against a server: every operation, on asyncio and on trio, against ours and Apache's."""

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.client.session import ConnectionState, EventType
from recipes.core.errors import (
    AuthFailed,
    BadArguments,
    BadVersion,
    ClientClosed,
    ConnectionLoss,
    NoAuth,
    NodeExists,
    NoNode,
    NotEmpty,
)
from recipes.core.jute.records import ACL, Id

pytestmark = pytest.mark.anyio


@pytest.fixture
def client_of(hosts):
    """`client_of(**options)`: a client below a path of this test's own."""

    def make(below="", **options):
        return connect(hosts + below, session_timeout=10, **options)

    return make


async def test_znodes_are_created_read_changed_and_deleted(client_of, root):
    async with client_of() as client:
        assert await client.create(root, b"one") == root
        data, stat = await client.get(root)
        assert (data, stat.version, stat.data_length) == (b"one", 0, 3)
        assert (await client.set(root, b"two", version=0)).version == 1
        with pytest.raises(BadVersion):
            await client.set(root, b"three", version=0)
        with pytest.raises(NodeExists) as caught:
            await client.create(root)
        assert caught.value.path == root
        await client.create(f"{root}/child")
        assert await client.children(root) == ["child"]
        with pytest.raises(NotEmpty):
            await client.delete(root)
        await client.delete(f"{root}/child")
        await client.delete(root, version=1)
        assert await client.exists(root) is None
        with pytest.raises(NoNode):
            await client.get(root)


async def test_sequential_ephemeral_and_container_znodes(client_of, root):
    async with client_of() as client:
        await client.create(root, container=True)
        paths = [await client.create(f"{root}/n-", ephemeral=True, sequential=True) for _ in range(3)]
        assert paths == [f"{root}/n-000000000{index}" for index in range(3)]
        assert await client.ephemerals(root) == paths
        assert await client.count_descendants(root) == 3
        stat = await client.exists(paths[0])
        assert stat.ephemeral_owner == client.session.id
    async with client_of() as client:
        assert await client.children(root) == []


async def test_a_transaction_is_all_or_nothing(client_of, root):
    async with client_of() as client:
        async with client.multi() as tx:
            tx.create(root, b"1")
            tx.set(root, b"2")
            tx.check(root, 1)
        assert tx.results[0] == root
        assert tx.results[1].version == 1
        with pytest.raises(NoNode) as caught:
            async with client.multi() as tx:
                tx.set(root, b"3")
                tx.delete(f"{root}/missing")
        assert caught.value.path == f"{root}/missing"
        assert (await client.get(root))[0] == b"2"


async def test_several_reads_in_one_request_fail_each_for_itself(client_of, root):
    async with client_of() as client:
        await client.create(root, b"1")
        await client.create(f"{root}/b")
        await client.create(f"{root}/a")
        data, missing, names = await client.multi_read(
            [("get", root), ("children", f"{root}/missing"), ("children", root)]
        )
        assert data == await client.get(root)
        assert isinstance(missing, NoNode)
        assert missing.path == f"{root}/missing"
        assert names == ["a", "b"]


async def test_a_deletion_is_told_once_also_when_it_was_before_or_data_changed(client_of, root):
    told = []
    async with client_of() as client, client_of() as other:
        await client.create(root)
        client.watch_deletion(root, lambda: told.append("deleted"))
        client.watch_deletion(root, lambda: told.append("cancelled")).cancel()
        await client.sync(root)
        await other.set(root, b"x")
        await client.sync(root)
        await client.sync(root)  # by now the watch that the change used up is set again
        assert told == []
        await other.delete(root)
        await client.sync(root)
        assert told == ["deleted"]
        client.watch_deletion(root, lambda: told.append("gone before"))
        await client.sync(root)
        await other.create(root)
        await other.delete(root)
        await client.sync(root)
        assert told == ["deleted", "gone before"]


async def test_a_creation_is_told_once_also_when_it_was_before(client_of, root):
    told = []
    async with client_of() as client, client_of() as other:
        watch = client.watch_creation(root, lambda: told.append("made"))
        client.watch_creation(root, lambda: told.append("cancelled")).cancel()
        await client.sync(root)
        assert told == [] and not watch.is_made
        await other.create(root)
        await client.sync(root)
        assert told == ["made"] and watch.is_made and watch.in_order
        found = client.watch_creation(root, lambda: told.append("found"))
        await client.sync(root)
        await other.delete(root)
        await client.sync(root)
        assert told == ["made", "found"] and found.in_order
        assert not any(client.session.watches["exist"].values())


async def test_one_shot_watches(client_of, root):
    async with client_of() as client, client_of() as other:
        stat, created = await client.exists_watch(root)
        assert stat is None
        await other.create(root)
        assert await created.wait() == (EventType.CREATED, root)
        _, _, changed = await client.get_watch(root)
        _, grown = await client.children_watch(root)
        await other.set(root, b"x")
        assert await changed.wait() == (EventType.DATA_CHANGED, root)
        await other.create(f"{root}/c")
        assert await grown.wait() == (EventType.CHILDREN_CHANGED, root)


async def test_a_recursive_watch_sees_everything_below_in_order(client_of, root):
    async with client_of() as client:
        await client.create(root)
        async with client.watch(root, recursive=True) as events:
            await client.create(f"{root}/a")
            await client.set(f"{root}/a", b"x")
            await client.delete(f"{root}/a")
            seen = [await anext(events) for _ in range(3)]
        assert [event.type for event in seen] == [EventType.CREATED, EventType.DATA_CHANGED, EventType.DELETED]
        assert {event.path for event in seen} == {f"{root}/a"}


async def test_acls_and_credentials(client_of, root):
    async with client_of(auth=[("digest", "bob:pw")]) as bob, client_of() as anyone:
        assert Id("digest", "bob") in await bob.who_am_i()
        await bob.create(root, b"secret", acl=[ACL(31, Id("auth", ""))])
        with pytest.raises(NoAuth):
            await anyone.get(root)
        acl, _ = await bob.get_acl(root)
        assert acl == [ACL(31, Id("digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="))]
        await anyone.add_auth("digest", "bob:pw")
        assert (await anyone.get(root))[0] == b"secret"


async def test_a_chroot_hides_itself(client_of, root):
    async with client_of() as client:
        await client.create(root)
    async with client_of(root) as below:
        assert await below.create("/a") == "/a"
        _, _, watch = await below.get_watch("/a")
        await below.set("/a", b"x")
        assert (await watch.wait()).path == "/a"
        assert await below.children("/") == ["a"]


@pytest.mark.parametrize("chroot", ["/a/", "//a", "/a/../b"])
async def test_a_bad_chroot_is_named(chroot):
    with pytest.raises(BadArguments, match="not a chroot") as caught:
        async with connect(f"127.0.0.1:1{chroot}"):
            pass
    assert caught.value.path == chroot


async def test_after_refused_credentials_every_call_says_so(client_of, root):
    async with client_of() as client:
        with pytest.raises(AuthFailed):
            await client.add_auth("no-such-scheme", "x")
        with pytest.raises(AuthFailed) as caught:
            await client.get(root)
        assert caught.value.path == root


async def test_many_calls_share_one_connection(client_of, root):
    async with client_of() as client:
        await client.create(root)
        versions = []

        async def write(number):
            versions.append((await client.set(root, b"%d" % number)).version)

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(write, number)
        assert sorted(versions) == list(range(1, 301))  # trio starts tasks in any order


async def test_states_and_calls_after_the_end(client_of, root):
    client = client_of()
    async with client:
        assert client.state is ConnectionState.CONNECTED
    assert client.state is ConnectionState.CLOSED
    with pytest.raises(ClientClosed):
        await client.get(root)


async def test_bad_paths_never_reach_a_server(client_of):
    async with client_of() as client:
        for path in ("", "a", "/a/", "/a//b", "/a/../b", "/\x00"):
            with pytest.raises(BadArguments, match="not a znode path"):
                await client.get(path)


async def test_nobody_listening_is_one_clear_error(silent_port):
    with pytest.raises(ConnectionLoss, match=f"no ZooKeeper server answers at 127.0.0.1:{silent_port}"):
        async with connect(f"127.0.0.1:{silent_port}", session_timeout=1.5):
            pass
