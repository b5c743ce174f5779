"""`recipes locks`."""

import json
import re

import anyio
import anyio.to_thread

from recipes import Election, Lock, ReadWriteLock, Semaphore, connect


async def everybody(hosts, run):
    """Hold and wait in lines of each kind and naming, and return what the command says of them."""
    async with connect(hosts) as client, connect(hosts) as other, anyio.create_task_group() as tasks:
        await Lock(client, "/all/a lock", b"web-1 pid 4711").acquire()
        tasks.start_soon(Lock(other, "/all/a lock", "\x1b[2Jünser\nforged".encode()).acquire)
        await Lock(client, "/all/k/lock", b"me", naming="kazoo").acquire()
        await ReadWriteLock(client, "/all/k/rw", naming="kazoo").acquire_read()
        await ReadWriteLock(client, "/all/c/rw", naming="curator").acquire_write()
        await Semaphore(client, "/all/n", 3, b"two").acquire(2)
        tasks.start_soon(Semaphore(other, "/all/n", 3).acquire, 2)
        await Semaphore(client, "/all/s", 2, b"two").acquire(2)
        await Semaphore(client, "/all/s", 2).resize(1)
        await Semaphore(client, "/all/k/permits", 2, naming="kazoo").acquire()
        await Semaphore(client, "/all/c/permits", 2, naming="curator").acquire()
        async with Election(client, "/all/e", b"leader", naming="curator-latch").lead():
            await client.create("/all/none/at/all", make_parents=True)
            while len(await client.children("/all/a lock")) + len(await client.children("/all/n")) < 4:
                await anyio.sleep(0.01)
            await Lock(client, "/all/a lock").revoke()
            tasks.start_soon(Election(client, "/all/f", b"heavy", weight=7).run, lambda term: anyio.sleep_forever())
            while not await Election(other, "/all/f").leader():
                await anyio.sleep(0.01)
            said = [
                await anyio.to_thread.run_sync(lambda rest=rest: run("locks", *rest, "--hosts", hosts))
                for rest in (["--tree", "/all"], ["--tree", "--json", "/all"], ["/all/n"])
            ]
        tasks.cancel_scope.cancel()
    return said


def test_it_shows_who_holds_and_who_waits_by_whatever_names(run, hosts):
    text, facts, one = anyio.run(everybody, hosts, run)
    assert [done.returncode for done in (text, facts, one)] == [0, 0, 0]
    shown = re.sub(r"for [0-9.]+ s +fence 0x[0-9a-f]+  session 0x[0-9a-f]+  ", "", text.stdout)
    assert shown.splitlines() == [
        "/all/a lock",
        "  holds lock     web-1 pid 4711, asked to give it up",
        r"  waits lock     \x1b[2Jünser\nforged",
        "/all/c/permits (names of curator)",
        "  holds permit   -",
        "/all/c/rw (names of curator)",
        "  holds write    -",
        "/all/e (names of curator-latch)",
        "  holds lead     leader",
        "/all/f",
        "  holds lead     heavy",
        "/all/k/lock (names of kazoo)",
        "  holds lock     me",
        "/all/k/permits (names of kazoo, limit 2)",
        "  holds permit   -",
        "/all/k/rw (names of kazoo)",
        "  holds read     -",
        "/all/n (limit 3)",
        "  holds 2 permits two",
        "  waits 2 permits -",
        "/all/s (limit 1)",
        "  holds 2 permits two, beyond the limit, which was lowered since",
    ]
    lines = {line["path"]: line for line in json.loads(facts.stdout)}
    assert len(lines) == 10 and lines["/all/f"]["holders"][0]["weight"] == 7
    assert (lines["/all/n"]["limit"], lines["/all/n"]["naming"]) == (3, "native")
    (holder,) = lines["/all/a lock"]["holders"]
    assert (holder["data"], holder["revoke_requested"], holder["kind"]) == ("web-1 pid 4711", True, "lock")
    assert 0 <= holder["age"] < 600 and holder["path"].startswith("/all/a lock/_r_") and holder["fence"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}\+00:00", holder["since"])
    assert one.stdout.splitlines()[0] == "/all/n (limit 3)" and len(one.stdout.splitlines()) == 3


def test_nobody_and_nothing(run, hosts):
    done = run("locks", "/", "--tree", "--json", "--hosts", hosts)
    assert (done.returncode, done.stdout) == (0, "[]\n")
    done = run("locks", "/missing", "--json", "--hosts", hosts)
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr)["kind"] == "NoNode"


def test_what_may_not_be_read_is_said_and_the_rest_is_shown(run, hosts):
    assert run("shell", "--hosts", hosts, "create", "/mine", "", "digest:me:x:cdrwa").returncode == 0
    done = run("locks", "--tree", "/", "--hosts", hosts)
    assert (done.returncode, "/mine" in done.stderr, done.stdout) == (1, True, "nobody holds, nobody waits\n")
