"""Queues of kazoo and Curator, the real ones, on the same path: what one puts the other takes."""

import shutil
import subprocess
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from kazoo.client import KazooClient
from kazoo.recipe.queue import LockingQueue
from kazoo.recipe.queue import Queue as KazooQueue

from recipes import AckLost, Queue, SessionExpired, connect
from recipes.queue.layouts import deserialize, serialize
from recipes.testing import expire_session
from tests.queue.conftest import SECONDS, each_server_thoroughly, until

pytestmark = pytest.mark.anyio

JARS = Path("/usr/share/java")
JAVA = Path(__file__).parent / "java" / "QueueNeighbour.java"


class Mine(Exception):
    pass


@pytest.fixture
def neighbour(hosts):
    client = KazooClient(hosts)
    client.start()
    yield client
    client.stop()
    client.close()


async def in_thread(call, *arguments):
    return await anyio.to_thread.run_sync(call, *arguments)


async def test_kazoos_queue(client, root, neighbour):
    with anyio.fail_after(SECONDS):
        theirs, ours = KazooQueue(neighbour, root), Queue(client, root, layout="kazoo")
        await in_thread(theirs.put, b"1", 100)
        await ours.put(b"2")
        await ours.put(b"0", priority=7)
        await in_thread(theirs.put, b"3", 100)
        assert await ours.size() == 4
        assert await ours.peek(9) == [b"0", b"1", b"2", b"3"]
        assert await in_thread(theirs.get) == b"0"
        assert await ours.take() == b"1"
        assert [await in_thread(theirs.get) for _ in range(3)] == [b"2", b"3", None]
        async with anyio.create_task_group() as tasks:
            taken = []

            async def take():
                taken.append(await ours.take())

            tasks.start_soon(take)
            await in_thread(theirs.put, b"4")
        assert taken == [b"4"]


@pytest.mark.parametrize("layout", ["kazoo", "curator"])
async def test_who_takes_before_anybody_has_put_waits(client, root, layout):
    with anyio.fail_after(SECONDS):
        queue, taken = Queue(client, root, layout=layout), []

        async def take():
            taken.append(await Queue(client, root, layout=layout).take())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)

            async def waits():
                return any(client.session.watches.values())

            await until(waits)
            await queue.put(b"1")
        assert taken == [b"1"]


async def test_kazoos_locking_queue(client, root, neighbour):
    with anyio.fail_after(SECONDS):
        theirs, ours = LockingQueue(neighbour, root), Queue(client, root, layout="kazoo-locking")
        await in_thread(theirs.put_all, [b"1", b"2"])
        await ours.put_many([b"3", b"4"])
        assert await in_thread(theirs.get, 5) == b"1"
        async with ours.receive() as message:  # theirs holds the first
            assert message.data == b"2"
            assert message.fence == (await client.exists(message.path)).czxid
            other = LockingQueue(neighbour, root)
            assert await in_thread(other.get, 5) == b"3"  # and ours the second
        assert await in_thread(theirs.consume)
        assert await in_thread(other.release)
        with pytest.raises(Mine):
            async with ours.receive() as message:
                assert message.data == b"3"
                raise Mine
        async with ours.receive() as message:
            assert message.data == b"3"  # given back
        assert await in_thread(theirs.get, 5) == b"4"
        async with ours.try_receive() as message:
            assert message is None
        assert await in_thread(theirs.consume)
        assert (await ours.size(), await client.children(f"{root}/taken")) == (0, [])


async def test_a_claim_that_somebody_deletes_is_lost_there_too(client, root, neighbour):
    with anyio.fail_after(SECONDS):
        ours = Queue(client, root, layout="kazoo-locking")
        await ours.put(b"1")
        with pytest.raises(AckLost):
            async with ours.receive() as message:
                await client.delete(message.path)
        assert await ours.take() == b"1"


async def test_an_item_there_that_cannot_be_read_is_not_lost_and_stays_nobodys(client, root):
    with anyio.fail_after(SECONDS):
        await Queue(client, root, layout="kazoo-locking").put(b"seven")
        numbers = Queue(client, root, model=int, layout="kazoo-locking")
        with pytest.raises(ValueError, match="JSON"):
            await numbers.take()
        for receiving in (numbers.receive(), numbers.try_receive()):
            with pytest.raises(ValueError, match="JSON"):
                async with receiving:
                    pytest.fail("its block began")
            await until_free(client, f"{root}/taken")
        async with Queue(client, root, layout="kazoo-locking").receive() as message:
            assert message.data == b"seven"


@pytest.mark.parametrize(("layout", "folders"), [("kazoo", [""]), ("kazoo-locking", ["entries", "taken"])])
async def test_who_waits_there_is_told_of_the_end_of_the_session_as_everywhere(hosts, root, layout, folders):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, anyio.create_task_group() as tasks:

            async def wait():
                with pytest.raises(SessionExpired):
                    await Queue(client, root, layout=layout).take()

            async def waits():  # with no request under way
                return client.session.watches["child"].keys() >= watched and not client.session._sent

            watched = {f"{root}/{name}".rstrip("/").encode() for name in folders}
            tasks.start_soon(wait)
            await until(waits)
            await expire_session(client, hosts)


async def until_free(client, claims):
    while await client.children(claims):
        await anyio.sleep(0.01)


async def test_what_a_layout_has_no_place_for_is_refused_by_name(client, root):
    ours = Queue(client, root, layout="kazoo")
    for given in ({"key": "k"}, {"delay": 1}, {"within": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(given))}=.*'kazoo' does not support it"):
            await ours.put(b"x", **given)
    with pytest.raises(ValueError, match="priority=5"):
        await Queue(client, root, layout="curator").put(b"x", priority=5)
    with pytest.raises(ValueError, match="capacity=3"):
        Queue(client, root, layout="kazoo", capacity=3)
    with pytest.raises(ValueError, match="lock_path is missing"):
        Queue(client, root, layout="curator-locking")
    with pytest.raises(ValueError, match="layout='rabbit'"):
        Queue(client, root, layout="rabbit")
    with pytest.raises(TypeError, match=r"use take\(\)"):
        async with ours.receive():
            pass
    with pytest.raises(ValueError, match=r"consume\(\)"):
        ours.consume()
    with pytest.raises(ValueError, match="dead_letters"):
        assert ours.dead_letters


def test_curators_items_are_read_as_they_are_written():
    assert serialize([b"a", b""]).hex() == "00010001" + "01" + "00000001" + "61" + "01" + "00000000" + "02"
    assert deserialize(serialize([b"a", b"", b"xyz"])) == [b"a", b"", b"xyz"]
    for wrong in (b"", b"\x00\x01\x00\x02\x02", serialize([b"abc"])[:-2], b"\x00\x01\x00\x01\x07\x00\x00\x00\x00\x02"):
        with pytest.raises(ValueError, match="not an item as Curator writes it"):
            deserialize(wrong)


@pytest.fixture(scope="session")
def curator(tmp_path_factory, need_tool):
    need_tool("java and javac", shutil.which("javac") is not None)
    need_tool("Curator (Debian package libcurator-recipes-java)", (JARS / "curator-recipes.jar").exists())
    classes = tmp_path_factory.mktemp("curator")
    subprocess.run(
        ["javac", "-J-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", "-d", classes, JAVA], check=True, capture_output=True
    )

    def run(*arguments):
        path = f"{classes}:{JARS}/slf4j-nop.jar:{JARS}/*"
        done = subprocess.run(
            ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path, "QueueNeighbour", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split()

    return run


@pytest.mark.parametrize(
    "locking", [pytest.param(False, marks=pytest.mark.thorough, id="plain"), pytest.param(True, id="locking")]
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@each_server_thoroughly
async def test_curators_queue(client, root, hosts, curator, locking):
    with anyio.fail_after(SECONDS * 2):
        locks = f"{root}-locks" if locking else None
        ours = Queue(client, root, layout="curator-locking" if locking else "curator", lock_path=locks)
        await in_thread(curator, "put", hosts, root, locks or "-", "one", "two", "three,four")
        await ours.put_many([b"five", b"six"])
        found = [await ours.take()]
        if locking:
            with pytest.raises(Mine):
                async with ours.receive() as message:
                    assert message.data == b"two"
                    raise Mine
            async with ours.receive() as message:
                found.append(message.data)
        else:
            found.append(await ours.take())
        assert found == [b"one", b"two"]
        assert await ours.peek(9) == [b"three", b"four", b"five", b"six"]
        assert await ours.take() == b"five"  # what was a znode of two goes to the end
        assert await in_thread(curator, "take", hosts, root, locks or "-", "3") == ["six", "three", "four"]

        async def is_empty():
            return await ours.size() == 0

        await until(is_empty)
