"""A lock outlives the server that led when it was taken: three servers in this process, one of them is killed."""

import anyio

from recipes import Lock, connect
from recipes.testing import Ensemble


async def main() -> None:
    async with Ensemble(3) as ensemble, connect(ensemble.hosts) as client:
        async with Lock(client, "/locks/report") as grant:
            leader = await ensemble.leader()
            print(f"server {leader} leads; we hold the lock, fence {grant.fence}")
            await ensemble.kill(leader)
            print(f"server {leader} was killed; now server {await ensemble.leader()} leads")
            await client.sync("/")  # sent again to another server; a write would have to be checked first
            await client.create("/report", b"written under the same lock")
            print("still the holder")


anyio.run(main)
