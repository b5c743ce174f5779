"""Nothing configured: all processes of a user on one machine share one store, which is there when it is used."""

import os
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from recipes import Lock, NodeExists, ServerConfig, connect
from recipes.core.server.server import Server
from recipes.store import daemon
from recipes.store.directory import StoreDirectory
from recipes.store.moving import stop
from recipes.store.start import address_of, is_served

ELECTION = """
import sys
import anyio
from recipes import Election, connect

async def main():
    async with connect(session_timeout=30) as client, Election(client, "/election").lead() as term:
        print(f"leading; fence {term.fence}", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)

anyio.run(main)
"""
FIRST_LOCK = """
import anyio
from recipes import Lock, connect

async def main():
    async with connect(session_timeout=30) as client, Lock(client, "/locks/first") as grant:
        print(grant.fence, flush=True)

anyio.run(main)
"""


def pid_of(place: StoreDirectory) -> int:
    running = place.running()
    assert running is not None
    return running.pid


def wait_until(true: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def fence_of(line: str) -> int:
    found = re.fullmatch(r"leading; fence (\d+)\n", line)
    assert found, line
    return int(found[1])


def test_newcomer_5_p5_three_processes_with_nothing_configured_have_one_leader(store, program):
    workers = [program(ELECTION) for _ in range(3)]
    by_fd = {worker.stdout.fileno(): worker for worker in workers}
    fences = []
    while by_fd:
        # Whoever leads says so. The others must not, for as long as it leads: they are asked before it resigns.
        worker = first_to_speak(by_fd)
        fences.append(fence_of(worker.stdout.readline()))
        others = [other for fd, other in by_fd.items() if other is not worker]
        assert not speaks([other.stdout.fileno() for other in others], 0.3)
        worker.stdin.write("\n")
        worker.stdin.flush()
        del by_fd[worker.stdout.fileno()]
    assert fences == sorted(set(fences))
    assert len(fences) == 3
    for worker in workers:
        assert worker.wait(30) == 0, worker.stderr.read()


def first_to_speak(by_fd):
    fds = speaks(list(by_fd), 60)
    assert fds
    return by_fd[fds[0]]


def speaks(fds: list[int], seconds: float) -> list[int]:
    import select

    return select.select(fds, [], [], seconds)[0]


@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.soak)])
def test_processes_that_start_at_once_make_one_store(store, program, count):
    workers = [program(FIRST_LOCK) for _ in range(count)]
    fences = []
    for worker in workers:
        out, error = worker.communicate(timeout=110)
        assert worker.returncode == 0, error
        fences.append(int(out))
    assert len(set(fences)) == count
    assert store.log.read_text().count("is served on") == 1


@pytest.mark.anyio
async def test_only_its_user_can_reach_it(store):
    async with connect() as client:
        assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
        socket = Path(address_of(store).removeprefix("unix:"))
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert await client.who_am_i() == []  # no address: no ACL that names one is about this client
    for name in ("secret", "store.log", "lock", "running"):
        assert stat.S_IMODE((store.directory / name).stat().st_mode) == 0o600, name


@pytest.mark.anyio
async def test_its_process_is_a_daemon(store, monkeypatch):
    monkeypatch.setenv("RECIPES_TEST_SECRET", "1")
    async with connect():
        pid = pid_of(store)
        assert os.getsid(pid) not in (os.getsid(0), 0)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert parent != os.getpid()
        opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        its_own = ("socket:", "anon_inode:", "/dev/null", str(store.directory))
        assert [name for name in opened if not name.startswith(its_own)] == []
        assert b"RECIPES_TEST_SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.anyio
async def test_data_and_sessions_survive_a_kill_of_its_process(store):
    async with connect(session_timeout=60) as client, connect(session_timeout=60) as other:
        await client.create("/kept", b"value")
        await client.create("/mine", ephemeral=True)
        session = client.session.id
        os.kill(pid_of(store), signal.SIGKILL)
        # The session's own clients start it again: nobody else is there.
        assert (await client.get("/kept"))[0] == b"value"
        assert client.session.id == session
        assert (await other.exists("/mine")).ephemeral_owner == session


@pytest.mark.anyio
async def test_newcomer_18_its_clients_are_told_when_their_lock_is_still_theirs(store):
    async with connect(session_timeout=60) as client, Lock(client, "/locks/kept") as grant:
        os.kill(pid_of(store), signal.SIGKILL)
        await client.sync("/")
        assert [each.fence for each in await Lock(client, "/locks/kept").holders()] == [grant.fence]


def test_it_ends_when_nobody_uses_it_and_keeps_what_it_has(store, monkeypatch):
    monkeypatch.setenv("RECIPES_STORE_IDLE", "0.2")

    async def create() -> None:
        async with connect() as client:
            await client.create("/kept-over-an-end")

    anyio.run(create)
    wait_until(lambda: not is_served(store))
    assert store.running() is None
    assert "no client has used the store for" in store.log.read_text()
    with pytest.raises(NodeExists):
        anyio.run(create)


@pytest.mark.anyio
async def test_an_open_session_keeps_it_running(store, monkeypatch):
    monkeypatch.setenv("RECIPES_STORE_IDLE", "0.1")
    async with connect() as client:
        pid = pid_of(store)

        def lines():
            return [line for line in store.log.read_text().splitlines() if "purged" not in line]  # it may come late

        log = lines()
        for _ in range(5):
            await anyio.sleep(0.1)  # more than the time after which it ends when nobody uses it
            await client.exists("/")
        assert pid_of(store) == pid
        assert lines() == log


@pytest.mark.anyio
async def test_a_directory_is_a_store_of_its_own(store, tmp_path):
    directory = tmp_path / "another"
    async with connect() as default, connect(data_dir=directory) as one, connect(data_dir=directory / "..") as outer:
        await one.create("/only-here")
        assert await default.exists("/only-here") is None
        assert await outer.exists("/only-here") is None
        async with connect(f"store:{directory}") as two, connect(data_dir=str(directory)) as three:
            assert await two.exists("/only-here") is not None
            assert await three.exists("/only-here") is not None
    stop(StoreDirectory(directory))
    stop(StoreDirectory(directory / ".."))


@pytest.mark.anyio
async def test_its_socket_is_below_the_runtime_directory_and_found_without_that(store, tmp_path, monkeypatch):
    runtime = tmp_path / "run"
    runtime.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    async with connect() as client:
        await client.create("/found")
        assert store.running().socket.startswith(f"{runtime}/recipes/")
        monkeypatch.delenv("XDG_RUNTIME_DIR")  # as in a cron job
        async with connect() as other:
            assert await other.exists("/found") is not None
    assert store.log.read_text().count("is served on") == 1


@pytest.mark.anyio
async def test_a_removed_socket_comes_back(store, tmp_path, monkeypatch):
    async with connect(session_timeout=60) as client:
        await client.create("/before")
        pid = pid_of(store)
        os.unlink(store.running().socket)
        async with connect(session_timeout=60) as other:
            assert await other.exists("/before") is not None
        assert pid_of(store) == pid


@pytest.mark.anyio
async def test_a_long_path_has_its_socket_elsewhere(tmp_path, monkeypatch):
    place = StoreDirectory(tmp_path / ("long-" * 30))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    async with connect(data_dir=place.directory) as client:
        await client.create("/far")
        assert place.running().socket.startswith(f"/tmp/recipes-{os.geteuid()}/")
    stop(place)


def test_it_says_where_it_is(store, program):
    text = "import logging\nlogging.basicConfig(level=logging.INFO)\n" + FIRST_LOCK
    _, said = program(text).communicate(timeout=60)
    assert f"using the store in {store.directory}" in said
    assert "recipes move" in said


def test_a_store_that_is_removed_while_it_is_served_is_not_served_on(store):
    async def use() -> None:
        async with connect():
            pass

    anyio.run(use)
    pid = pid_of(store)
    for file in sorted(store.directory.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    store.directory.rmdir()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    anyio.run(use)
    assert pid_of(store) != pid


def test_many_starts_leave_few_files(tmp_path):
    """Each start begins a file of the log: where there are many, a snapshot makes those before it removable."""

    class Asked:
        times = 0

        def tidy(self) -> None:
            self.times += 1

    server, place = Asked(), StoreDirectory(tmp_path)
    (tmp_path / "version-2").mkdir()
    for number in range(9):
        daemon._tidy(server, place)
        (tmp_path / "version-2" / f"log.{number:x}").touch()
    assert server.times == 0
    daemon._tidy(server, place)
    assert server.times == 1


@pytest.mark.asyncio
async def test_a_server_is_tidied_by_a_snapshot(tmp_path):
    async with Server(ServerConfig(data_dir=tmp_path, client_port=0)) as server:
        server.tidy()
        with anyio.fail_after(60):
            while not list((tmp_path / "version-2").glob("snapshot.*")):
                await anyio.sleep(0.01)
