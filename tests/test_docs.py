"""What blocks of the docs do beyond running to their end (tests/test_readme.py): entries of tests/reported.md."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from recipes import Election, Lock, connect
from recipes.testing import Ensemble

DOCS = Path(__file__).parent.parent / "docs"


def block_of(page: str, section: str) -> str:
    """The first block of Python in a section of a page."""
    text = (DOCS / page).read_text().partition(f"\n## {section}\n")[2]
    found = re.search(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, f"{page}: {section}"
    return found[1]


def test_newcomer_17_a_storage_that_compares_fences_refuses_who_is_late():
    block = block_of("locks.md", "Fencing and guarded writes")
    assert block.count("anyio.run(main)\n") == 1
    names: dict[str, object] = {}
    exec(block.replace("anyio.run(main)\n", ""), names)
    save, storage = names["save"], names["storage"]
    assert [save("a", "first", 7), save("a", "first again", 7), save("b", "another", 3)] == [True] * 3  # type: ignore[operator]
    assert save("a", "second", 9)  # type: ignore[operator]
    assert not save("a", "late", 8)  # type: ignore[operator]
    rows = storage.execute("SELECT * FROM report ORDER BY name").fetchall()  # type: ignore[attr-defined]
    assert rows == [("a", "second", 9), ("b", "another", 3)]
    storage.close()  # type: ignore[attr-defined]  # Python 3.13 warns where nobody does


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)])  # alike
def test_newcomer_25_the_service_of_the_docs_hands_over_when_it_is_ended(our_server, root, number):
    block = block_of("client.md", "SIGTERM")
    for old, new in (
        ("anyio.move_on_after(1)", "anyio.CancelScope()"),
        ("connect()", f"connect({our_server.hosts!r}, session_timeout=600)"),
        ("/service/on-signal", root),
    ):
        assert block.count(old) == 1
        block = block.replace(old, new)
    service = subprocess.Popen([sys.executable, "-c", block], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    with service, service.stdout:
        assert service.stdout.readline().startswith("leading; fence")
        service.send_signal(number)
        assert service.wait(60) == 0

    async def leader() -> object:
        async with connect(our_server.hosts) as client:
            return await Election(client, root).leader()

    assert anyio.run(leader) is None


@pytest.mark.anyio
async def test_newcomer_4_the_web_application_of_the_docs_comes_back_after_an_outage(monkeypatch):
    block = block_of("client.md", "A web application")
    for old, new in (("connect(renew=True)", "connect(renew=True, session_timeout=3.0)"), ("anyio.run(main)\n", "")):
        assert block.count(old) == 1
        block = block.replace(old, new)
    names: dict = {}
    exec(block, names)
    handle = names["handle"]

    async def until(status: int) -> None:
        while (await handle("7"))[0] != status:
            await anyio.sleep(0.01)

    with anyio.fail_after(60):
        async with Ensemble(1) as ensemble:
            monkeypatch.setenv("RECIPES_HOSTS", ensemble.hosts)
            async with names["lifespan"](None):
                await until(200)
                client, before = names["store"].client, names["store"].client.session_id
                async with connect(ensemble.hosts) as other, Lock(other, "/accounts/8"):
                    assert (await handle("8"))[0] == 409
                await ensemble.kill(1)
                await until(503)
                while client.losses == 0:
                    await anyio.sleep(0.01)
                assert (await handle("7"))[0] == 503
                await ensemble.restart(1)
                await until(200)
                assert client.session_id != before
