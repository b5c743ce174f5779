"""A real server for the commands to talk to, and a way to run them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recipes.embedded import embedded_server

ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hosts() -> Iterator[str]:
    with embedded_server() as hosts:
        yield hosts


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        base = {name: value for name, value in os.environ.items() if name != "RECIPES_HOSTS"}
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
