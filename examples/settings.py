"""A program follows its settings: it reads them from memory, and gets each change.

Runs as it is. With RECIPES_HOSTS it uses that server, and then somebody else may change them.
"""

import anyio

from recipes import TreeCache, connect


async def main() -> None:
    async with connect() as client:
        await client.ensure_path("/examples/settings/uploads")
        async with TreeCache(client, "/examples/settings") as cache:
            changes = cache.changes()
            print(f"the settings are {cache.state}: {', '.join(cache.paths())}")
            await client.set("/examples/settings/uploads", b"20 at a time")
            async for change in changes:
                print(f"{change.path} was {change.kind.value}: {change.node.data.decode()}")
                break


anyio.run(main)
