"""Acquire and release in a loop, by our Lock or kazoo's, in a process of its own.

`python -m benchmarks.locks ours|kazoo PORT WORKERS SECONDS`: WORKERS tasks (kazoo: threads) share one client and one
session, each with a path to itself. Prints JSON, with this process's CPU time for each, which depends little on what
else the machine does.
"""

import importlib.util
import json
import subprocess
import sys
import threading
from time import perf_counter, process_time

WARM_UP = 0.5


def rate(kind: str, port: int, workers: int, seconds: float) -> float:
    """Acquire + release per second by `kind`, "ours" or "kazoo"."""
    words = [sys.executable, "-m", "benchmarks.locks", kind, *map(str, (port, workers, seconds))]
    found: float = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["ops_per_s"]
    return found


def measure_ours(port: int, workers: int, seconds: float) -> float:
    import anyio

    from recipes import Client, Lock, connect

    counts = [0] * workers

    async def work(client: Client, index: int, begins: float) -> None:
        lock_path = f"/locks-ours/{index}"
        while perf_counter() < begins + seconds:
            async with Lock(client, lock_path):
                pass
            if perf_counter() >= begins:
                counts[index] += 1

    async def main() -> None:
        async with connect(f"127.0.0.1:{port}") as client, anyio.create_task_group() as group:
            begins = perf_counter() + WARM_UP
            for index in range(workers):
                group.start_soon(work, client, index, begins)

    use_uvloop = importlib.util.find_spec("uvloop") is not None
    anyio.run(main, backend_options={"use_uvloop": use_uvloop})
    return sum(counts) / seconds


def measure_kazoo(port: int, workers: int, seconds: float) -> float:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]

    client = KazooClient(f"127.0.0.1:{port}")
    client.start()
    counts = [0] * workers
    begins = perf_counter() + WARM_UP

    def work(index: int) -> None:
        lock = client.Lock(f"/locks-kazoo/{index}")
        while perf_counter() < begins + seconds:
            with lock:
                pass
            if perf_counter() >= begins:
                counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.stop()
    client.close()
    return sum(counts) / seconds


if __name__ == "__main__":
    kind, port, workers, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    measure = {"ours": measure_ours, "kazoo": measure_kazoo}[kind]
    ops_per_s = measure(port, workers, seconds)
    cpu_us = process_time() / (ops_per_s * (seconds + WARM_UP)) * 1e6
    sys.stdout.write(json.dumps({"ops_per_s": ops_per_s, "cpu_us_per_op": round(cpu_us, 1)}) + "\n")
