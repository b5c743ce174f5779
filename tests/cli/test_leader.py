"""`recipes leader`: who leads, and U46: that nobody does."""

import json
import re

import anyio
import pytest

from recipes import Election, connect


async def asked_by_two(hosts, run):
    """What it says while one leads and another one waits, and what it says to one that asked before anybody led."""
    said = {}

    async def ask(name, *rest):
        said[name] = await anyio.to_thread.run_sync(lambda: run("leader", "/e", *rest, "--hosts", hosts))

    async with connect(hosts) as one, connect(hosts) as other, anyio.create_task_group() as tasks:
        await ask("before", "--within", "0.2")
        tasks.start_soon(ask, "patient", "--within", "60")
        async with Election(one, "/e", b"host-1").lead():
            tasks.start_soon(Election(other, "/e", b"host-2").run, lambda term: anyio.sleep_forever())
            while len(await Election(one, "/e").candidates()) < 2:
                await anyio.sleep(0.01)
            await ask("text")
            await ask("json", "--json")
            while "patient" not in said:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    return said


@pytest.mark.thorough  # six commands
def test_u46_it_says_who_leads_and_that_nobody_does(run, hosts):
    said = anyio.run(asked_by_two, hosts, run)
    assert said["before"].returncode == 69
    assert re.fullmatch(r"nobody leads at /e, and nobody is in line, after \d+\.\d s\n", said["before"].stdout)
    assert said["text"].returncode == said["patient"].returncode == 0
    assert re.fullmatch(r"host-1 leads, fence 0x[0-9a-f]+, in line for \d+\.\d s; 1 wait\n", said["text"].stdout)
    assert said["patient"].stdout.startswith("host-1 leads")
    facts = json.loads(said["json"].stdout)
    assert (facts["candidates"], facts["leader"]["data"], facts["leader"]["fence"] > 0) == (2, "host-1", True)
    nobody = run("leader", "/none", "--json", "--hosts", hosts)
    assert (nobody.returncode, json.loads(nobody.stdout)) == (69, {"path": "/none", "leader": None, "candidates": 0})
    assert run("leader", "/e", "--within", "-1", "--hosts", hosts).returncode == 2
