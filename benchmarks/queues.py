"""Putting and consuming items, by our Queue or kazoo's LockingQueue, each worker in a process of its own.

`python -m benchmarks.queues ours|receive|kazoo PORT PATH put|consume ITEMS SECONDS`: connects, prints a line, and on a
line from standard input puts ITEMS items, or consumes until there was none for IDLE seconds, or SECONDS are over.
Prints how many, and when the last one was done, as JSON.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from time import perf_counter

ITEM = b"x" * 100
CONCURRENCY, PREFETCH = 16, 64
IDLE = 2.0


def rates(kind: str, port: int, path: str, workers: int, items: int, seconds: float) -> tuple[float, float]:
    """Items per second put by as many processes as consume afterwards, and consumed."""
    return tuple(_together(kind, port, path, work, workers, items, seconds) for work in ("put", "consume"))  # type: ignore[return-value]


def _together(kind: str, port: int, path: str, work: str, workers: int, items: int, seconds: float) -> float:
    words = [
        sys.executable,
        "-m",
        "benchmarks.queues",
        kind,
        str(port),
        path,
        work,
        str(items // workers),
        str(seconds),
    ]
    return work_together(words, workers, seconds)


def work_together(words: list[str], workers: int, seconds: float) -> float:
    """Items per second of so many processes that begin together."""
    running = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        done = [json.loads(process.communicate(timeout=seconds + 120)[0]) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    rate: float = sum(each["items"] for each in done) / max(each["seconds"] for each in done)
    return rate


def run_ours(kind: str, port: int, path: str, work: str, items: int, seconds: float) -> dict[str, float]:
    import anyio

    from recipes import Queue, connect

    count, last = 0, 0.0

    def done() -> None:
        nonlocal count, last
        count, last = count + 1, perf_counter()

    async def put(queue: Queue[bytes]) -> None:
        async def some(count: int) -> None:
            for _ in range(count):
                await queue.put(ITEM)
                done()

        async with anyio.create_task_group() as group:
            for _ in range(CONCURRENCY):
                group.start_soon(some, items // CONCURRENCY)
            group.start_soon(some, items % CONCURRENCY)

    async def receive(queue: Queue[bytes]) -> None:
        until = perf_counter() + seconds
        while perf_counter() < until:
            async with queue.try_receive(within=IDLE) as message:
                if message is None:
                    return
            done()

    async def consume(queue: Queue[bytes]) -> None:
        async def handle() -> None:
            async for message in messages:
                async with message:
                    pass
                done()

        until = perf_counter() + seconds
        async with queue.consume(concurrency=CONCURRENCY, prefetch=PREFETCH) as messages:
            async with anyio.create_task_group() as group:
                for _ in range(CONCURRENCY):
                    group.start_soon(handle)
                before = -1
                while before < count and perf_counter() < until:
                    before = count
                    await anyio.sleep(IDLE)
                group.cancel_scope.cancel()

    async def main() -> dict[str, float]:
        async with connect(f"127.0.0.1:{port}") as client:
            queue = Queue(client, path)
            await queue.size()
            await_go()
            begun = perf_counter()
            await (put if work == "put" else receive if kind == "receive" else consume)(queue)
            return {"items": count, "seconds": last - begun}

    use_uvloop = importlib.util.find_spec("uvloop") is not None
    return anyio.run(main, backend_options={"use_uvloop": use_uvloop})


def run_kazoo(port: int, path: str, work: str, items: int, seconds: float) -> dict[str, float]:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]
    from kazoo.recipe.queue import LockingQueue  # type: ignore[import-untyped]

    client = KazooClient(f"127.0.0.1:{port}")
    client.start()
    queue = LockingQueue(client, path)
    _ = len(queue)
    await_go()
    begun = perf_counter()
    count, last = 0, begun
    while perf_counter() < begun + seconds and not (work == "put" and count == items):
        if work == "put":
            queue.put(ITEM)
        elif queue.get(timeout=IDLE) is None:
            break
        else:
            queue.consume()
        count, last = count + 1, perf_counter()
    took = last - begun
    client.stop()
    client.close()
    return {"items": count, "seconds": took}


def await_go() -> None:
    """Say that this process is ready, and wait for the word."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues", description=__doc__)
    parser.add_argument("kind", choices=["ours", "receive", "kazoo"])
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("work", choices=["put", "consume"])
    parser.add_argument("items", type=int)
    parser.add_argument("seconds", type=float)
    asked = parser.parse_args()
    if asked.kind == "kazoo":
        result = run_kazoo(asked.port, asked.path, asked.work, asked.items, asked.seconds)
    else:
        result = run_ours(asked.kind, asked.port, asked.path, asked.work, asked.items, asked.seconds)
    sys.stdout.write(json.dumps(result) + "\n")
