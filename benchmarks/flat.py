"""Memory of one client over many acquires and many items: it should not grow with their number.

Prints JSON: resident MB after a tenth of the acquires and of the items, and after all of each.
"""

import argparse
import gc
import importlib.util
import json
import sys
from pathlib import Path

import anyio

from recipes import Client, Lock, Queue, connect

TASKS = 16
BATCH = 100  # items in one put


def resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


async def acquire(client: Client, count: int) -> None:
    async def some(index: int) -> None:
        for _ in range(count // TASKS):
            async with Lock(client, f"/flat/locks/{index}"):
                pass

    async with anyio.create_task_group() as group:
        for index in range(TASKS):
            group.start_soon(some, index)


async def put_and_consume(client: Client, count: int) -> None:
    queue = Queue(client, "/flat/queue")
    done = 0
    batch_done = anyio.Event()

    async def handle() -> None:
        nonlocal done
        async for message in messages:
            async with message:
                pass
            done += 1
            if done % BATCH == 0:
                batch_done.set()

    async with queue.consume(concurrency=TASKS, prefetch=64) as messages, anyio.create_task_group() as group:
        for _ in range(TASKS):
            group.start_soon(handle)
        for _ in range(count // BATCH):
            batch_done = anyio.Event()
            await queue.put_many([b"x" * 100] * BATCH)
            await batch_done.wait()
        group.cancel_scope.cancel()


async def main(port: int, count: int) -> dict[str, float]:
    found = {}
    async with connect(f"127.0.0.1:{port}") as client:
        for what, work in (("acquires", acquire), ("items", put_and_consume)):
            await work(client, count // 10)
            found[f"after {count // 10:,} {what}"] = resident_mb()
            await work(client, count - count // 10)
            found[f"after {count:,} {what}"] = resident_mb()
    return found


def read_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    parser.add_argument("port", type=int, help="of a server on this machine")
    parser.add_argument(
        "count", type=int, nargs="?", default=100_000, help="acquires of a lock, then items put and consumed (100,000)"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    asked = read_arguments(sys.argv[1:])
    use_uvloop = importlib.util.find_spec("uvloop") is not None
    done = anyio.run(main, asked.port, asked.count, backend_options={"use_uvloop": use_uvloop})
    sys.stdout.write(json.dumps(done) + "\n")
