"""A znode that is kept present, on our server and on Apache's, on asyncio and on trio."""

import anyio
import pytest

from recipes import (
    ACL,
    ClientClosed,
    EphemeralNode,
    Id,
    NoAuth,
    NodeExists,
    NoNode,
    Perms,
    SessionExpired,
    TtlNode,
    connect,
)
from recipes.testing import expire_session
from tests.queue.conftest import sabotaged

pytestmark = pytest.mark.anyio
SECONDS = 60


async def until(condition):
    with anyio.fail_after(SECONDS):
        while not await condition():
            await anyio.sleep(0.005)


async def test_p25_it_is_there_again_after_a_loss_with_the_newest_data(hosts, root):
    path = f"{root}/a/b"
    async with connect(hosts, renew=True) as client, connect(hosts) as other:
        async with EphemeralNode(client, path, b"1") as node:
            fence = node.fence
            assert (node.present, node.path, (await other.get(path))[0]) == (True, path, b"1")
            await node.update(b"2")
            assert (await other.get(path))[0] == b"2"
            await expire_session(client, hosts)

            async def update():
                await node.update(b"3")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(update)
            await until(lambda: _is(node.losses == 1 and node.present))
            data, stat = await other.get(path)
            assert (data, stat.ephemeral_owner) == (b"3", client.session_id)
            assert node.fence > fence
        await until(lambda: _is_gone(other, path))
        assert not node.present
        assert not client._state_listeners


async def _is(value):
    return value


async def _is_gone(client, path):
    await client.sync(path)
    return await client.exists(path) is None


async def test_it_is_made_anew_when_somebody_deletes_it(hosts, root):
    async with connect(hosts) as client, connect(hosts) as other:
        async with EphemeralNode(client, root, b"1") as node:
            for _ in range(3):
                fence = node.fence
                await other.delete(root)
                await until(lambda fence=fence: _is(node.present and node.fence != fence))
            assert (await other.get(root))[0] == b"1"


async def test_a_znode_of_ours_that_goes_as_it_is_found_is_made_again(hosts, root, monkeypatch):
    """An earlier block of this session left it, and the client's own task deletes it."""
    async with connect(hosts) as client, connect(hosts) as other:
        earlier = await client.create(root, b"earlier", ephemeral=True)
        write, deleted = client.set, []

        async def write_too_late(path, data, version=-1):
            if not deleted:
                deleted.append(path)
                await other.delete(path)
            return await write(path, data, version)

        monkeypatch.setattr(client, "set", write_too_late)
        with anyio.fail_after(SECONDS):
            async with EphemeralNode(client, root, b"later") as node:
                assert node.present
                assert (await client.get(root))[0] == b"later"
        assert deleted == [earlier]


async def test_u30_it_waits_for_what_a_process_before_it_left_and_deletes_it_never(hosts, root):
    async with connect(hosts) as client, connect(hosts) as before:
        await before.create(root, b"before", ephemeral=True)
        entered = []

        async def enter():
            async with EphemeralNode(client, root, b"after"):
                entered.append(True)
                await anyio.sleep_forever()

        with anyio.move_on_after(SECONDS) as cancelled:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(enter)
                await until(lambda: _is(client.session.watches["data"]))  # it waits
                cancelled.cancel()
        assert not entered
        assert (await before.get(root))[0] == b"before"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            await until(lambda: _is(client.session.watches["data"]))
            await before.delete(root)
            await until(lambda: _is(entered))
            tasks.cancel_scope.cancel()
        await until(lambda: _is_gone(before, root))


async def test_what_cannot_be_made_is_said_when_it_is_entered(hosts, root):
    async with connect(hosts) as client:
        await client.create(root, acl=[ACL(Perms.READ, Id("world", "anyone"))])
        for path, error in ((root, NodeExists), (f"{root}/a", NoAuth)):
            node = EphemeralNode(client, path)
            with anyio.fail_after(SECONDS), pytest.raises(error):
                async with node:
                    pytest.fail("it was made")
            assert isinstance(node.error, error)
        with pytest.raises(RuntimeError, match="entered already"):
            await node.__aenter__()
        assert not client._state_listeners
    async with connect(hosts + f"{root}/none") as client:
        for node in (EphemeralNode(client, "/node"), TtlNode(client, "/node", ttl=1)):
            with anyio.fail_after(SECONDS), pytest.raises(NoNode, match="/node"):  # the chroot is missing
                async with node:
                    pytest.fail("it was made")


async def test_without_another_session_it_ends_and_says_why(hosts, root):
    async with connect(hosts) as client, connect(hosts) as closed:
        async with EphemeralNode(client, root) as node, EphemeralNode(closed, f"{root}-2") as other:
            await expire_session(client, hosts)
            with anyio.fail_after(SECONDS), pytest.raises(SessionExpired):
                while True:
                    await node.update(b"%d" % closed.random.getrandbits(30))
            await closed.__aexit__(None, None, None)
            with pytest.raises(ClientClosed):
                await other.wait_present()
        assert isinstance(node.error, SessionExpired)


@pytest.mark.thorough("all requests in turn")
async def test_each_lost_reply_in_turn_is_no_error(our_server, root):
    hosts = our_server.hosts
    async with connect(hosts) as other:
        for number in range(1, 9):
            path = f"{root}/{number}"
            async with sabotaged(hosts) as (client, saboteur):
                saboteur.lose_reply = number
                with anyio.fail_after(SECONDS):
                    async with EphemeralNode(client, path, b"1") as node:
                        await node.update(b"2")
                        assert (await other.get(path))[0] == b"2"
            assert saboteur.lost == (number < 7)
            assert await other.exists(path) is None
