"""Real databases: started by the tests, as an unprivileged user, since they refuse root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from tests.ports import free_port

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
MARIADB = all(shutil.which(name, path="/usr/sbin:/usr/bin:/bin") for name in ("mariadbd", "mariadb-install-db"))
START_SECONDS = 60


class Database(ABC):
    """A server on a directory of its own, through kills and restarts."""

    name: str

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"recipes-{self.name.lower()}-"))
        self.user = "nobody" if os.getuid() == 0 else None
        if self.user is not None:
            os.chown(self.directory, pwd.getpwnam(self.user).pw_uid, -1)
        self.data = self.directory / "data"
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[object]:
        """What starts it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes connections."""

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                list(map(str, self.command())), stdout=log, stderr=log, user=self.user, cwd=self.directory
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"{self.name} does not start:\n{(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill9(self) -> None:
        """All its processes at once: the others end when the first is gone, but may go on for a moment."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        # Until its memory is free, PostgreSQL refuses to start.
        deadline = time.monotonic() + START_SECONDS
        while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
            time.sleep(0.01)

    def restart(self) -> None:
        self.kill9()
        self.start()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill9()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str | Path, *arguments: object, check: bool = True) -> int:
        command = [str(program), *map(str, arguments)]
        done = subprocess.run(command, user=self.user, cwd=self.directory, capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{program}: {done.stderr.decode()}")
        return done.returncode


class Postgres(Database):
    name = "PostgreSQL"

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.settings = {"max_prepared_transactions": 64, "shared_buffers": "16MB", "max_connections": 60} | settings
        assert POSTGRES is not None
        self._run(
            POSTGRES / "initdb", "-D", self.data, "-U", "test", "--auth=trust", "--no-sync", "--locale=C",
            "--encoding=UTF8",
        )  # fmt: skip
        self.start()

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=test dbname=postgres"

    def command(self) -> list[object]:
        assert POSTGRES is not None
        settings = [part for key, value in self.settings.items() for part in ("-c", f"{key}={value}")]
        return [
            POSTGRES / "postgres", "-D", self.data, "-p", self.port, "-h", "127.0.0.1", "-k", self.directory, *settings,
        ]  # fmt: skip

    def answers(self) -> bool:
        assert POSTGRES is not None
        return not self._run(POSTGRES / "pg_isready", "-h", "127.0.0.1", "-p", self.port, check=False)


class MariaDb(Database):
    """`connect()` opens a connection by MariaDB's connector; the database `test` is there."""

    name = "MariaDB"

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.settings = {
            "innodb-buffer-pool-size": "16M", "innodb-log-file-size": "8M", "performance-schema": "OFF",
            "max-connections": 60,
        } | settings  # fmt: skip
        self._run(
            "mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        self.start()
        with self.connect(database="") as connection:
            connection.cursor().execute("CREATE DATABASE test")

    @property
    def settings_to_connect(self) -> dict[str, object]:
        return {"host": "127.0.0.1", "port": self.port, "user": "root", "database": "test", "connect_timeout": 5}

    def connect(self, **settings: object):
        import mariadb

        return mariadb.connect(**(self.settings_to_connect | settings))

    def command(self) -> list[object]:
        settings = [f"--{key}={value}" for key, value in self.settings.items()]
        return [
            "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.data}", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--socket={self.directory / 'socket'}", *settings,
        ]  # fmt: skip

    def answers(self) -> bool:
        """It listens once it has recovered; the first packet is the server's greeting."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as greeting:
                return bool(greeting.recv(5))
        except OSError:
            return False
