"""A service that keeps working while its servers are killed: one leader puts jobs into a queue, all workers do them."""

import logging

import anyio

from recipes import AckLost, ConnectionLoss, Counter, Election, Queue, Term, connect
from recipes.testing import Ensemble


class Service:
    """One process of the service; here all of them are tasks of one program."""

    def __init__(self, name: str, hosts: str, put: set[bytes], done: set[bytes]) -> None:
        self.name, self.hosts, self.put, self.done = name, hosts, put, done

    async def run(self) -> None:
        # `renew=True` is all that it needs to outlive its sessions.
        async with connect(self.hosts, session_timeout=1.0, renew=True) as client:
            self.client = client
            self.queue, self.count = Queue(client, "/jobs"), Counter(client, "/count")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Election(client, "/leader", data=self.name.encode()).run, self.lead)
                await self.work()

    async def lead(self, term: Term) -> None:
        print(f"{self.name} leads, fence {term.fence:#x}")
        while True:  # cancelled when leadership is lost
            try:
                number = (await self.count.add(1)).after
                job = f"job {number}".encode()
                await self.queue.put(job, key=str(number))
                self.put.add(job)
            except ConnectionLoss as error:  # this number may be left out, or its job may be in the queue
                print(f"{self.name}: {error}")
            await anyio.sleep(0.02)

    async def work(self) -> None:
        async with self.queue.consume(concurrency=2, prefetch=2) as messages:
            async for message in messages:
                try:
                    async with message:
                        await anyio.sleep(0.001)  # the work
                        self.done.add(message.data)  # each at least once, even if its acknowledgement is lost
                except AckLost:
                    print(f"{self.name} lost its claim on {message.data!r}: it is handed out again")


async def progress(done: set[bytes]) -> None:
    """Return once further jobs are done."""
    enough = len(done) + 5
    while len(done) < enough:
        await anyio.sleep(0.05)


async def kill_servers(ensemble: Ensemble, services: list[Service], done: set[bytes]) -> None:
    """Kill the leading server, then two of three, for longer than sessions live."""
    leader = await ensemble.leader()
    print(f"server {leader}, the leader, is killed")
    await ensemble.kill(leader)
    await progress(done)
    await ensemble.restart(leader)
    await ensemble.settled()

    print("two servers are killed: nothing can be written, and sessions end")
    for sid in (1, 2):
        await ensemble.kill(sid)
    while not all(service.client.losses for service in services):
        await anyio.sleep(0.05)
    for sid in (1, 2):
        await ensemble.restart(sid)
    await progress(done)


async def main() -> None:
    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("recipes.election").setLevel(logging.INFO)
    put: set[bytes] = set()
    done: set[bytes] = set()
    async with Ensemble(3) as ensemble, anyio.create_task_group() as tasks:
        services = [Service(name, ensemble.hosts, put, done) for name in ("anna", "bert", "cleo")]
        for service in services:
            tasks.start_soon(service.run)
        await progress(done)
        await kill_servers(ensemble, services, done)
        due = set(put)
        while not due <= done:  # none was lost
            await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    losses = sum(service.client.losses for service in services)
    print(f"{len(done)} jobs done, none of {len(due)} lost, through {losses} lost sessions")


anyio.run(main)
