"""The matrix's ends of whole processes: a forked child, and an interpreter that ends, believe in nothing of before."""

import json
import subprocess
import sys
import time

import anyio
import pytest

from recipes.core.client.connect import connect

pytestmark = pytest.mark.anyio

SECONDS = 60

FORK = """
import json, os, sys, anyio
from recipes import Election, Lock, connect

HOSTS, ROOT, BACKEND = sys.argv[1:4]

async def child(client, lock, grant, term):
    async def lead():
        async with Election(client, ROOT + "/e").lead():
            pass
    async def other_lock():
        async with Lock(client, ROOT + "/other"):
            pass
    uses = [
        lambda: client.get("/"), lambda: client.__aexit__(None, None, None), lambda: anext(client.states()),
        lambda: lock.__aexit__(None, None, None), lambda: grant.release(), lambda: term.resign(),
        lambda: grant.ended.wait(), lead, other_lock, lambda: client.watch("/").__aenter__(),
    ]
    refused = 0
    for use in uses:
        try:
            await use()
        except RuntimeError as error:
            refused += "forked" in str(error)
    way_out = SystemExit(7)  # goes its way through the blocks of the parent
    stopped = [await block.__aexit__(SystemExit, way_out, None) for block in (lock, client)]
    said = [grant.ended.is_set(), grant.lost, grant.why, term.ended.is_set(), refused == len(uses), any(stopped)]
    print(json.dumps(said), flush=True)

async def main():
    async with connect(HOSTS, session_timeout=10) as client:
        lock = Lock(client, ROOT + "/l")
        async with lock as grant, Election(client, ROOT + "/e").lead() as term:
            pid = os.fork()
            if pid == 0:
                await child(client, lock, grant, term)
                os._exit(0)  # to unwind the loop would touch the parent's, with whatever library
            os.waitpid(pid, 0)
            with anyio.fail_after(60):  # the parent's connection still serves it, and what it held it holds
                await client.sync("/")
                held = await client.children(ROOT + "/l") + await client.children(ROOT + "/e")
            print(json.dumps([len(held), grant.ended.is_set(), term.ended.is_set()]), flush=True)
    print(json.dumps([grant.why, term.why]), flush=True)

anyio.run(main, backend=BACKEND)
"""


def test_w5_u4_a_forked_child_holds_nothing_and_touches_nothing_of_its_parent(our_server, root, anyio_backend):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, our_server.hosts, root, anyio_backend],
        capture_output=True,
        timeout=SECONDS,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    forked = "this is a forked process: what its parent held is the parent's"
    assert said == [
        [True, True, forked, True, True, False],
        [2, False, False],
        ["released", "released"],
    ], done.stderr.decode()


END = """
import sys, threading, time, anyio
from recipes import Lock, connect

HOSTS, ROOT, BACKEND, HOW = sys.argv[1:5]
grants = []

def work():
    # A thread that outlives the loop, and asks before each step of its work.
    believed = asked = time.monotonic()
    while not grants or not grants[0].ended.is_set():
        time.sleep(0.005)
        believed, asked = asked, time.monotonic()
    print("believed", believed, grants[0].why, flush=True)

async def main():
    client = connect(HOSTS, session_timeout=4)
    if HOW == "abandoned":
        grants.append(await Lock(await client.__aenter__(), ROOT).acquire())
        sys.stdin.readline()
        return
    async with client, Lock(client, ROOT) as grant:
        grants.append(grant)
        sys.stdin.readline()
        sys.exit(3)

threading.Thread(target=work).start()
anyio.run(main, backend=BACKEND)
"""


@pytest.mark.parametrize("how", ["abandoned", "unwound"])
async def test_an_interpreter_that_ends_tells_its_threads_before_the_store_lets_the_next_one_in(
    our_server, root, anyio_backend, how
):
    async with connect(our_server.hosts) as witness:
        await witness.ensure_path(root)
        command = [sys.executable, "-c", END, our_server.hosts, root, anyio_backend, how]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            seen = 0
            with anyio.fail_after(SECONDS):
                while True:
                    names, watch = await witness.children_watch(root)
                    if seen and not names:
                        gone = time.monotonic()
                        break
                    if names and not seen:
                        seen = len(names)
                        process.stdin.write(b"\n")
                        process.stdin.flush()
                    await watch.wait()
            out, _ = await anyio.to_thread.run_sync(process.communicate)
    word, at, why = out.decode().strip().split(" ", 2)
    assert word == "believed"
    assert float(at) <= gone
    assert why == ("the session is over" if how == "abandoned" else "released")
    assert process.returncode == (0 if how == "abandoned" else 3)
