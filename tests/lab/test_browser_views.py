"""Views of the page of a run that teach: questions."""

from __future__ import annotations

import json
import random

import pytest

from recipes.lab.questions import questions
from tests.lab.chromium import MEDIA, Page, at
from tests.lab.test_page import hostile

pytestmark = pytest.mark.thorough  # a browser

VIEWS = ("Questions",)


def choices(page: Page) -> list[str]:
    found: list[str] = page.run("[...document.querySelectorAll('#question li button')].map((each) => each.textContent)")
    return found


def test_questions_are_put_when_asked_for_and_what_follows_is_veiled(opened, outcome):
    found = outcome("px-restart-forgets")
    trace, asked = found.trace, questions(found.trace, found.found)
    page = opened("px-restart-forgets")
    first = asked[0]
    page.run(f"location.hash = '#at={first.event}'")
    page.wait(f"document.querySelector('#now').textContent.startsWith('Event {first.event} ')")
    assert page.run("document.querySelector('#question').hidden")
    assert "broken" in page.text("#facts")
    page.click("Ask me")
    assert "broken" not in page.text("#facts")
    assert choices(page) == [choice["en"] for choice in first.choices]
    veil = "document.querySelector('.veil').classList.contains('down')"
    rows = "[...document.querySelectorAll('.list tbody tr')].length"
    assert page.run(veil)
    assert page.run(rows) == first.event + 1
    wrong = next(place for place in range(len(first.choices)) if place != first.answer)
    page.click(first.choices[wrong]["en"])
    assert f"Wrong. It is: {first.choices[first.answer]['en']}" in page.text("#question")
    assert not page.run(veil)
    assert page.run(rows) > first.event + 1
    page.click(f"event {first.shown_at} shows it")
    assert at(page) == first.shown_at
    for question in asked[1:]:
        page.run(f"location.hash = '#at={question.event}'")
        page.wait(f"document.querySelector('#now').textContent.startsWith('Event {question.event} ')")
        page.click(question.choices[question.answer]["en"])
        assert "Right." in page.text("#question")
    assert "broken" in page.text("#facts")
    page.click("Questions")
    assert f"{len(asked) - 1} right of {len(asked)} answered" in page.text("#questions caption")
    page.click("中文")
    assert asked[0].text["zh"] in page.text("#questions")
    assert trace.events[first.event]["i"] == first.event


def test_playing_stops_at_a_question(opened, outcome):
    found = outcome("px-null")
    asked = [each.event for each in questions(found.trace, found.found)]
    page = opened("px-null")
    page.click("Ask me")
    page.press("5")
    for expected in sorted(set(asked))[:2]:
        page.press(" ")
        page.wait(f"document.querySelector('#now').textContent.startsWith('Event {expected} ')")
        page.wait("[...document.querySelectorAll('button')].some((each) => each.textContent === 'Play')")
        assert at(page) == expected
    page.click("Ask me")
    assert page.run("document.querySelector('#question').hidden")


def test_hostile_traces_run_nothing_in_these_views(browser, saved, outcome):
    plain = outcome("px-preempted-midway").trace
    for seed in range(3):
        page = browser.page().open(saved(hostile(plain, random.Random(seed)), f"views{seed}"))
        page.click("Ask me")
        for view in VIEWS:
            page.click(view)
            for key in ("Home", "n", "End", "p"):
                page.press(key)
        found = page.run("[window.hit ?? null, document.querySelectorAll('img, iframe, object, script').length]")
        assert found == [None, 2]
        assert (page.requests, page.complaints) == ([], [])
        page.close()


@pytest.mark.parametrize("media", MEDIA)
def test_axe_finds_nothing(opened, axe, media):
    page = opened("px-restart-forgets", "#at=11")
    page.command("Emulation.setEmulatedMedia", features=MEDIA[media])
    page.run(axe + "; 0")
    page.click("Ask me")
    for view in VIEWS:
        page.click(view)
        if view == "Questions":
            page.run("document.querySelector('#question li button').click()")
        found = page.run("""axe.run(document, { resultTypes: ["violations"] }).then((result) => result.violations.map(
            (each) => each.id + ": " + each.nodes.map((node) => node.html.slice(0, 120)).slice(0, 3).join(" | ")))""")
        assert found == [], view


def test_nothing_overflows_on_a_narrow_screen(opened):
    page = opened("mp-two-leaders")
    page.click("Ask me")
    for width in (320, 640):
        page.command("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        for view in VIEWS:
            page.click(view)
            for key in ("Home", "]", "]"):
                page.press(key)
                wide = page.run("document.documentElement.scrollWidth")
                assert wide <= width, (width, view, json.dumps(page.text("#now")))
