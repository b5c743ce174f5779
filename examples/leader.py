"""A service of two workers, of which one leads at a time; when it resigns, the other one takes over.

Runs as it is, on the store that all processes of this user share. With RECIPES_HOSTS it uses that server.
"""

import anyio

from recipes import Election, LeadershipLost, connect


async def serve(name: str) -> None:
    async with connect() as client:
        try:
            async with Election(client, "/examples/leader").lead() as term:
                print(f"{name} leads with fence {term.fence}")
                await anyio.sleep(0.1)  # the work that only the leader may do
        except LeadershipLost:
            print(f"{name} lost the leadership: its work was cancelled")


async def main() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, "worker-1")
        tasks.start_soon(serve, "worker-2")


anyio.run(main)
