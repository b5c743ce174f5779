"""Stores of a test's own, ended with it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recipes.store.directory import StoreDirectory
from recipes.store.moving import stop

ROOT = Path(__file__).parent.parent.parent
Program = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreDirectory]:
    """The store that `connect()` joins in this test, here and in what is started here. Nothing is there yet."""
    place = StoreDirectory(tmp_path / "store")
    monkeypatch.setenv("RECIPES_STORE", str(place.directory))
    yield place
    monkeypatch.undo()
    if place.directory.is_dir() and os.stat(place.directory).st_uid == os.geteuid():
        stop(place)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """program(text, *arguments): a Python program of its own process, which ends with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", text, *arguments],
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                cwd=tmp_path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()
