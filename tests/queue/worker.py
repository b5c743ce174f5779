"""A worker process: `python worker.py HOSTS PATH LOG`. Each item it handled is a line of LOG, with the fence it had."""

import sys

import anyio

from recipes import AckLost, Queue, connect
from recipes.core.errors import ConnectionLoss, SessionError


async def work(hosts: str, path: str, log: str) -> None:
    with open(log, "a", buffering=1) as lines:
        while True:  # a session that is lost is followed by another one
            try:
                async with connect(hosts, session_timeout=4.0) as client:
                    queue = Queue(client, path, max_deliveries=1_000)
                    async with queue.consume(concurrency=4, prefetch=8) as messages, anyio.create_task_group() as tasks:

                        async def handle() -> None:
                            async for message in messages:
                                try:
                                    async with message:
                                        lines.write(f"{message.data.decode()} {message.fence}\n")
                                except AckLost:
                                    continue

                        for _ in range(4):
                            tasks.start_soon(handle)
            except* (ConnectionLoss, SessionError, AckLost):
                lines.write("lost\n")  # its session, and with it what it had in hand
                await anyio.sleep(0.1)


if __name__ == "__main__":
    anyio.run(work, *sys.argv[1:])
