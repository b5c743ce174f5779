"""Transfers between two PostgreSQL servers: ours, atomic, against two commits one after the other, which are not.

Another row is two-phase commit by psycopg's own methods, without a decision record: after a crash nobody knows whether
to commit what is prepared. So this row is not atomic either. It shows what the databases themselves take for two-phase
commit, which a coordinator can only approach.

`python -m benchmarks.transactions [--rounds 5] [--seconds 5] [--directory DIRECTORY]`: a table, as `python -m
benchmarks` has it, and behind it the time of ours split by stage. The coordinator is one process on three of our
servers; the plain side is one process too, a thread and two connections for each transfer at a time. Databases sync.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

from benchmarks import postgres
from benchmarks.comparison import note
from benchmarks.ensemble import Ensemble, running
from benchmarks.postgres import Postgres
from benchmarks.report import Point, line, table
from benchmarks.server import Server

ACCOUNTS = 1_000
AT_A_TIME = (1, 16)
PEER = "plain commits"
BARE = "bare two-phase commit, no decision record"
CHANGE = "UPDATE accounts SET balance = balance + %s WHERE id = %s"


class Measured(NamedTuple):
    """What one process did. seconds: of each transfer. stages: seconds of all transfers together, ours only. cpu:
    processor seconds of that process, and of others while it ran, by name."""

    rate: float
    seconds: list[float]
    stages: dict[str, float]
    cpu: dict[str, float]


def plainly(connections: Sequence[Any], chance: Random, name: str) -> None:
    """BEGIN to COMMIT on one database, then on the other: a crash between them leaves half a transfer."""
    for connection, change in zip(connections, (-1, 1), strict=True):
        connection.execute(CHANGE, [change, chance.randrange(ACCOUNTS)])
        connection.commit()


def barely(connections: Sequence[Any], chance: Random, name: str) -> None:
    """Two-phase commit whose decision nobody records: a crash behind the first commit leaves half a transfer."""
    for connection, change in zip(connections, (-1, 1), strict=True):
        connection.tpc_begin(name)
        connection.execute(CHANGE, [change, chance.randrange(ACCOUNTS)])
    for connection in connections:
        connection.tpc_prepare()
    for connection in connections:
        connection.tpc_commit()


def run_threads(transact: Any, dsns: Sequence[str], at_a_time: int, seconds: float) -> dict[str, Any]:
    """Transfers by `transact`, each thread with a connection to each database."""
    import psycopg

    took: list[float] = []

    def transfer(number: int) -> None:
        chance = Random(number)
        connections = [psycopg.connect(dsn, prepare_threshold=None) for dsn in dsns]
        ready.wait()
        until = perf_counter() + seconds
        count = 0
        while (begun := perf_counter()) < until:
            transact(connections, chance, f"{os.getpid()}-{number}-{count}")
            count += 1
            took.append(perf_counter() - begun)
        for connection in connections:
            connection.close()

    ready = threading.Barrier(at_a_time + 1)
    threads = [threading.Thread(target=transfer, args=(number,)) for number in range(at_a_time)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun, cpu = perf_counter(), process_time()
    for thread in threads:
        thread.join()
    rate = len(took) / (perf_counter() - begun)
    return {"rate": rate, "seconds": took, "stages": {}, "cpu": {"client": process_time() - cpu}}


def run_ours(dsns: Sequence[str], at_a_time: int, seconds: float, hosts: str) -> dict[str, Any]:
    import anyio

    from recipes import Coordinator, PostgresParticipant, connect
    from recipes.transaction.driver import Driver

    took: list[float] = []
    stages: dict[str, float] = defaultdict(float)
    since: dict[Driver, float] = {}
    told = Driver._note

    def note_stage(driver: Driver, event: Any, why: str = "") -> None:
        stage, now = driver.stage.name.lower(), perf_counter()
        stages[stage] += now - since.pop(driver, now)
        told(driver, event, why)
        if driver.stage.name != "SETTLED":
            since[driver] = now

    Driver._note = note_stage  # type: ignore[method-assign]

    async def transfer(coordinator: Coordinator, number: int) -> None:
        chance = Random(number)
        while (begun := perf_counter()) < until:
            tx = coordinator.begin()
            since[tx._driver] = begun
            async with tx:
                for name, change in (("one", -1), ("two", 1)):
                    sql = await tx.enlist(name)
                    await sql.execute(CHANGE, [change, chance.randrange(ACCOUNTS)])
            took.append(perf_counter() - begun)

    until = 0.0

    async def main() -> tuple[float, float]:
        nonlocal until
        parties = {name: PostgresParticipant(dsn) for name, dsn in zip(("one", "two"), dsns, strict=True)}
        async with connect(hosts) as client, Coordinator(client, "/bench", participants=parties) as coordinator:
            until = perf_counter() + 1.0  # connections are opened, and not counted
            async with anyio.create_task_group() as group:
                for number in range(at_a_time):
                    group.start_soon(transfer, coordinator, number)
            took.clear()
            stages.clear()
            begun, cpu = perf_counter(), process_time()
            until = begun + seconds
            async with anyio.create_task_group() as group:
                for number in range(at_a_time):
                    group.start_soon(transfer, coordinator, number)
            passed, cpu = perf_counter() - begun, process_time() - cpu
        for party in parties.values():
            await party.aclose()
        return passed, cpu

    use_uvloop = importlib.util.find_spec("uvloop") is not None
    passed, cpu = anyio.run(main, backend_options={"use_uvloop": use_uvloop})
    return {"rate": len(took) / passed, "seconds": took, "stages": stages, "cpu": {"client": cpu}}


class Bench(NamedTuple):
    """What is measured on."""

    databases: Sequence[Postgres]
    ensemble: Ensemble

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ensemble.ports)

    def cpu(self) -> dict[str, float]:
        return {
            "databases": sum(each.cpu_seconds for each in self.databases),
            "store": sum(server.cpu_seconds for server in self.ensemble.servers),
        }

    def measure(self, kind: str, at_a_time: int, seconds: float) -> Measured:
        """One side, in a process of its own."""
        dsns = [each.dsn for each in self.databases]
        words = [sys.executable, "-m", "benchmarks.transactions", "--run", kind, *dsns, str(at_a_time), str(seconds)]
        before = self.cpu()
        done = subprocess.run([*words, self.hosts], check=True, capture_output=True, text=True)
        measured = Measured(**json.loads(done.stdout))
        share = seconds / (seconds + 1) if kind == "ours" else 1.0  # ours ran for a second before
        measured.cpu.update({name: (after - before[name]) * share for name, after in self.cpu().items()})
        return measured


def _percentile(values: Sequence[float], percent: int) -> float:
    """In milliseconds."""
    return 1000 * (quantiles(values, n=100)[percent - 1] if len(values) > 1 else values[0])


def _points(at_a_time: int, ours: list[Measured], bare: list[Measured], plain: list[Measured]) -> list[Point]:
    name = f"transfers, {at_a_time} at a time"
    target = 0.5 if at_a_time == max(AT_A_TIME) else None
    rates = [[each.rate for each in side] for side in (ours, bare, plain)]
    points = [
        Point(name, "tx/s", rates[0], rates[2], target, peer=PEER),
        Point(f"{BARE}, {at_a_time} at a time", "tx/s", rates[1], rates[2], peer=PEER),
    ]
    for percent in (50, 99):
        values = [[_percentile(each.seconds, percent) for each in side] for side in (ours, plain)]
        points.append(Point(f"{name}, p{percent}", "ms", values[0], values[1], less_is_better=True, peer=PEER))
    return points


def _zxid(server: Server) -> int:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"srvr")
        answer = connection.makefile("rb").read().decode()
    found = re.search(r"Zxid: (\w+)", answer)
    return int(found[1], 16) if found else 0


def _store_cost(bench: Bench, seconds: float) -> str:
    """Writes of the store and syncs of one follower for each transaction, with most at a time."""
    follower = bench.ensemble.follower()
    before = _zxid(follower)
    with tempfile.NamedTemporaryFile("r") as trace:
        calls = "trace=fsync,fdatasync"
        words = ["strace", "-f", "-q", "-e", calls, "-o", trace.name, "-p", str(follower._running.pid)]
        tracer = subprocess.Popen(words) if shutil.which("strace") else None
        try:
            done = bench.measure("ours", max(AT_A_TIME), seconds)
        finally:
            if tracer is not None:
                tracer.terminate()
                tracer.wait()
        syncs = sum("fdatasync(" in row or "fsync(" in row for row in trace)
    count = done.rate * (seconds + 1)  # the first second is not in the rate
    fsyncs = f"{syncs / count:.2f} fsyncs of one follower" if tracer else "strace is not installed"
    return f"a transaction: {(_zxid(follower) - before) / count:.2f} writes of the store, {fsyncs}"


def _cpu(name: str, side: Sequence[Measured]) -> str:
    """Milliseconds of processor time for one transaction, which other programs of this machine hardly change."""
    parts = [f"{part} {1000 * median(each.cpu[part] / len(each.seconds) for each in side):.2f}" for part in side[0].cpu]
    return f"{name}, ms of processor time: {', '.join(parts)}"


def _stages(ours: Sequence[Measured]) -> str:
    """Milliseconds of one transaction in each stage."""
    names = [name for name in ours[0].stages if ours[0].stages[name]]
    parts = [f"{name} {1000 * median(each.stages[name] / len(each.seconds) for each in ours):.2f}" for name in names]
    return f"ms in each stage: {', '.join(parts)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transactions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="the disk to be measured")
    asked = parser.parse_args()
    missing = postgres.why_missing()
    if missing:
        parser.error(missing)
    points: list[Point] = []
    with ExitStack() as stack:
        databases = [stack.enter_context(postgres.running(asked.directory.resolve())) for _ in range(2)]
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=asked.directory)))
        ensemble = stack.enter_context(running("ours", home, 3))
        bench = Bench(databases, ensemble)
        _fill([each.dsn for each in databases])
        _await_leader(ensemble)
        said = []
        for at_a_time in AT_A_TIME:
            ours: list[Measured] = []
            bare: list[Measured] = []
            plain: list[Measured] = []
            for turn in range(asked.rounds):
                sides = [("ours", ours), ("bare", bare), ("plain", plain)]
                for kind, found in sides if turn % 2 == 0 else reversed(sides):
                    found.append(bench.measure(kind, at_a_time, asked.seconds))
            found_points = _points(at_a_time, ours, bare, plain)
            points += found_points
            for point in found_points:
                note(line(point))
            name = f"{at_a_time} at a time"
            sides = [("ours", ours), ("bare", bare), ("plain", plain)]
            words = [f"{name}, {_stages(ours)}", *(_cpu(f"{name}, {kind}", side) for kind, side in sides)]
            said += words
            note("\n".join(words))
        said.append(_store_cost(bench, asked.seconds))
    sys.stdout.write("\n".join([table(points), *said]) + "\n")
    return 0


def _await_leader(ensemble: Ensemble) -> None:
    """Raises RuntimeError when there is none for too long."""
    for _ in range(100):
        with suppress(OSError):
            ensemble.leader()
            return
        sleep(0.1)


def _fill(dsns: Sequence[str]) -> None:
    import psycopg

    for dsn in dsns:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)")
            connection.execute("INSERT INTO accounts SELECT n, 1000 FROM generate_series(0, %s) n", [ACCOUNTS - 1])
            connection.execute("CHECKPOINT")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        kind, *dsns, at_a_time, seconds, hosts = sys.argv[2:]
        numbers = int(at_a_time), float(seconds)
        if kind == "ours":
            done = run_ours(dsns, *numbers, hosts)
        else:
            done = run_threads(barely if kind == "bare" else plainly, dsns, *numbers)
        sys.stdout.write(json.dumps(done) + "\n")
    else:
        sys.exit(main())
