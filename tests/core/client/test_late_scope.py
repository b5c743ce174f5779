import asyncio

import anyio
import anyio.lowlevel
import pytest

from recipes.core.client.late_scope import LateScope

pytestmark = pytest.mark.anyio


async def test_what_is_cancelled_before_it_is_entered_does_not_begin():
    scope, reached = LateScope(), []
    scope.cancel()
    with scope:
        await anyio.lowlevel.checkpoint()
        reached.append(True)
    assert not reached


async def test_what_is_inside_is_cancelled_and_nothing_else():
    scope = LateScope()
    async with anyio.create_task_group() as group:

        async def wait():
            with scope:
                await anyio.sleep_forever()

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
    await anyio.lowlevel.checkpoint()


def test_a_callback_of_the_loop_makes_one_under_asyncio_run():
    async def main():
        made = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: made.set_result(LateScope()))
        scope = await made
        with scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await asyncio.sleep(60)
            pytest.fail("it was not cancelled")

    asyncio.run(main())
