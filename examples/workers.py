"""Workers on one queue: each job is done at least once; failed jobs come again, and end as dead letters."""

import signal

import anyio
from pydantic import BaseModel

from recipes import Queue, SessionExpired, connect
from recipes.queue.consume import Messages

JOBS = 20


class Job(BaseModel):
    number: int


async def work(messages: Messages[Job], done: set[int]) -> None:
    async for message in messages:
        try:
            async with message:  # its end acknowledges the job; an exception gives it back
                if message.data.number == 13:
                    raise ValueError("nobody likes this one")
                done.add(message.data.number)
        except ValueError as error:
            print(f"job {message.data.number}, attempt {message.attempt}: {error}")


async def drain_on_sigterm(messages: Messages[Job]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            await messages.drain(within=10)
            return


async def main() -> None:
    done: set[int] = set()
    while len(done) < JOBS - 1:
        try:  # a lost session is followed by another one, and its jobs in hand come back
            async with connect() as client:
                queue = Queue[Job](client, "/jobs", max_deliveries=3, retry_delay=0.05)
                for number in range(JOBS):  # the keys make it safe to put them again
                    await queue.put(Job(number=number), key=str(number))
                async with queue.consume(concurrency=4, prefetch=8) as messages, anyio.create_task_group() as tasks:
                    tasks.start_soon(drain_on_sigterm, messages)
                    for _ in range(4):
                        tasks.start_soon(work, messages, done)
                    while await queue.size():
                        await anyio.sleep(0.05)
                    await messages.drain()
                    tasks.cancel_scope.cancel()
                print(f"{len(done)} jobs done; dead letters: {await queue.dead_letters.reasons()}")
        except SessionExpired:
            continue


anyio.run(main)
