"""A real server for the commands to talk to, and a way to run them."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recipes.embedded import embedded_server
from tests.cli.forkserver import ForkServer

ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hosts() -> Iterator[str]:
    with embedded_server() as hosts:
        yield hosts


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def run(tmp_path: Path, fork_server: ForkServer) -> Run:
    """run(*arguments, stdin="", **environment): a command, once it has ended."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        base = {name: value for name, value in os.environ.items() if name != "RECIPES_HOSTS"}
        if not any(name.startswith("PYTHON") for name in environment):
            return fork_server.run(
                *arguments, stdin=stdin, cwd=tmp_path, environment={**base, **environment}, seconds=60
            )
        return subprocess.run(
            [sys.executable, "-m", "recipes", *arguments],
            env={**base, "PYTHONPATH": str(ROOT), **environment},
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


class Terminal:
    """A command on a terminal of its own, typed at and read from as a person does."""

    def __init__(self, *command: str, cwd: Path, **environment: str) -> None:
        self._ours, theirs = os.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup

        base = {name: value for name, value in os.environ.items() if name != "RECIPES_HOSTS"}
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env={**base, "PYTHONPATH": str(ROOT), "TERM": "dumb", "PS1": "$ ", **environment},
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(theirs)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def expect(self, text: str, seconds: float = 60.0) -> str:
        """What came up to and with `text`, since the last call."""
        limit = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, limit - time.monotonic()))
            try:
                piece = os.read(self._ours, 4096) if ready else b""
            except OSError:  # everybody at the other end is gone
                piece = b""
            assert piece, f"{text!r} did not come, but {self.seen!r}"
            self.seen += piece.decode("utf-8", "replace")
        head, _, self.seen = self.seen.partition(text)
        return head + text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """terminal(*command): ended with the test."""
    opened: list[Terminal] = []

    def open_one(*command: str, **environment: str) -> Terminal:
        opened.append(Terminal(*command, cwd=tmp_path, **environment))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
