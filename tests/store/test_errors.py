"""A store that cannot be used is told of in one sentence, which says what to do."""

import errno
import fcntl
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from recipes import BadArguments, ConfigError, ConnectionLoss, DiskError, connect
from recipes.store import directory as directories
from recipes.store import start
from recipes.store.directory import Running
from recipes.store.machine import Machine, this_machine
from recipes.store.moving import stop

pytestmark = pytest.mark.anyio


async def join(**options: object) -> None:
    async with connect(**options) as client:  # type: ignore[arg-type]
        await client.create("/joined-", sequential=True)


async def refusal(kind: type[Exception] = DiskError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        await join(**options)
    said = str(caught.value)
    assert "\n" not in said
    return said


async def test_a_foreign_owner(store, monkeypatch):
    store.make()
    monkeypatch.setattr(os, "geteuid", lambda: store.directory.stat().st_uid + 1)
    said = await refusal()
    assert said.startswith(f"the store {store.directory} belongs to ")
    assert said.endswith("name another by RECIPES_STORE")


async def test_a_directory_that_others_can_open(store):
    store.make()
    store.directory.chmod(0o755)
    assert await refusal() == (
        f"the store {store.directory} is open to other users (mode 755): chmod 700 {store.directory}"
    )


async def test_no_directory_but_a_file(store):
    store.directory.touch()
    assert await refusal() == f"the store {store.directory} is not a directory"


async def test_a_read_only_home(store, monkeypatch):
    def mkdir(path: Path, mode: int = 0o777) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert await refusal() == (
        f"the store {store.directory} cannot be used: read-only file system; name another directory by RECIPES_STORE"
    )


async def test_a_directory_that_became_read_only(store, monkeypatch):
    store.make()

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(start.os, "open", read_only)
    assert "cannot be used: read-only file system" in await refusal()


async def test_no_room_for_a_file(store, program):
    text = f"""
import resource, anyio
from recipes import DiskError, connect
resource.setrlimit(resource.RLIMIT_FSIZE, (0, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
async def main():
    async with connect():
        pass
try:
    anyio.run(main)
except DiskError as error:
    print(error)
"""
    said, error = await anyio.to_thread.run_sync(program(text).communicate)
    assert said == (
        f"the store {store.directory} cannot be used: file too large; name another directory by RECIPES_STORE\n"
    ), error


async def test_a_full_disk(store, monkeypatch):
    """Where the disk is full for real is the matter of the server; here it is looked at before anything is begun."""
    from recipes.store import daemon

    store.make()
    full = os.statvfs_result((4096, 4096, 1000, 0, 0, 10, 10, 10, 0, 255))
    monkeypatch.setattr(daemon.os, "statvfs", lambda path: full)
    with pytest.raises(DiskError) as caught:
        daemon._check(store)
    assert str(caught.value) == f"the store {store.directory} cannot be used: no space left on its disk"


async def test_what_a_killed_process_left_behind_is_no_obstacle(store):
    await join()
    os.kill(store.running().pid, signal.SIGKILL)
    assert (store.directory / "lock").exists()
    await join()


async def test_a_lock_that_somebody_holds(store, monkeypatch):
    store.make()
    monkeypatch.setattr(start, "_START_SECONDS", 0.05)
    with (store.directory / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert await refusal(ConnectionLoss) == (
            f"a process has locked the store {store.directory} and accepts no clients; its log is {store.log}"
        )


async def test_a_wait_for_it_can_be_cancelled(store):
    store.make()
    with (store.directory / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with anyio.move_on_after(0.2) as scope:
            await join()
    assert scope.cancelled_caught
    await join()


async def test_a_disk_without_locks(store, monkeypatch):
    def flock(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    store.make()
    monkeypatch.setattr(fcntl, "flock", flock)
    assert "cannot be used: no locks available" in await refusal()


async def test_a_directory_that_another_machine_serves(store):
    store.make()
    store.write_running(Running("/run/user/7/recipes/x.sock", 1, Machine("another", "boot", "east.example.org")))
    said = await refusal()
    assert said.startswith(f"the store {store.directory} belongs to another machine, east.example.org, which may be")
    assert f"delete {store.directory}/running" in said


async def test_what_ran_before_this_machine_was_started_again_is_no_obstacle(store):
    store.make()
    before = this_machine()._replace(boot="before")
    store.write_running(Running("/run/user/7/recipes/x.sock", 1, before))
    await join()


def test_two_containers_on_one_kernel_are_one_machine():
    here = this_machine()
    assert here.boot
    assert not here._replace(machine="another").is_elsewhere()
    assert not here._replace(boot="before").is_elsewhere()
    assert here._replace(machine="another", boot="another").is_elsewhere()
    assert here._replace(machine="another", boot="").is_elsewhere()


async def test_a_format_of_another_version(store):
    store.make()
    (store.directory / "format").write_text("2\n")
    assert await refusal() == (
        f"the store {store.directory} has format '2', and this version of recipes reads format 1 only: use the version "
        "that made it, or a newer one"
    )


async def test_a_running_store_of_another_format_is_joined(store):
    await join()
    (store.directory / "format").write_text("2\n")
    await join()


async def test_a_damaged_log_is_named(store):
    for _ in range(3):
        await join()
    stop(store)
    (log,) = (store.directory / "version-2").glob("log.*")
    data = bytearray(log.read_bytes())
    data[200] ^= 0xFF
    log.write_bytes(data)
    assert "recipes repair" in await refusal()


async def test_no_unix_sockets(store, monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")
    assert "there are no Unix sockets on this system" in await refusal(ConnectionLoss)


async def test_no_interpreter(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    assert "there is no Python interpreter to start the store with" in await refusal(ConnectionLoss)


async def test_a_process_that_cannot_start(store, monkeypatch):
    monkeypatch.setattr(start, "_environment", lambda: {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"})
    said = await refusal(ConnectionLoss)
    assert said == f"the process of the store {store.directory} ended while it started; its log is {store.log}"
    assert "No module named 'encodings'" in store.log.read_text()


@pytest.mark.parametrize("left", ["", "nonsense\n", "socket=/x\n"])
async def test_what_a_power_cut_left_behind_is_no_obstacle(store, left):
    store.make()
    (store.directory / "running").write_text(left)
    await join()


@pytest.mark.parametrize("value", ["", "relative/path"])
async def test_a_store_that_is_another_in_each_directory(monkeypatch, value):
    monkeypatch.setenv("RECIPES_STORE", value)
    said = await refusal(ConfigError)
    assert said.startswith("RECIPES_STORE=")
    assert said.endswith("expected an absolute path of a directory")


async def test_hosts_that_are_empty(monkeypatch):
    monkeypatch.setenv("RECIPES_HOSTS", "")
    assert "RECIPES_HOSTS='': '' in '': expected HOST or HOST:PORT" in await refusal(BadArguments)


@pytest.mark.parametrize("value", ["", "0", "-1", "nan", "soon"])
async def test_an_idle_time_that_is_none(store, monkeypatch, value):
    monkeypatch.setenv("RECIPES_STORE_IDLE", value)
    said = await refusal(ConfigError)
    assert said == f"RECIPES_STORE_IDLE={value or chr(39) * 2}: expected seconds, more than 0"


async def test_tls_has_no_meaning_here(store):
    assert "tls: expected hosts with it" in await refusal(BadArguments, tls=ssl.create_default_context())


def test_where_it_is_by_default(monkeypatch):
    monkeypatch.delenv("RECIPES_STORE")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert directories.default_directory() == Path("/state/recipes")
    for value in ("", "relative"):  # by the XDG specification these do not count
        monkeypatch.setenv("XDG_STATE_HOME", value)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert directories.default_directory() == Path("/home/somebody/.local/state/recipes")


def test_the_log_of_the_process_is_bounded(tmp_path):
    text = """
import os, sys
from pathlib import Path
from recipes.store.daemon import _BoundedLog
path = Path(sys.argv[1])
fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(fd, 1); os.dup2(fd, 2)
log = _BoundedLog(path, 1000)
for number in range(1000):
    log.write(f"line {number}\\n")
print("printed", flush=True)
"""
    log = tmp_path / "store.log"
    subprocess.run([sys.executable, "-c", text, log], check=True, timeout=60)
    assert log.stat().st_size <= 1000 + len("printed\n")
    assert (tmp_path / "store.log.1").stat().st_size <= 1000
    assert "line 999\nprinted\n" in log.read_text()
