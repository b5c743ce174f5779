"""Money moves between real databases while coordinators, databases and store servers are killed with -9 at random.

At the end nothing is half done, nothing is prepared, and the store holds no record. `pytest -m soak --minutes 10
tests/transaction/test_bank.py` goes on for longer, and says what it came to.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import anyio
import pytest

from recipes import Coordinator, connect
from tests.queue.conftest import until

for driver in ("psycopg", "mariadb"):
    pytest.importorskip(driver, reason=f"needs {driver}")
from tests.transaction import bank  # noqa: E402 - it needs both
from tests.transaction.worker import SESSION_SECONDS  # noqa: E402 - as above

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),  # how processes die is not a matter of the event loop
]

WORKER = Path(__file__).parent / "worker.py"
ROOT = Path(__file__).parent.parent.parent
SETTLE_SECONDS = 180
EVERY_OUTCOME = {
    *(f"committed by {protocol}" for protocol in ("2pc", "3pc")),
    *(f"aborted by {why}" for why in ("mind", "check", "vote")),
    *("doubt", "unknown"),
}


class Tellers:
    """Processes of worker.py, each with a log of its own, and what their logs come to."""

    def __init__(self, directory, count, **settings):
        self.directory = directory
        self.settings = settings
        self.running = []
        self.started = 0
        for _ in range(count):
            self.start()

    def start(self):
        self.started += 1
        settings = json.dumps(self.settings | {"seed": self.settings["seed"] * 1_000 + self.started})
        log = self.directory / f"{self.started:04d}.log"
        with (self.directory / "errors").open("ab") as errors:
            self.running.append(
                subprocess.Popen(
                    [sys.executable, WORKER, settings, log],
                    env={"PYTHONPATH": str(ROOT), "PATH": ""}, stderr=errors, cwd=self.directory,
                )
            )  # fmt: skip

    def kill(self, victim):
        self.running.remove(victim)
        victim.send_signal(signal.SIGKILL)
        victim.wait()

    def close(self):
        for process in list(self.running):
            self.kill(process)

    def check(self):
        """A process that has ended by itself has met a bug."""
        ended = [process.args for process in self.running if process.poll() is not None]
        assert not ended, (self.directory / "errors").read_text()[-3_000:]

    def lines(self):
        return [line.split() for log in self.directory.glob("*.log") for line in log.read_text().splitlines()]

    def counts(self):
        """How many transfers began, how many ended how, and how many nobody knows of: a kill took them."""
        lines = self.lines()
        counts = Counter(line[0] for line in lines)
        counts["unknown"] = counts["begin"] - counts["committed"] - counts["aborted"] - counts["doubt"]
        counts.update(f"aborted by {line[3]}" for line in lines if line[0] == "aborted")
        counts.update(f"committed by {line[2]}" for line in lines if line[0] == "committed")
        return counts

    def ended(self):
        counts = self.counts()
        return counts["committed"] + counts["aborted"] + counts["doubt"]


class Trouble:
    """Does harm at random, and mends it. done: how often, by kind."""

    def __init__(self, chance, tellers, databases, ensemble):
        self.chance, self.tellers, self.databases, self.ensemble = chance, tellers, databases, ensemble
        self.done = Counter()

    def make(self):
        kind = self.chance.choice(["coordinator", "coordinator", "database", "store", "pause"])
        if self.done.total() < 4:
            kind = ["coordinator", "database", "store", "pause"][self.done.total()]
        elif not self.tellers.counts()["doubt"]:
            kind = "pause"
        getattr(self, kind)()
        self.done[kind] += 1

    def coordinator(self):
        self.tellers.kill(self.chance.choice(self.tellers.running))
        self.tellers.start()

    def database(self):
        server = self.chance.choice(self.databases)
        server.kill9()
        server.start()

    def store(self):
        self.ensemble.restart(self.chance.choice(self.ensemble.voters))

    def pause(self):
        """For longer than a session: others take over what it was about, and then it goes on."""
        victim = self.chance.choice(self.tellers.running)
        victim.send_signal(signal.SIGSTOP)
        time.sleep(SESSION_SECONDS + 1)
        victim.send_signal(signal.SIGCONT)


async def kill_at_random(ensemble, servers, directory, path, *, transfers, kills, seed, minutes=0.0):
    """Until there were so many transfers and kills, and so many minutes are over. Returns what was counted."""
    chance = random.Random(seed)
    databases = {name: bank.address_of(server) for name, server in servers.items()}
    for each in databases.values():
        bank.fill(each)
    tellers = Tellers(directory, 3, hosts=ensemble.hosts, path=path, databases=databases, seed=seed, at_a_time=4)
    trouble = Trouble(chance, tellers, list(servers.values()), ensemble)
    ends_at = time.monotonic() + 60 * minutes

    async def ended_are(goal):
        async def reached():
            tellers.check()
            await anyio.sleep(0.1)
            return tellers.ended() >= goal

        await until(reached)

    try:
        await ended_are(10)
        while trouble.done.total() < kills or time.monotonic() < ends_at or EVERY_OUTCOME - set(+tellers.counts()):
            await anyio.to_thread.run_sync(trouble.make)
            # Some time passes, counted in transfers that have ended.
            await ended_are(tellers.ended() + chance.randrange(2 * transfers // (kills + 1)))
        await ended_are(transfers)
    finally:
        tellers.close()

    participants = {name: bank.participant_of(each) for name, each in databases.items()}
    async with (
        connect(ensemble.hosts, session_timeout=30.0) as client,
        Coordinator(client, path, participants=participants),
    ):

        async def is_settled():
            await anyio.sleep(0.1)
            return not await client.children(f"{path}/default/records")

        with anyio.fail_after(SETTLE_SECONDS):
            await until(is_settled)
    for participant in participants.values():
        await participant.aclose()

    counts = tellers.counts()
    counts.update({f"trouble: {kind}": count for kind, count in trouble.done.items()})
    said = {word: {line[1] for line in tellers.lines() if line[0] == word} for word in ("committed", "aborted")}
    left = [each for database in databases.values() for each in bank.prepared(database)]
    assert not left, (left, [line for line in tellers.lines() if any(line[-1] in str(each) for each in left)])
    counts["in all databases"] = bank.judge(databases, said["committed"], said["aborted"])
    return counts


@pytest.fixture
def servers(start_postgres, start_mariadb):
    return {"one": start_postgres(), "two": start_postgres(), "three": start_mariadb()}


@pytest.mark.thorough  # a minute of two cores, for what simulation shows in seconds
@pytest.mark.timeout(900)
async def test_coordinators_databases_and_the_store_are_killed_and_no_transfer_is_half_done(
    start_ensemble, servers, tmp_path, root
):
    ensemble = start_ensemble("ours", "ours", "ours")
    counts = await kill_at_random(ensemble, servers, tmp_path, root, transfers=300, kills=6, seed=1)
    sys.stdout.write(f"{dict(counts)}\n")
    ensemble.close()


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_five_thousand_transfers(start_ensemble, servers, tmp_path, root, pytestconfig, capsys):
    ensemble = start_ensemble("ours", "ours", "ours")
    minutes, seed = pytestconfig.getoption("--minutes"), random.SystemRandom().randrange(1 << 20)
    counts = await kill_at_random(
        ensemble, servers, tmp_path, root, transfers=5_000, kills=100, seed=seed, minutes=minutes
    )
    with capsys.disabled():
        sys.stdout.write(f"\nseed {seed}: {json.dumps(counts)}\n")
    ensemble.close()
