"""PostgreSQL servers under test, each a process on a directory of its own, with its own durability settings."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from benchmarks.ensemble import _free_ports
from benchmarks.server import TICKS_PER_SECOND

START_SECONDS = 60.0
SETTINGS = {"max_prepared_transactions": 128, "max_connections": 200, "shared_buffers": "64MB"}


class Postgres(NamedTuple):
    """A server that runs."""

    dsn: str
    pid: int

    @property
    def cpu_seconds(self) -> float:
        """Processor time used so far by all its processes, those that have ended too."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        ticks = 0
        for pid in (str(self.pid), *children):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            ticks += sum(map(int, fields[11:15] if pid == str(self.pid) else fields[11:13]))
        return ticks / TICKS_PER_SECOND


def _programs() -> Path | None:
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def why_missing() -> str | None:
    """Why there is none; None where there is."""
    return None if _programs() else "PostgreSQL is not installed (Debian: apt-get install postgresql-15)"


@contextmanager
def running(directory: Path) -> Iterator[Postgres]:
    """A server with fsync on. It refuses root: then `nobody` runs it."""
    programs = _programs()
    if programs is None:
        raise RuntimeError(why_missing())
    home = Path(tempfile.mkdtemp(prefix="postgres-", dir=directory))
    user = "nobody" if os.getuid() == 0 else None
    if user is not None:
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)
    (port,) = _free_ports(1)
    words = [programs / "initdb", "-D", home / "data", "-U", "test", "--auth=trust", "--locale=C", "--encoding=UTF8"]
    subprocess.run(words, user=user, cwd=home, check=True, capture_output=True)
    settings = [part for key, value in SETTINGS.items() for part in ("-c", f"{key}={value}")]
    words = [programs / "postgres", "-D", home / "data", "-p", str(port), "-h", "127.0.0.1", "-k", home, *settings]
    with (home / "log").open("ab") as log:
        server = subprocess.Popen(words, user=user, cwd=home, stdout=log, stderr=log)
    try:
        deadline = monotonic() + START_SECONDS
        asked = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(asked, capture_output=True, check=False).returncode:
            if monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start:\n{(home / 'log').read_text()[-2000:]}")
            sleep(0.05)
        yield Postgres(f"host=127.0.0.1 port={port} user=test dbname=postgres", server.pid)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home, ignore_errors=True)
