"""Clients, and real databases: started by the tests, as an unprivileged user, since they refuse root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from recipes import connect
from tests.ports import free_port

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
START_SECONDS = 60


@pytest.fixture
async def client(hosts):
    async with connect(hosts) as client:
        yield client


class Postgres:
    """A server on a directory of its own, through kills and restarts."""

    def __init__(self, **settings: object) -> None:
        self.settings = {"max_prepared_transactions": 64, "shared_buffers": "16MB", "max_connections": 60} | settings
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="recipes-postgres-"))
        self.user = "nobody" if os.getuid() == 0 else None
        if self.user is not None:
            os.chown(self.directory, pwd.getpwnam(self.user).pw_uid, -1)
        self.data = self.directory / "data"
        self._run("initdb", "-D", self.data, "-U", "test", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> dict[str, str]:
        """As a process of its own is told it."""
        return {"kind": "postgres", "dsn": self.dsn}

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=test dbname=postgres"

    def start(self) -> None:
        assert POSTGRES is not None
        settings = [part for key, value in self.settings.items() for part in ("-c", f"{key}={value}")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [POSTGRES / "postgres", "-D", self.data, "-p", str(self.port), "-h", "127.0.0.1",
                 "-k", str(self.directory), *settings],
                stdout=log, stderr=log, user=self.user, cwd=self.directory,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while self._run("pg_isready", "-h", "127.0.0.1", "-p", self.port, check=False):
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"PostgreSQL does not start:\n{(self.directory / 'log').read_text()[-2000:]}")

    def kill9(self) -> None:
        """All its processes at once: the others end when the first is gone, but may go on for a moment."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        # Until its memory is free, it refuses to start.
        deadline = time.monotonic() + START_SECONDS
        while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str, *arguments: object, check: bool = True) -> int:
        assert POSTGRES is not None
        command = [str(POSTGRES / program), *map(str, arguments)]
        done = subprocess.run(command, user=self.user, cwd=self.directory, capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{program}: {done.stderr.decode()}")
        return done.returncode


@pytest.fixture(scope="session")
def start_postgres(need_tool):
    """A function that starts a server of its own; all end with the run."""
    need_tool("PostgreSQL 15 (Debian package postgresql-15)", POSTGRES is not None)
    started = []

    def start(**settings: object) -> Postgres:
        started.append(Postgres(**settings))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="session")
def postgres(start_postgres):
    return start_postgres()


@pytest.fixture(scope="session")
def second_postgres(start_postgres):
    return start_postgres()
