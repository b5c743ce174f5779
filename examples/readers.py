"""A table with many readers and one writer, and three licences that five workers share.

Runs as it is, on the store that all processes of this user share, so that it also excludes workers of other processes.
With RECIPES_HOSTS it uses that server, and then it also excludes workers of other machines.
"""

import anyio

from recipes import ReadWriteLock, Semaphore, connect


async def rewrite() -> None:
    async with connect() as client:
        async with ReadWriteLock(client, "/examples/table").write() as grant:
            async with grant.guarded() as multi:  # applied only while we hold it
                multi.set("/examples/table/value", b"new")
            await grant.downgrade()  # readers get in, no other writer does
            value, _ = await client.get("/examples/table/value")
            print(f"the writer reads {value.decode()!r} with fence {grant.fence}")


async def read(name: str) -> None:
    async with connect() as client, ReadWriteLock(client, "/examples/table").read():
        value, _ = await client.get("/examples/table/value")
        print(f"{name} reads {value.decode()!r}")


async def use_licence(name: str) -> None:
    async with connect() as client, Semaphore(client, "/examples/licences", limit=3):
        print(f"{name} has one of three licences")
        await anyio.sleep(0.05)


async def main() -> None:
    async with connect() as client:
        await client.ensure_path("/examples/table/value")
        await client.set("/examples/table/value", b"old")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rewrite)
        for number in range(3):
            tasks.start_soon(read, f"reader-{number}")
        for number in range(5):
            tasks.start_soon(use_licence, f"worker-{number}")


anyio.run(main)
