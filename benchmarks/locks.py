"""Our Lock or kazoo's, in a process of its own.

`python -m benchmarks.locks ours|unconfirmed|kazoo rate|handover|leaving PORT WORKERS SECONDS` prints JSON with one
figure; unconfirmed is ours with `confirm=False`.
rate: WORKERS tasks (kazoo: threads) share one client and one session, each with a path to itself, and acquire and
    release in a loop; rounds a second.
handover: WORKERS clients, each with a session of its own, do so at one path; rounds a second.
leaving: the client that holds the lock closes, and another one waits for it; the median of milliseconds from the call
    that closes until the other one has it.
All with this process's CPU time for each, the warm-up left out, which depends little on what else the machine does.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time, sleep

WARM_UP = 0.5


Measured = tuple[list[float], float]


def rate(kind: str, port: int, workers: int, seconds: float) -> float:
    """Acquire + release per second by `kind`, "ours", "unconfirmed" or "kazoo", in a process of its own."""
    return in_process(kind, "rate", port, workers, seconds)["ops_per_s"]


def in_process(kind: str, what: str, port: int, workers: int, seconds: float) -> dict[str, float]:
    """One measurement, in a process of its own; see `main`."""
    words = [sys.executable, "-m", "benchmarks.locks", kind, what, *map(str, (port, workers, seconds))]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def ours(what: str, hosts: str, workers: int, seconds: float, confirm: bool = True) -> Measured:
    """Per worker the rounds it made, for "leaving" milliseconds; and the seconds of CPU."""
    import anyio

    from recipes import Client, Lock, connect

    counts = [0.0] * workers

    async def work(client: Client, path: str, index: int, begins: float) -> None:
        while perf_counter() < begins + seconds:
            async with Lock(client, path, confirm=confirm):
                pass
            if perf_counter() >= begins:
                counts[index] += 1

    async def rate() -> None:
        async with connect(hosts) as client, anyio.create_task_group() as group:
            begins = perf_counter() + WARM_UP
            for index in range(workers):
                group.start_soon(work, client, f"/locks-ours/{index}", index, begins)
            await anyio.sleep(WARM_UP)
            cpu.append(process_time())

    async def handover() -> None:
        async def with_client(index: int) -> None:
            async with connect(hosts) as client:
                await work(client, "/locks-ours/shared", index, begins)

        begins = perf_counter() + WARM_UP
        async with anyio.create_task_group() as group:
            for index in range(workers):
                group.start_soon(with_client, index)
            await anyio.sleep(WARM_UP)
            cpu.append(process_time())

    async def leaving() -> None:
        counts.clear()
        ends = perf_counter() + seconds
        while perf_counter() < ends:
            holder = connect(hosts)
            had: list[float] = []
            async with connect(hosts) as waiter:
                async with anyio.create_task_group() as group, holder:
                    await Lock(holder, "/locks-ours/leaving").acquire()

                    async def wait(waiter: Client = waiter, had: list[float] = had) -> None:
                        async with Lock(waiter, "/locks-ours/leaving"):
                            had.append(perf_counter())

                    group.start_soon(wait)
                    while len(await waiter.children("/locks-ours/leaving")) < 2:
                        pass
                    await waiter.sync()
                    closes = perf_counter()
                counts.append((had[0] - closes) * 1000)

    use_uvloop = importlib.util.find_spec("uvloop") is not None
    cpu = [process_time()]
    run = {"rate": rate, "handover": handover, "leaving": leaving}[what]
    anyio.run(run, backend_options={"use_uvloop": use_uvloop})
    return counts, process_time() - cpu[-1]


def unconfirmed(what: str, hosts: str, workers: int, seconds: float) -> Measured:
    """The same with a release that does not wait."""
    return ours(what, hosts, workers, seconds, confirm=False)


def kazoo(what: str, hosts: str, workers: int, seconds: float) -> Measured:
    """The same by kazoo."""
    from kazoo.client import KazooClient  # type: ignore[import-untyped]

    counts = [0.0] * workers

    def connect() -> KazooClient:
        client = KazooClient(hosts)
        client.start()
        return client

    def work(client: KazooClient, path: str, index: int, begins: float) -> None:
        lock = client.Lock(path)
        while perf_counter() < begins + seconds:
            with lock:
                pass
            if perf_counter() >= begins:
                counts[index] += 1

    def leaving() -> None:
        counts.clear()
        ends = perf_counter() + seconds
        while perf_counter() < ends:
            holder, waiter = connect(), connect()
            holder.Lock("/locks-kazoo/leaving").acquire()
            had: list[float] = []

            def wait(waiter: KazooClient = waiter, had: list[float] = had) -> None:
                with waiter.Lock("/locks-kazoo/leaving"):
                    had.append(perf_counter())

            thread = threading.Thread(target=wait)
            thread.start()
            while len(holder.get_children("/locks-kazoo/leaving")) < 2:
                pass
            holder.sync("/locks-kazoo")
            closes = perf_counter()
            holder.stop()
            thread.join()
            counts.append((had[0] - closes) * 1000)
            holder.close(), waiter.stop(), waiter.close()

    cpu_s = process_time()
    if what == "leaving":
        leaving()
        return counts, process_time() - cpu_s
    clients = [connect() for _ in range(workers if what == "handover" else 1)]
    begins = perf_counter() + WARM_UP
    threads = [
        threading.Thread(
            target=work,
            args=(
                clients[index % len(clients)],
                f"/locks-kazoo/{'shared' if what == 'handover' else index}",
                index,
                begins,
            ),
        )
        for index in range(workers)
    ]
    for thread in threads:
        thread.start()
    sleep(WARM_UP)
    cpu_s = process_time()
    for thread in threads:
        thread.join()
    for client in clients:
        client.stop()
        client.close()
    return counts, process_time() - cpu_s


def main(kind: str, what: str, port: int, workers: int, seconds: float) -> dict[str, float]:
    """Measure once."""
    measure: Callable[[str, str, int, float], Measured] = {"ours": ours, "unconfirmed": unconfirmed, "kazoo": kazoo}[
        kind
    ]
    found, cpu_s = measure(what, f"127.0.0.1:{port}", workers, seconds)
    if what == "leaving":
        return {"ms": round(median(found), 3), "cpu_us_per_op": round(cpu_s / len(found) * 1e6, 1)}
    rate = sum(found) / seconds
    return {"ops_per_s": rate, "cpu_us_per_op": round(cpu_s / sum(found) * 1e6, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locks", description=__doc__)
    parser.add_argument("kind", choices=["ours", "unconfirmed", "kazoo"])
    parser.add_argument("what", choices=["rate", "handover", "leaving"])
    parser.add_argument("port", type=int)
    parser.add_argument("workers", type=int)
    parser.add_argument("seconds", type=float)
    asked = parser.parse_args()
    found = main(asked.kind, asked.what, asked.port, asked.workers, asked.seconds)
    sys.stdout.write(json.dumps(found) + "\n")
