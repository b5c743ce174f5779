"""redis-py's lock and list on Debian's redis-server, for the comparison of whole products.

`python -m benchmarks.redis_py lock PORT WORKERS SECONDS` and `... put|consume PORT ITEMS SECONDS`, as
`benchmarks.locks` and `benchmarks.queues` do it. The server syncs its log before it answers (appendfsync always), as
ours and Apache's do.
Items are moved to a list of those in hand, and removed from there when they are done, so that none is lost.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.ensemble import _free_ports
from benchmarks.queues import IDLE, ITEM, await_go, work_together


def why_missing() -> str | None:
    """Why there is nothing to compare with; None where there is."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (Debian: apt-get install redis-server)"
    return None if importlib.util.find_spec("redis") else "redis-py is not installed (pip install redis)"


@contextmanager
def running(directory: Path) -> Iterator[int]:
    """A server on an empty directory; its port."""
    home = directory / "redis"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (port,) = _free_ports(1)
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home)]
    words += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        _connect(port)
        yield port
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


def lock_rate(port: int, workers: int, seconds: float) -> float:
    """Acquire + release per second, each worker a thread with a lock of its own."""
    words = [sys.executable, "-m", "benchmarks.redis_py", "lock", *map(str, (port, workers, seconds))]
    rate: float = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["ops_per_s"]
    return rate


def queue_rates(port: int, workers: int, items: int, seconds: float) -> tuple[float, float]:
    """Items per second put, and then consumed, by so many processes."""

    def words(work: str) -> list[str]:
        return [sys.executable, "-m", "benchmarks.redis_py", work, str(port), str(items // workers), str(seconds)]

    return work_together(words("put"), workers, seconds), work_together(words("consume"), workers, seconds)


def _connect(port: int):  # type: ignore[no-untyped-def]
    import redis

    client = redis.Redis(port=port)
    deadline = perf_counter() + 20
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if perf_counter() > deadline:
                raise
            sleep(0.02)
        else:
            return client


def _run_lock(port: int, workers: int, seconds: float) -> dict[str, float]:
    client = _connect(port)
    counts = [0] * workers
    until = perf_counter() + seconds

    def work(index: int) -> None:
        while perf_counter() < until:
            with client.lock(f"lock {index}", timeout=15):
                pass
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"ops_per_s": sum(counts) / seconds}


def _run_queue(work: str, port: int, items: int, seconds: float) -> dict[str, float]:
    client = _connect(port)
    await_go()
    begun = perf_counter()
    count, last = 0, begun
    while perf_counter() < begun + seconds and not (work == "put" and count == items):
        if work == "put":
            client.lpush("queue", ITEM)
        else:
            item = client.blmove("queue", "in hand", IDLE, "RIGHT", "LEFT")
            if item is None:
                break
            client.lrem("in hand", 1, item)
        count, last = count + 1, perf_counter()
    return {"items": count, "seconds": last - begun}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_py", description=__doc__)
    parser.add_argument("what", choices=["lock", "put", "consume"])
    parser.add_argument("port", type=int)
    parser.add_argument("amount", type=int, help="tasks that lock, or items")
    parser.add_argument("seconds", type=float)
    asked = parser.parse_args()
    run = (
        _run_lock(asked.port, asked.amount, asked.seconds)
        if asked.what == "lock"
        else _run_queue(asked.what, asked.port, asked.amount, asked.seconds)
    )
    sys.stdout.write(json.dumps(run) + "\n")
