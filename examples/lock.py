"""Three workers take turns at a lock; each turn has a higher fence.

Runs as it is, on the store that all processes of this user share, so that it also excludes workers of other processes.
With RECIPES_HOSTS it uses that server, and then it also excludes workers of other machines.
"""

import anyio

from recipes import Lock, connect


async def work(name: str) -> None:
    async with connect() as client, Lock(client, "/examples/lock") as grant:
        print(f"{name} works with fence {grant.fence}")


async def main() -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(work, f"worker-{number}")


anyio.run(main)
