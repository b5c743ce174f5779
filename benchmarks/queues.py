"""Putting and consuming items, by our Queue or kazoo's LockingQueue, each worker in a process of its own.

`python -m benchmarks.queues ours|receive|kazoo PORT PATH put|consume ITEMS SECONDS`: connects, prints a line, and on a
line from standard input puts ITEMS items, or consumes as many unless SECONDS are over first. Prints JSON.
"""

import importlib.util
import json
import subprocess
import sys
from time import perf_counter

ITEM = b"x" * 100
CONCURRENCY, PREFETCH = 16, 64


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

    async def put(queue: Queue[bytes]) -> int:
        async def some(count: int) -> None:
            for _ in range(count):
                await queue.put(ITEM)

        async with anyio.create_task_group() as group:
            for _ in range(CONCURRENCY):
                group.start_soon(some, items // CONCURRENCY)
            group.start_soon(some, items % CONCURRENCY)
        return items

    async def receive(queue: Queue[bytes]) -> int:
        count = 0
        with anyio.move_on_after(seconds):
            while count < items:
                async with queue.receive():
                    pass
                count += 1
        return count

    async def consume(queue: Queue[bytes]) -> int:
        count = 0

        async def handle() -> None:
            nonlocal count
            async for message in messages:
                async with message:
                    pass
                count += 1
                if count >= items:
                    group.cancel_scope.cancel()

        with anyio.move_on_after(seconds):
            async with queue.consume(concurrency=CONCURRENCY, prefetch=PREFETCH) as messages:
                async with anyio.create_task_group() as group:
                    for _ in range(CONCURRENCY):
                        group.start_soon(handle)
        return count

    async def main() -> dict[str, float]:
        async with connect(f"127.0.0.1:{port}") as client:
            queue = Queue(client, path)
            await queue.size()
            _await_go()
            begun = perf_counter()
            count = await (put if work == "put" else receive if kind == "receive" else consume)(queue)
            return {"items": count, "seconds": perf_counter() - begun}

    use_uvloop = importlib.util.find_spec("uvloop") is not None
    return anyio.run(main, backend_options={"use_uvloop": use_uvloop})


def run_kazoo(port: int, path: str, work: str, items: int, seconds: float) -> dict[str, float]:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]
    from kazoo.recipe.queue import LockingQueue  # type: ignore[import-untyped]

    client = KazooClient(f"127.0.0.1:{port}")
    client.start()
    queue = LockingQueue(client, path)
    _ = len(queue)
    _await_go()
    begun = perf_counter()
    count = 0
    while count < items and perf_counter() < begun + seconds:
        if work == "put":
            queue.put(ITEM)
        else:
            queue.get(timeout=5)
            queue.consume()
        count += 1
    took = perf_counter() - begun
    client.stop()
    client.close()
    return {"items": count, "seconds": took}


def _await_go() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    kind, port, path, work, items, seconds = sys.argv[1:]
    if kind == "kazoo":
        result = run_kazoo(int(port), path, work, int(items), float(seconds))
    else:
        result = run_ours(kind, int(port), path, work, int(items), float(seconds))
    sys.stdout.write(json.dumps(result) + "\n")
