"""The embedded server: shared in one process and gone with its last user; a fork touches nothing of it."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from recipes import BadArguments, ConnectionLoss, SessionExpired, connect, embedded
from recipes.embedded import embedded_server
from recipes.testing import Ensemble

ROOT = Path(__file__).parent.parent


def answers(hosts: str) -> bool:
    host, port = hosts.split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"srvr")
            return b"Mode: " in b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return False


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "recipes-embedded"]


def private_directory(hosts: str) -> Path:
    (found,) = [running for running in embedded._running.values() if running.hosts == hosts]
    return found._server.config.data_dir


def test_users_share_one_server_which_ends_with_the_last():
    with embedded_server() as first:
        with embedded_server() as second:
            assert first == second
        assert answers(first)
        assert len(threads()) == 1
    assert not answers(first)
    assert threads() == []


def test_data_dir_is_used_and_kept(tmp_path: Path):
    with embedded_server(tmp_path / "data") as hosts:
        assert answers(hosts)
    assert list((tmp_path / "data").iterdir())


def test_its_directory_goes_with_the_last_user():
    with embedded_server() as hosts:
        directory = private_directory(hosts)
        assert directory.is_dir()
    assert not directory.exists()


def test_its_directory_goes_with_the_process():
    program = (
        "from recipes import embedded\nrunning = embedded.embedded_server()\nhosts = running.__enter__()\n"
        "print(embedded._running[None]._server.config.data_dir)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip().startswith("/")
    assert not Path(done.stdout.strip()).exists()


@pytest.mark.anyio
async def test_a_private_client_is_alone():
    async with connect(private=True) as client, connect(private=True) as other:
        await client.create("/private-client", ephemeral=True)
        assert await other.exists("/private-client") is not None  # one server in one process
        assert client.session.id != other.session.id


@pytest.mark.parametrize("how", [{"hosts": "a"}, {"data_dir": "x"}, {"hosts": "a", "data_dir": "x"}])
def test_private_goes_with_no_other_server(how: dict[str, str]):
    with pytest.raises(BadArguments, match="expected one of them"):
        connect(private=True, **how)


def in_fork(act: Callable[[], object]) -> int:
    """The status of a fork that does something and then ends as a program does, through what waits for its end."""
    program_ends = os.fork()
    if program_ends == 0:
        status = 70
        try:
            act()
            status = 0
        finally:
            sys.stdout.flush()
            weakref.finalize._exitfunc()  # type: ignore[attr-defined]
            os._exit(status)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pid, status = os.waitpid(program_ends, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(program_ends, signal.SIGKILL)
    os.waitpid(program_ends, 0)
    raise TimeoutError("the fork does not end")


def leave(context: object) -> None:
    context.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_w8_a_fork_that_ends_leaves_the_parents_server_and_files_alone():
    running = embedded_server()
    hosts = running.__enter__()
    directory = private_directory(hosts)
    with Ensemble(1) as ensemble:
        try:
            assert in_fork(lambda: None) == 0
            assert in_fork(lambda: leave(running)) == 0  # as a fork that runs out of the parent's block
            assert in_fork(lambda: leave(ensemble)) == 0
            assert directory.is_dir()

            async def write() -> None:
                for where in (hosts, ensemble.hosts):
                    async with connect(where) as client:
                        assert await client.create("/after-the-fork") == "/after-the-fork"

            anyio.run(write)
        finally:
            leave(running)
    assert not directory.exists()


def test_w8_a_fork_starts_a_server_of_its_own():
    def act() -> None:
        with embedded_server() as own:
            assert own != hosts
            assert answers(own)

    with embedded_server() as hosts:
        assert in_fork(act) == 0
        assert answers(hosts)


def test_w8_a_forks_calls_to_the_parents_ensemble_are_refused():
    def act() -> None:
        with pytest.raises(RuntimeError, match="runs in the process that was forked"):
            anyio.run(ensemble.kill, 1)

    with Ensemble(1) as ensemble:
        assert in_fork(act) == 0
        assert answers(ensemble.hosts)


@pytest.mark.anyio
async def test_w9_a_failed_private_server_says_why(caplog: pytest.LogCaptureFixture):
    with pytest.raises(SessionExpired, match=r"embedded server failed: .*No such file or directory"):
        async with connect(private=True) as client:
            async with connect(private=True) as first:
                hosts = first._connector._hosts[0]
            running = next(iter(embedded._running.values()))
            assert running.hosts == f"{hosts[0]}:{hosts[1]}"
            # The next batch opens a new file, in a directory that is gone.
            running._server.turn.writes.roll()
            shutil.rmtree(running._server.config.data_dir)
            with anyio.fail_after(60):
                while True:
                    try:
                        await client.create("/lost")
                    except ConnectionLoss:
                        continue
    (said,) = [record for record in caplog.records if record.name == "recipes.embedded"]
    assert said.levelno == logging.ERROR
    assert "No such file or directory" in said.getMessage()


@pytest.mark.anyio
async def test_w9_after_a_failure_the_next_private_client_has_a_new_server():
    with embedded_server() as hosts:
        running = next(iter(embedded._running.values()))
        running._thread.call(lambda: fail(running))
        async with connect(private=True) as client:
            assert await client.create("/after-a-failure") == "/after-a-failure"
            assert client._connector._hosts != [("127.0.0.1", int(hosts.rpartition(":")[2]))]


async def fail(running: embedded._Running) -> None:
    running._server.fail(OSError(5, "Input/output error"))


@pytest.mark.anyio
async def test_w9_a_failed_server_of_an_ensemble_is_down_and_says_why(caplog: pytest.LogCaptureFixture):
    async with Ensemble(1) as ensemble:
        server = ensemble._running[1]

        async def fail_there() -> None:
            server.fail(OSError(28, "No space left on device"))

        await ensemble._call(fail_there)
        with anyio.fail_after(60):
            while answers(ensemble.hosts):
                await anyio.sleep(0.01)
        assert [record.levelno for record in caplog.records if "No space left" in record.getMessage()] == [
            logging.ERROR
        ]
        await ensemble.restart(1)
        await ensemble.settled()
        assert answers(ensemble.hosts)
