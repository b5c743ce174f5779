"""Groups on our server and on Apache's, on asyncio and on trio."""

from contextlib import aclosing

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.errors import MembershipLost, NoNode, SessionExpired
from recipes.membership import Group
from recipes.testing.expire import expire_session

pytestmark = pytest.mark.anyio
SECONDS = 60


def shown(members):
    return [member.data for member in members]


async def until(members, expected):
    async for found in members:
        if shown(found) == expected:
            return
        assert len(found) <= 3


async def test_members_come_and_go(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            group = Group(two, root)
            assert await group.members() == []
            async with aclosing(group.watch()) as seen:
                assert await anext(seen) == []
                async with Group(one, root).join(b"first") as first:
                    await until(seen, [b"first"])
                    async with group.join(b"second") as second, group.join(b"third"):  # of one client and task
                        await until(seen, [b"first", b"second", b"third"])
                        await one.sync(root)
                        members = await Group(one, root).members()
                        assert [member.id for member in members][:2] == [first.id, second.id] != [first.id] * 2
                        assert [member.path for member in members][:2] == [first.path, second.path]
                        assert members[0].fence == first.fence and members[0].session_id == one.session_id
                        await first.update(b"changed")
                        await until(seen, [b"changed", b"second", b"third"])
                        assert (await one.exists(first.path)).czxid == first.fence
                        await second.leave()
                        await until(seen, [b"changed", b"third"])
                await until(seen, [])
                with pytest.raises(NoNode):
                    await first.update(b"late")


async def test_u32_a_member_goes_with_its_session(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            async with aclosing(Group(two, root).watch()) as seen:
                with pytest.raises(MembershipLost, match=root):
                    async with Group(one, root).join(b"here"):
                        await until(seen, [b"here"])
                        await expire_session(one, hosts)
                        await anyio.sleep_forever()
                await until(seen, [])
            with pytest.raises(SessionExpired):
                async with aclosing(Group(one, root).watch()) as members:
                    await anext(members)


async def test_u31_a_member_that_is_removed_is_told_and_the_others_stay(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            async with Group(two, root).join(b"stays") as stays:
                with pytest.raises(MembershipLost):
                    async with Group(one, root).join(b"goes") as goes:
                        await two.delete(goes.path)
                        await anyio.sleep_forever()
                assert shown(await Group(two, root).members()) == [b"stays"] and not stays.ended.is_set()


async def test_a_member_s_writes_are_applied_only_while_it_is_one(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            async with Group(client, f"{root}/group").join() as member:
                async with member.guarded() as multi:
                    multi.create(root + "/first")
                await member.leave()
                with pytest.raises(MembershipLost):
                    async with member.guarded() as multi:
                        multi.create(root + "/second")
            assert await client.children(root) == ["first", "group"]


async def test_a_cancelled_join_leaves_nothing(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            for turns in range(10):
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:

                        async def cancel(scope=scope, turns=turns):
                            for _ in range(turns):
                                await anyio.lowlevel.checkpoint()
                            scope.cancel()

                        tasks.start_soon(cancel)
                        async with Group(client, root).join(b"short"):
                            await anyio.sleep_forever()
            async with aclosing(Group(client, root).watch()) as seen:
                async for members in seen:
                    if not members:
                        break
