"""Rounds of a double barrier, ours or kazoo's: each party has a client of its own.

`python -m benchmarks.barriers ours|kazoo PORT PATH PARTIES ROUNDS HERE`: runs HERE of the PARTIES in this process;
connects, prints a line, and on a line from standard input goes through ROUNDS rounds with an empty block. Prints how
long that took, as JSON. kazoo's barrier can be used once, so each of its rounds has a path of its own.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import threading
from time import perf_counter

from benchmarks.queues import await_go


def rate(kind: str, port: int, path: str, parties: int, processes: int, rounds: int) -> float:
    """Rounds per second of `parties`, spread over so many processes.

    kazoo's barrier now and then waits for ever, when it looks for the sign that all are in just as that comes. Such a
    run is begun again.
    """
    for attempt in range(5):
        try:
            return _run_once(kind, port, f"{path}-{attempt}", parties, processes, rounds)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(f"{kind}: the parties of {path} never came together")


def _run_once(kind: str, port: int, path: str, parties: int, processes: int, rounds: int) -> float:
    here = str(parties // processes)
    words = [sys.executable, "-m", "benchmarks.barriers", kind, str(port), path, str(parties), str(rounds), here]
    running = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        took = [json.loads(process.communicate(timeout=15 + rounds / 4)[0])["seconds"] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    return rounds / float(max(took))


def run_ours(port: int, path: str, parties: int, rounds: int, here: int) -> float:
    import anyio

    from recipes import Client, DoubleBarrier, connect

    async def take_part(client: Client) -> None:
        barrier = DoubleBarrier(client, path, parties)
        for _ in range(rounds):
            async with barrier:
                pass

    async def main() -> float:
        clients = [connect(f"127.0.0.1:{port}") for _ in range(here)]
        try:
            for client in clients:
                await client.__aenter__()
            await_go()
            begun = perf_counter()
            async with anyio.create_task_group() as group:
                for client in clients:
                    group.start_soon(take_part, client)
            return perf_counter() - begun
        finally:
            for client in clients:
                await client.__aexit__(None, None, None)

    use_uvloop = importlib.util.find_spec("uvloop") is not None
    return anyio.run(main, backend_options={"use_uvloop": use_uvloop})


def run_kazoo(port: int, path: str, parties: int, rounds: int, here: int) -> float:
    from kazoo.client import KazooClient  # type: ignore[import-untyped]

    clients = [KazooClient(f"127.0.0.1:{port}") for _ in range(here)]
    for client in clients:
        client.start()

    def take_part(client: KazooClient) -> None:
        for number in range(rounds):
            barrier = client.DoubleBarrier(f"{path}/{number}", parties)
            barrier.enter()
            barrier.leave()

    threads = [threading.Thread(target=take_part, args=(client,)) for client in clients]
    await_go()
    begun = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = perf_counter() - begun
    for client in clients:
        client.stop()
        client.close()
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.barriers", description=__doc__)
    parser.add_argument("kind", choices=["ours", "kazoo"])
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    for number in ("parties", "rounds", "here"):
        parser.add_argument(number, type=int)
    asked = parser.parse_args()
    run = run_kazoo if asked.kind == "kazoo" else run_ours
    took = run(asked.port, asked.path, asked.parties, asked.rounds, asked.here)
    sys.stdout.write(json.dumps({"seconds": took}) + "\n")
