"""The page of a comparison in a browser: one cursor for all timelines, and nothing is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recipes.lab.compare import compare
from recipes.lab.page import document
from recipes.lab.side_by_side import comparison
from tests.lab.chromium import MEDIA, Chromium, Page
from tests.lab.test_page import HOSTILE

pytestmark = pytest.mark.thorough  # a browser
PROTOCOLS = ("zab", "raft", "primary-backup")


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return comparison(compare(PROTOCOLS, None, range(1, 3), 3), None, range(1, 3), 3)


@pytest.fixture
def opened(browser: Chromium, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """opened(content, fragment): its page, as a file. At the end it has asked for nothing, and not complained."""
    pages: list[Page] = []

    def opened(shown: dict[str, Any], fragment: str = "") -> Page:
        file = tmp_path / f"{len(pages)}.html"
        file.write_text(document(shown), encoding="utf-8")
        pages.append(browser.page())
        return pages[-1].open(file.as_uri() + fragment)

    yield opened
    for page in pages:
        page.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert (page.requests, page.complaints) == ([], [])
        page.close()


CURSORS = "[...document.querySelectorAll('.compared .cursor')].map((each) => Number(each.getAttribute('x1')))"
LINES = "[...document.querySelectorAll('#now li')].map((each) => each.textContent)"


def lines(content: dict[str, Any], x: int) -> list[str]:
    """What the page says at a place: of each run its last event up to there."""
    said = []
    for each in content["compare"]["runs"]:
        if not each["missing"]:
            before = [event for event in each["events"] if event[4] <= x]
            number, time, site, words, _ = before[-1]
            said.append(f"{each['title']}: event {number}, {time / 1000:.3f} ms, {site or 'all'}: {words}")
    return said


def test_one_cursor_goes_through_all_timelines(opened, content):
    page = opened(content)
    runs = [each for each in content["compare"]["runs"] if not each["missing"]]
    xs = sorted({event[4] for each in runs for event in each["events"]})
    assert len(runs) == 2
    assert page.run("document.querySelectorAll('.compared .scrolls svg').length") == 2
    place = 0
    for key, by in (
        ("n", 1),
        ("ArrowRight", 1),
        ("p", -1),
        ("End", len(xs)),
        ("n", 1),
        ("ArrowLeft", -1),
        ("Home", -len(xs)),
        ("p", -1),
    ):
        page.press(key)
        place = min(max(place + by, 0), len(xs) - 1)
        assert page.run(CURSORS) == [xs[place]] * 2, key
        assert page.run(LINES) == lines(content, xs[place]), key
    for _, x in content["compare"]["phases"]:
        page.press("]")
        assert page.run(CURSORS) == [x] * 2
    page.click("Phase before")
    assert page.run(CURSORS)[0] == content["compare"]["phases"][-2][1]
    page.run(
        "(() => { const s = document.querySelector('input'); s.value = '3'; s.dispatchEvent(new Event('input')); })()"
    )
    assert page.run(CURSORS) == [xs[3]] * 2
    for key in ("x", "5", " ", "?", "/", "N"):
        page.press(key)
    assert page.run(CURSORS) == [xs[3]] * 2


def test_the_tables_have_what_the_command_prints(opened, content):
    page = opened(content)
    tables = page.run("""[...document.querySelectorAll('table')].map((table) => [...table.tBodies[0].rows].map((row) =>
        [...row.cells].map((cell) => cell.textContent)))""")
    assert tables == [content["compare"]["parts"], content["compare"]["rows"]]
    assert "Primary-backup: The scenario does not run on this protocol." in page.text("main")


def test_hostile_text_runs_nothing(opened, content):
    def changed(value: Any, number: int) -> Any:
        if isinstance(value, dict):
            return {key: changed(each, number) for key, each in value.items()}
        if isinstance(value, list) and value and value[0] in ("g", "line", "path", "rect", "text", "title"):
            return [*value[:2], *(changed(each, number) for each in value[2:])]
        if isinstance(value, list):
            return [changed(each, number) for each in value]
        return HOSTILE[number] if isinstance(value, str) and value else value

    for number in range(0, len(HOSTILE), 4):
        hostile = {key: changed(value, number) for key, value in content.items()}
        for run in hostile["compare"]["runs"]:
            if "lanes" in run:
                run["missing"] = ""
        page = opened(hostile, "#<img src=x onerror=window.hit=1>")
        for key in ("n", "]", "End"):
            page.press(key)
        found = page.run("[window.hit ?? null, document.querySelectorAll('img, iframe, object, script').length]")
        assert found == [None, 2]


@pytest.mark.parametrize("media", MEDIA)
def test_axe_finds_nothing_and_nothing_overflows(opened, content, axe, media):
    page = opened(content)
    page.command("Emulation.setEmulatedMedia", features=MEDIA[media])
    page.run(axe + "; 0")
    found = page.run("axe.run(document).then((result) => result.violations.map((each) => each.id))")
    assert found == []
    for width in (320, 640):
        page.command("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        assert page.run("document.documentElement.scrollWidth") <= width
