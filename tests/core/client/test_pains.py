"""What users of other clients reported: each test is named after entries of tests/reported.md."""

from contextlib import aclosing

import anyio
import pytest

from recipes import ConnectionState, connect
from tests.cable import cabled

pytestmark = pytest.mark.anyio

SECONDS = 60


async def test_p14_who_hears_of_a_new_state_may_call_the_client(hosts, root):
    """As people do there: make again what went with the session, here what went while nobody was connected."""
    seen = []
    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other, anyio.create_task_group() as tasks:

            async def make():
                if await client.exists(root) is None:
                    seen.append(await client.create(root, ephemeral=True))

            async def keep():
                async with aclosing(client.states()) as states:
                    async for state in states:
                        if state is ConnectionState.CONNECTED:
                            await make()

            async def until_made(times):
                while len(seen) < times:
                    await anyio.sleep(0.01)

            tasks.start_soon(keep)
            await until_made(1)
            await cable.pull()
            await other.delete(root)
            await cable.plug()
            await until_made(2)
            assert (await other.exists(root)).ephemeral_owner == client.session_id
            tasks.cancel_scope.cancel()
