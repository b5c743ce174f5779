"""`kill -9` of the store's process under load: one holder at a time, nothing acknowledged is lost, sessions live on."""

import os
import signal
import sys

import anyio
import pytest

from recipes import Client, ConnectionLoss, Lock, connect

WORKERS = 4


class Load:
    """Workers that contend for one lock, and what they saw."""

    def __init__(self) -> None:
        self.holders = 0
        self.fences: list[int] = []
        self.acknowledged: list[str] = []
        self.sessions: dict[int, int] = {}

    async def work(self, number: int) -> None:
        async with connect(session_timeout=60) as client:
            self.sessions[number] = client.session.id
            await client.ensure_path("/written")
            while True:
                async with Lock(client, "/locks/one") as grant:
                    self.holders += 1
                    assert self.holders == 1
                    self.fences.append(grant.fence)
                    await self.write(client)
                    self.holders -= 1
                assert client.session.id == self.sessions[number]

    async def write(self, client: Client) -> None:
        try:
            self.acknowledged.append(await client.create("/written/n-", sequential=True))
        except ConnectionLoss as error:
            assert error.maybe_applied  # so it counts neither as written nor as lost


@pytest.mark.anyio
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
async def test_no_two_holders_and_nothing_lost_when_its_process_is_killed(store, kills):
    load, killed = Load(), 0
    with anyio.fail_after(30 * kills):
        async with anyio.create_task_group() as tasks:
            for number in range(WORKERS):
                tasks.start_soon(load.work, number)
            for _ in range(kills):
                seen = len(load.acknowledged)
                while (
                    len(load.acknowledged) < seen + 20 or (running := store.running()) is None or running.pid == killed
                ):
                    await anyio.sleep(0.01)
                killed = running.pid
                os.kill(killed, signal.SIGKILL)
            seen = len(load.acknowledged)
            while len(load.acknowledged) < seen + 20:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert load.fences == sorted(set(load.fences))
    assert store.log.read_text().count("is served on") == kills + 1
    async with connect() as client:
        there = {f"/written/{name}" for name in await client.children("/written")}
    assert set(load.acknowledged) <= there
    sys.stdout.write(f"{kills} kills, {len(load.fences)} holders, {len(load.acknowledged)} writes acknowledged\n")
