"""`python -m benchmarks.first_lock`: from nothing to the first lock, our store beside a fresh server of Apache's.

Ours is a new interpreter that imports recipes, starts the store in an empty directory by a bare `connect()`, and takes
a lock. Apache's is a new JVM on an empty directory until the same lock is taken by a client that was imported before
and asks every 5 ms whether it is there yet. Both times begin with starting the process; the rounds alternate.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep

import anyio

from benchmarks.ensemble import running
from recipes import Lock, connect
from recipes.store.directory import StoreDirectory
from recipes.store.moving import stop

_NOT_SET = ("RECIPES_HOSTS", "PYTHONDONTWRITEBYTECODE")
TARGET = 0.5  # of Apache's time
PROGRAM = """
import anyio
from recipes import Lock, connect

async def main():
    async with connect() as client, Lock(client, "/locks/first"):
        print("locked", flush=True)

anyio.run(main)
"""


def store_seconds(directory: Path) -> float:
    """From the start of an interpreter to its lock in a store that it has to start."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_SET}
    environment["PYTHONPYCACHEPREFIX"] = str(directory / "pycache")  # compiled once, as what pip installs is
    with tempfile.TemporaryDirectory(dir=directory) as home:
        place = StoreDirectory(Path(home) / "store")
        environment["RECIPES_STORE"] = str(place.directory)
        begun = perf_counter()
        with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE) as process:
            said = process.stdout.readline() if process.stdout else b""
            took = perf_counter() - begun
        if said != b"locked\n":
            raise RuntimeError("the program took no lock")
        stop(place)
    return took


def apache_seconds(directory: Path) -> float:
    """From the start of a JVM to a lock on it."""
    begun = perf_counter()
    with running("apache", directory) as ensemble:
        server = ensemble.servers[0]
        while ensemble.role(server) is None:
            server.check_alive()
            sleep(0.005)
        anyio.run(_lock, f"127.0.0.1:{server.port}")
        return perf_counter() - begun


async def _lock(hosts: str) -> None:
    async with connect(hosts) as client, Lock(client, "/locks/first"):
        pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_lock", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"), help="on the disk to be measured")
    asked = parser.parse_args()
    directory = asked.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    sides: list[tuple[str, Callable[[Path], float], list[float]]] = [
        ("our store", store_seconds, []),
        ("Apache", apache_seconds, []),
    ]
    store_seconds(directory)  # not counted: it compiles
    for number in range(asked.rounds):
        for _, measure, values in sides if number % 2 == 0 else reversed(sides):
            values.append(measure(directory))
    for name, _, values in sides:
        spread = f"{min(values):.2f} to {max(values):.2f}"
        sys.stdout.write(
            f"{name}: {statistics.median(values):.2f} s to the first lock, {spread}, {len(values)} rounds\n"
        )
    ratio = statistics.median(sides[0][2]) / statistics.median(sides[1][2])
    sys.stdout.write(f"ours in proportion to Apache's: {ratio:.2f}, target at most {TARGET}\n")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
