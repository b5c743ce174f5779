"""The service of docs/services.md, as it stands there, against a server that is away longer than the session lives."""

import re
from pathlib import Path

import anyio
import pytest

from recipes import SessionExpired, connect
from recipes.testing import expire_session

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[3] / "docs" / "services.md"
SECONDS = 60


def service(printed):
    """Names of the first block: its `main` runs on until cancelled, with sessions of a second."""
    block = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)[1]
    for old, new in (
        ("connect(renew=True)", "connect(renew=True, session_timeout=3.0)"),
        ("anyio.move_on_after(2)", "anyio.CancelScope()"),
        ("anyio.run(main)\n", ""),
    ):
        assert block.count(old) == 1
        block = block.replace(old, new)
    names = {"print": lambda *words: printed.append(" ".join(map(str, words)))}
    exec(compile(block, str(PAGE), "exec"), names)
    return names


async def until(condition):
    with anyio.fail_after(SECONDS):
        while not condition():
            await anyio.sleep(0.01)


@pytest.mark.thorough  # an outage of several seconds; tests/test_docs.py has another of the docs' services
async def test_newcomer_1_u15_the_service_of_the_docs_outlives_an_outage(start_server, monkeypatch):
    server = start_server("ours")
    monkeypatch.setenv("RECIPES_HOSTS", server.hosts)
    printed, clients = [], []
    names = service(printed)
    monkeypatch.setitem(names, "connect", lambda **options: clients.append(connect(**options)) or clients[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names["main"])
        await until(lambda: printed)
        server.kill9()
        await until(lambda: clients[0].losses == 1)  # its session is over, and no other to be had
        led = len(printed)
        await anyio.to_thread.run_sync(server.start)
        await until(lambda: len(printed) > led)
        tasks.cancel_scope.cancel()
    assert len(clients) == 1


async def test_newcomer_16_the_service_of_the_docs_survives_a_group_of_errors(start_server, monkeypatch):
    server = start_server("ours")
    monkeypatch.setenv("RECIPES_HOSTS", server.hosts)
    clients, rounds = [], 0
    names = service([])
    monkeypatch.setitem(names, "connect", lambda **options: clients.append(connect(**options)) or clients[0])

    async def work(term):
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            tasks.cancel_scope.cancel()
            await anyio.sleep_forever()
        await expire_session(clients[0], server.hosts)
        async with anyio.create_task_group():
            await term.ended.wait()
            raise SessionExpired

    names["work"] = work
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names["main"])
        await until(lambda: rounds == 2)
    assert rounds == 2
