"""A znode that outlives its writer by a fixed time, on our server and on Apache's, on asyncio and on trio."""

import anyio
import pytest

from recipes import BadArguments, NoChildrenForEphemerals, NoNode, TtlNode, Unimplemented, connect
from recipes.testing import expire_session
from tests.membership.test_presence import SECONDS, until

pytestmark = pytest.mark.anyio


async def test_it_has_a_child_with_the_ttl_and_goes_with_the_block(hosts, root):
    async with connect(hosts) as client, connect(hosts) as other:
        path = f"{root}/jobs/nightly"
        async with TtlNode(client, path, b"host a", ttl=30) as node:
            data, stat = await other.get(path)
            assert (data, stat.czxid) == (b"host a", node.fence)
            assert await other.children(path) == ["touch"]
            await node.update(b"host b")
            assert (await other.get(path))[0] == b"host b"
        await other.sync(path)
        assert await other.exists(path) is None


async def test_it_is_touched_before_its_time_is_up(hosts, root):
    async with connect(hosts) as client, connect(hosts) as other, TtlNode(client, root, ttl=1):
        touched = (await other.exists(f"{root}/touch")).version

        async def again():
            return (await other.exists(f"{root}/touch")).version >= touched + 2

        await until(again)


async def test_it_survives_its_session_and_is_found_again(hosts, root):
    async with connect(hosts, renew=True) as client, connect(hosts) as other:
        async with TtlNode(client, root, b"1", ttl=60) as node:
            fence = node.fence
            await expire_session(client, hosts)
            with anyio.fail_after(SECONDS):
                while not (node.losses == 1 and node.present):
                    await anyio.sleep(0.005)
            assert node.fence == fence
        async with connect(hosts) as first:
            left = TtlNode(first, root, b"2", ttl=60)
            await left.__aenter__()
            fence = left.fence
        assert (await other.get(root))[0] == b"2"  # the program ended without leaving the block
        async with TtlNode(other, root, b"3", ttl=60) as node:
            assert (node.fence, (await other.get(root))[0]) == (fence, b"3")


async def test_somebody_deletes_it(hosts, root):
    async with connect(hosts) as client, connect(hosts) as other, TtlNode(client, root, b"1", ttl=1) as node:
        fence = node.fence
        await other.delete(f"{root}/touch")  # as the servers do, after a pause of the program

        async def touched():
            return await other.exists(f"{root}/touch") is not None

        await until(touched)
        assert (node.present, node.fence) == (True, fence)

        async def delete():
            try:
                async with other.multi() as multi:
                    multi.delete(f"{root}/touch")
                    multi.delete(root)
            except NoNode:  # it was not touched since
                return False
            return True

        await until(delete)

        async def back():
            return node.present and node.fence > fence and await touched()

        await until(back)


async def test_wrong_input(hosts, root):
    async with connect(hosts) as client:
        with pytest.raises(BadArguments, match=r"ttl=0\.5: expected seconds, 1 or more"):
            TtlNode(client, root, ttl=0.5)
        await client.create(root, ephemeral=True)
        with pytest.raises(NoChildrenForEphemerals):
            async with TtlNode(client, root, ttl=5):
                pass


async def test_servers_without_ttl(start_server, tmp_path):
    server = start_server("ours", extendedTypesEnabled="false")
    async with connect(server.hosts) as client:
        with pytest.raises(Unimplemented):
            async with TtlNode(client, "/a", ttl=5):
                pass
        assert await client.exists("/a") is None


async def test_servers_delete_it_once_nobody_touches_it(start_server):
    server = start_server("ours", **{"znode.container.checkIntervalMs": 50})
    async with connect(server.hosts) as other:
        async with connect(server.hosts) as gone:
            await TtlNode(gone, "/a/b", ttl=1).__aenter__()

        async def deleted():
            return await other.exists("/a") is None

        await until(deleted)
