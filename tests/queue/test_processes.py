"""Workers and servers that are killed with -9 at random: every item that was put is handled, and none is left."""

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from recipes import ConnectionLoss, Queue, SessionError, connect
from tests.queue.conftest import until

WORKER = Path(__file__).parent / "worker.py"
ROOT = Path(__file__).parent.parent.parent
LONG = {"maxSessionTimeout": 300_000}  # on a busy machine a server takes longer to start again than 20 ticks


class Workers:
    """Processes of worker.py, each with a log of its own."""

    def __init__(self, hosts, path, directory, count):
        self.hosts, self.path, self.directory = hosts, path, directory
        self.running = []
        self.deaths = 0
        for _ in range(count):
            self.start()

    def start(self):
        log = self.directory / f"{len(list(self.directory.glob('*.log'))):03d}-{self.deaths}.log"
        log.touch()
        arguments = [sys.executable, WORKER, self.hosts, self.path, log]
        errors = (self.directory / "errors").open("ab")
        self.running.append(
            subprocess.Popen(arguments, env={"PYTHONPATH": str(ROOT), "PATH": ""}, stderr=errors, cwd=self.directory)
        )
        errors.close()

    def kill_one(self, chance):
        victim = self.running.pop(chance.randrange(len(self.running)))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self.deaths += 1
        self.start()

    def close(self):
        for process in self.running:
            process.kill()
            process.wait()

    def handled(self):
        """How often each item was handled, and how often a session was lost by itself, as on a machine without time."""
        lines = [line.split() for log in self.directory.glob("*.log") for line in log.read_text().splitlines()]
        return Counter(line[0] for line in lines if len(line) == 2), sum(line == ["lost"] for line in lines)


async def kill_at_random(server, path, directory, *, workers, items, worker_kills, server_kills, seed):
    chance = random.Random(seed)
    crew = Workers(server.hosts, path, directory, workers)
    put, unknown = [], set()

    async def produce(part):
        names = [f"{part}-{number}" for number in range(items // 10)]
        while names:
            try:
                async with connect(server.hosts, session_timeout=30.0) as client:
                    queue = Queue(client, path)
                    while names:
                        name = names.pop()
                        unknown.add(name)
                        await queue.put(name.encode(), priority=chance.choice([50, 100]))
                        unknown.remove(name)
                        put.append(name)
            except (ConnectionLoss, SessionError):
                await anyio.sleep(0.1)

    try:
        async with connect(server.hosts, session_timeout=200.0) as client:
            queue = Queue(client, path)

            async def kill():
                for number in range(worker_kills + server_kills):
                    # Some time passes, counted in items that were handled.
                    goal = (number + 1) * items // (worker_kills + server_kills + 2)

                    async def reached(goal=goal):
                        return len(crew.handled()[0]) >= goal

                    await until(reached)
                    if number % (worker_kills // max(server_kills, 1) + 1) == 0 and server_kills:
                        await anyio.to_thread.run_sync(server.restart)
                    else:
                        crew.kill_one(chance)

            async with anyio.create_task_group() as tasks:
                for part in range(10):
                    tasks.start_soon(produce, part)
                tasks.start_soon(kill)

            async def is_empty():
                return await queue.size() == 0

            await until(is_empty)
            assert await queue.dead_letters.size() == 0
            assert await client.children(f"{path}/clients")
    finally:
        crew.close()
    handled, losses = crew.handled()
    assert set(put) <= set(handled) <= {*put, *unknown}, (directory / "errors").read_text()[-2_000:]
    # At its death, or the end of its session, a worker has at most four in hand.
    assert sum(count - 1 for count in handled.values()) <= 4 * (crew.deaths + losses)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.timeout(240)
async def test_workers_and_the_server_are_killed_and_nothing_is_lost(start_server, tmp_path, root):
    with anyio.fail_after(200):
        await kill_at_random(
            start_server("ours", **LONG), root, tmp_path, workers=4, items=400, worker_kills=4, server_kills=1, seed=1
        )


@pytest.mark.soak
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["ours", pytest.param("apache", marks=pytest.mark.apache)])
@pytest.mark.timeout(3_000)
async def test_twenty_workers_and_five_thousand_items(start_server, tmp_path, root, kind):
    with anyio.fail_after(2_900):
        await kill_at_random(
            start_server(kind, **LONG), root, tmp_path, workers=20, items=5_000, worker_kills=60, server_kills=6, seed=2
        )
