"""Views of the page of a run that teach: questions, the ring, the story."""

from __future__ import annotations

import json
import random
from math import hypot

import pytest

from recipes.lab.expectations import final_states
from recipes.lab.page import content
from recipes.lab.questions import questions
from recipes.lab.ring import ring
from recipes.lab.trace import Trace
from tests.lab.chromium import MEDIA, Page, at
from tests.lab.test_page import hostile

pytestmark = pytest.mark.thorough  # a browser

VIEWS = ("Questions", "Ring", "Text")


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


def flying(trace: Trace, number: int) -> list[tuple[float, float]]:
    """Where the messages are that are on their way after an event; the lost one of this event in the middle."""
    ends = {event["id"]: event for event in trace.events if event["k"] in ("deliver", "lost")}
    now, places = trace.events[number], ring(trace.sites)
    found = []
    for sent in trace.events[: number + 1]:
        if sent["k"] != "send" or "heartbeat" in sent["role"]:
            continue
        end = ends.get(sent["i"])
        lost_now = end is not None and end["i"] == number and end["k"] == "lost"
        if end is not None and end["i"] <= number and not lost_now:
            continue
        passed = now["t"] - sent["t"]
        whole = end["t"] - sent["t"] if end else 2 * passed or 1
        share = 0.5 if lost_now else passed / whole if whole else 0.0
        (x1, y1), (x2, y2) = places[sent["n"]], places[sent["to"]]
        edge = min(30 / hypot(x2 - x1, y2 - y1), 0.5)
        part = edge + share * (1 - 2 * edge)
        found.append((x1 + (x2 - x1) * part, y1 + (y2 - y1) * part))
    return found


HEADS = """[...document.querySelectorAll('.flight path')].map((each) => {
    const words = (each.getAttribute("transform") ?? each.getAttribute("d")).match(/-?[0-9.]+/g).map(Number);
    return each.getAttribute("transform") ? words.slice(0, 2) : [words[0] + 6, words[1] + 6];
})"""


@pytest.mark.parametrize("name", ["px-restart-forgets", "mp-two-leaders"])
def test_the_ring_has_each_message_on_its_way_where_it_is(opened, outcome, name):
    trace = outcome(name).trace
    page = opened(name, "#at=0&view=ring")
    page.wait("!document.querySelector('#ring').hidden")
    most = 0
    for number in range(0, len(trace.events), max(len(trace.events) // 60, 1)):
        page.run(f"location.hash = '#at={number}&view=ring'")
        page.wait(f"document.querySelector('#now').textContent.startsWith('Event {number} ')")
        expected = flying(trace, number)
        shown = page.run(HEADS)
        assert len(shown) == len(expected)
        for one, other in zip(shown, expected, strict=True):
            assert one == pytest.approx(other, abs=0.11), number
        assert page.run("document.querySelector('#ring table').tBodies[0].rows.length") == len(expected)
        most = max(most, len(expected))
    assert most >= 2
    assert page.run("document.querySelectorAll('.disc').length") == len(trace.sites)


def test_the_ring_marks_who_leads_and_who_is_down(opened, outcome):
    trace = outcome("mp-two-leaders").trace
    page = opened("mp-two-leaders", f"#at={len(trace.events) - 1}&view=ring")
    page.wait("!document.querySelector('#ring').hidden")
    states = final_states(trace)
    names = "[...document.querySelectorAll('.disc.leads text:first-of-type')].map((each) => each.textContent)"
    assert page.run(names) == [name for name in trace.sites if states[name]["role"] == "leader"]
    forgets = outcome("px-restart-forgets").trace
    power = next(event for event in forgets.events if event["k"] == "power")
    other = opened("px-restart-forgets", f"#at={power['i']}&view=ring")
    other.wait("!document.querySelector('#ring').hidden")
    down = other.run("[...document.querySelectorAll('.disc.still')].map((each) => each.textContent)")
    assert down == [f"{power['n']}without power"]


def test_paragraphs_of_the_story_follow_the_cursor_and_scrolling_moves_it(opened, outcome):
    told = content(outcome("px-restart-forgets").trace)["told"]
    assert told == sorted(told) and len(told) == 4
    page = opened("px-restart-forgets", "#at=0&view=text")
    page.wait("!document.querySelector('#text').hidden")
    current = "[...document.querySelectorAll('.told')].findIndex((each) => each.getAttribute('aria-current'))"
    for place, event in enumerate(told):
        page.run(f"location.hash = '#at={event}&view=text'")
        page.wait(f"document.querySelector('#now').textContent.startsWith('Event {event} ')")
        assert page.run(current) == place
        page.press("p")
        assert page.run(current) == max(place - 1, 0)
    for place in (1, 3, 2, 0):
        there = f"document.querySelectorAll('.told')[{place}].offsetTop"
        page.run(f"document.querySelector('.telling').scrollTop = {there}")
        page.wait(f"document.querySelector('#now').textContent.startsWith('Event {told[place]} ')")
        assert page.run(current) == place
    page.click(f"event {told[0]}")
    assert at(page) == told[0]


def test_behind_a_lane_is_the_number_that_its_site_shows(opened, outcome):
    page = opened("mp-two-leaders")
    page.click("Whole run")
    shown = page.run("[...document.querySelectorAll('.picture rect title')].map((each) => each.textContent)")
    numbers = {each for each in shown if " shows " in each}
    assert len({each.split(" shows ")[0] for each in numbers}) == len(outcome("mp-two-leaders").trace.sites)


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


def test_the_timeline_in_true_time_has_the_same_messages_elsewhere(opened, outcome):
    trace = outcome("px-preempted-midway").trace
    shown = content(trace)
    page = opened("px-preempted-midway", "#at=20&view=timeline")
    page.wait("document.querySelector('#now').textContent.startsWith('Event 20 ')")
    cursor = "Number(document.querySelector('.picture .cursor').getAttribute('x1'))"
    lines = "document.querySelectorAll('.picture svg > g:first-child > g').length"
    pressed = "[...document.querySelectorAll('button')].find((each) => each.textContent === 'True time').ariaPressed"
    assert (page.run(cursor), page.run(pressed)) == (shown["picture"]["x"][20], "false")
    page.click("Whole run")
    before = page.run(lines)
    page.click("True time")
    assert (page.run(cursor), page.run(pressed)) == (shown["timed"]["x"][20], "true")
    page.click("Whole run")
    assert page.run(lines) == before
    page.press("n")
    assert (page.run(cursor), at(page)) == (shown["timed"]["x"][21], 21)
    page.click("True time")
    assert page.run(cursor) == shown["picture"]["x"][21]
