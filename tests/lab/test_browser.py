"""The page in a browser: what each key and button does, how fast it is, and that it asks for nothing.

Views that have files of their own are in test_browser_*.py.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from statistics import median

import pytest

from recipes.lab.expectations import final_states
from recipes.lab.explain import explain
from recipes.lab.moment import moment
from recipes.lab.page import content
from recipes.lab.trace import Trace
from recipes.lab.transcript import brief
from tests.lab.chromium import MEDIA, at, choose
from tests.lab.test_page import hostile

pytestmark = pytest.mark.thorough  # a browser
VIEWS = ("timeline", "ring", "state", "logs", "disks", "checks", "figures", "questions", "text")
LONG = 10_000
# What a page may take on a busy machine: many times the aims, which are 1000 ms (3000 for ten times as many events) and
# 16 ms on two free cores.
FIRST_PAINT_MS, STEP_MS = 8000, 120


def test_a_page_starts_at_rest_and_each_key_does_what_the_table_says(opened, outcome):
    trace = outcome("px-restart-forgets").trace
    last = len(trace.events) - 1
    sends = [event["i"] for event in trace.events if event["k"] == "send"]
    page = opened("px-restart-forgets")
    assert page.text("h1") == "An acceptor forgets its promise in a restart: two values are chosen"
    assert (at(page), page.run("document.activeElement.tagName")) == (0, "BODY")
    assert page.run("[...document.querySelectorAll('button')].some((each) => each.textContent === 'Play')")
    steps = [
        ("n", 1), ("ArrowRight", 2), ("p", 1), ("ArrowLeft", 0), ("p", 0), ("N", sends[0]), ("N", sends[1]),
        ("P", sends[0]), ("End", last), ("n", last), ("P", sends[-1]), ("Home", 0), ("]", 1), ("x", 1), ("Home", 0),
    ]  # fmt: skip
    phase = content(trace)["jump_targets"]["phase"]
    for key, expected in steps:
        page.press(key)
        assert at(page) == (
            next(each for each in phase if each > 0) if key == "]" else at(page) if key == "x" else expected
        ), key
    for number in range(1, 6):
        page.press(str(number))
        assert page.run(f"[...document.querySelectorAll('select')].some((each) => each.value === '{number}')")
    page.press("5")
    page.press(" ")
    page.wait("Number(document.querySelector('#now').textContent.split(' ')[1]) > 3")
    page.press(" ")
    assert page.run("[...document.querySelectorAll('button')].some((each) => each.textContent === 'Play')")
    page.press("?")
    assert page.run("document.querySelector('dialog').open")
    stays = at(page)
    page.press("n")
    assert at(page) == stays
    page.press("Escape")
    page.wait("!document.querySelector('dialog').open")
    page.press("/")
    assert page.run("document.activeElement.type") == "search"


def test_jumps_searches_and_checks(opened, outcome):
    trace = outcome("px-restart-forgets").trace
    page = opened("px-restart-forgets")
    page.click("First violation")
    assert at(page) == 20
    assert "a1 answers PROMISE" in page.text(".why")
    page.click("Timeline")
    assert page.run("document.querySelectorAll('.marks .evidence').length") >= 1
    for kind in ("phase", "message", "election", "commit", "fault", "violation", "note"):
        page.press("Home")
        choose(page, "phase", kind)
        seen = []
        while True:
            before = at(page)
            page.press("]")
            if at(page) == before:
                break
            seen.append(at(page))
        expected = [each for each in content(trace)["jump_targets"][kind] if each > 0]
        assert seen == expected, kind
        for number in reversed(expected[:-1]):
            page.press("[")
            assert at(page) == number
    choose(page, "phase", "search")
    for query, wanted in (
        (
            "role=promise",
            lambda e: e["k"] in ("send", "deliver", "lost") and trace.events[e["id"]]["role"] == "promise",
        ),
        ("k=power", lambda e: e["k"] == "power"),
        ("i>80 i<=83", lambda e: 80 < e["i"] <= 83),
        ("crash", lambda e: False),
    ):
        page.run(f"""(() => {{
            const box = document.querySelector("input[type=search]");
            box.value = {json.dumps(query)};
            box.dispatchEvent(new Event("change"));
        }})()""")
        assert f"{sum(map(wanted, trace.events))} found" in page.text("main"), query


SHOWN = (
    """[...document.querySelectorAll("#now, #state, #disks, .list, .strip .cursor")].map((each) => each.outerHTML)"""
)
WALK = """(seed, count) => {
  let state = seed;
  const keys = ["n", "n", "n", "p", "N", "P", "]", "[", "ArrowRight", "ArrowLeft", "End", "Home"];
  const tabs = [...document.querySelectorAll("nav button")];
  for (let step = 0; step < count; step++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    if (state % 17 === 0) tabs[state % tabs.length].click();
    dispatchEvent(new KeyboardEvent("keydown", { key: keys[(state >> 8) % keys.length] }));
    if (step === count - 1) return Number(document.querySelector("#now").textContent.split(" ")[1]);
  }
}"""


@pytest.mark.parametrize("name", ["px-restart-forgets", "mp-two-leaders", "pb-degrade"])
def test_after_a_walk_of_1000_steps_the_page_shows_what_a_direct_jump_shows(opened, name):
    walked, jumped = opened(name), opened(name)
    place = walked.run(f"({WALK})({random.Random(name).randrange(1 << 20)}, 1000)")
    jumped.run(f"location.hash = '#at={place}'")
    jumped.wait(f"document.querySelector('#now').textContent.startsWith('Event {place} ')")
    for view in ("Timeline", "State", "Disks", "Checks"):
        walked.click(view)
        jumped.click(view)
    assert walked.run(SHOWN) == jumped.run(SHOWN)


def test_the_last_state_is_that_of_the_trace(opened, outcome):
    trace = outcome("mp-two-leaders").trace
    page = opened("mp-two-leaders", f"#at={len(trace.events) - 1}&view=state")
    rows = page.run(
        "[...document.querySelectorAll('#state tr')].map((row) => [...row.cells].map((each) => each.textContent))"
    )
    names, *lines = rows
    for site, state in final_states(trace).items():
        shown = dict(zip(names, next(line for line in lines if line[0] == site), strict=True))
        for name, value in state.items():
            assert shown[name].removeprefix("● ") == brief(value), (site, name)


@pytest.mark.parametrize("name", ["px-duel-backoff", "raft-split-vote"])
def test_what_timers_have_left_is_that_of_the_trace(opened, outcome, name):
    trace = outcome(name).trace
    page = opened(name)
    set_now = [event for event in trace.events if event.get("timers")]
    for event in [*set_now[:: max(1, len(set_now) // 15)], trace.events[-1]]:
        page.run(f"location.hash = '#at={event['i']}&view=state'")
        page.wait(f"document.querySelector('#now').textContent.startsWith('Event {event['i']} ')")
        rows = page.run("""[...document.querySelector("#state table").tBodies[0].rows].map((row) =>
            [row.cells[0].textContent, row.cells[row.cells.length - 1].textContent])""")
        for site, said in rows:
            timers = moment(trace, event["i"])[site].timers.items()
            left = "; ".join(f"{each}: {(due - event['t']) / 1000:.3f} ms" for each, due in timers if due >= event["t"])
            changed = event["n"] == site and "timers" in event
            assert said == (f"● {left}" if changed else left), (event["i"], site)


def test_what_each_site_has_last_heard_from_each_other_is_that_of_the_trace(opened, outcome):
    trace = outcome("raft-newest-wins").trace
    page = opened("raft-newest-wins")
    heard: dict[str, dict[str, str]] = {}
    acknowledged = False
    for event in trace.events:
        if event["k"] == "start":
            heard[event["n"]] = {}
        elif event["k"] == "deliver" and "heartbeat" not in (sent := trace.events[event["id"]])["role"]:
            heard[event["n"]][sent["n"]] = sent["real"]
        if event["i"] % 20 and event["k"] != "start":
            continue
        page.run(f"location.hash = '#at={event['i']}&view=state'")
        page.wait(f"document.querySelector('#now').textContent.startsWith('Event {event['i']} ')")
        rows = page.run("""[...document.querySelectorAll("#state table")[1].tBodies[0].rows].map((row) =>
            [...row.cells].map((each) => each.textContent.replace("● ", "").split(" ")[0]))""")
        for site, *cells in rows:
            said = {other: kind for other, kind in zip(trace.sites, cells, strict=True) if kind}
            assert said == heard.get(site, {}), (event["i"], site)
            acknowledged = acknowledged or "APPENDED" in said.values()
    assert acknowledged


def test_a_message_is_explained_where_it_is_sent_and_where_it_ends(opened, outcome):
    trace = outcome("px-restart-forgets").trace
    explained = explain(trace)
    page = opened("px-restart-forgets")
    told = 0
    for event in trace.events:
        texts = explained.get(event.get("id")) if event["k"] in ("send", "deliver", "lost") else None
        expected = f"{texts.why['en']} {texts.outcome['en']}" if texts else ""
        assert page.text("#why") == expected, event
        told += bool(texts)
        page.press("n")
    assert told == 2 * len(explained)
    first = next(iter(explained))
    page.run(f"location.hash = '#at={first}'")
    page.wait(f"document.querySelector('#now').textContent.startsWith('Event {first} ')")
    page.click("Ask me")  # a question may be about what becomes of it
    assert page.text("#why") == explained[first].why["en"]
    page.click("中文")
    assert page.text("#why") == explained[first].why["zh"]


def test_lanes_and_roles_hide_and_the_picture_zooms(opened, outcome):
    page = opened("px-restart-forgets")
    pieces = "document.querySelectorAll('.picture svg > g:first-child > g').length"
    whole = page.run(pieces)
    assert whole == outcome("px-restart-forgets").trace.end["figures"]["messages"]

    def tick(words: str) -> None:
        labels = "[...document.querySelectorAll('fieldset label')]"
        page.run(f"{labels}.find((each) => each.textContent.trim() === '{words}').click()")

    tick("promise")
    promises = outcome("px-restart-forgets").trace.end["figures"]["roles"]["promise"]
    assert page.run(pieces) == whole - promises
    tick("promise")
    tick("p1")
    assert 0 < page.run(pieces) < whole
    tick("p1")
    width = "document.querySelector('.picture svg').getBoundingClientRect().width"
    before = page.run(width)
    page.click("zoom in")
    assert page.run(width) > before
    page.click("Whole run")
    assert page.run(width) <= page.run("document.querySelector('.picture').clientWidth") + 1
    page.click("中文")
    assert "接受" in page.text("h1") or "acceptor" in page.text("h1")
    assert page.run("document.querySelector('h1').lang") == "zh"


def test_the_address_has_event_and_view_and_a_hostile_one_only_shows_one_error(opened, outcome):
    page = opened("px-restart-forgets", "#at=20&view=disks")
    assert at(page) == 20
    assert page.run("!document.querySelector('#disks').hidden && document.querySelector('#timeline').hidden")
    page.press("n")
    page.wait("location.hash === '#at=21&view=disks'")
    for fragment in (
        "#at=99999&view=disks", "#view=nothing", "#at=-1", "#at=1e3", "#at=1&at=2", "#x=1", "#s=abc",
        "#__proto__=1", "#=",
        "#at=20&view=<img src=x onerror=window.hit=1>", "#javascript:window.hit=1", "#at=20&%00", "#view=toString",
    ):  # fmt: skip
        page.run("document.querySelector('#error').hidden = true")
        page.run(f"location.hash = {json.dumps(fragment)}")
        page.wait("!document.querySelector('#error').hidden")
        assert page.text("#error").startswith("The address"), fragment
        assert (at(page), page.run("window.hit ?? null")) == (21, None)
        assert page.run("document.querySelectorAll('[role=alert], img').length") == 1
    page.run("location.hash = '#at=3&view=text'")
    page.wait("document.querySelector('#error').hidden")
    assert at(page) == 3


def test_hostile_traces_run_nothing(browser, saved, outcome):
    plain = outcome("px-preempted-midway").trace
    for seed in range(3):
        page = browser.page().open(saved(hostile(plain, random.Random(seed)), f"hostile{seed}"))
        for view in ("State", "Logs", "Disks", "Checks", "Figures", "Text", "Timeline"):
            page.click(view)
            page.press("End")
            page.press("p")
        found = page.run("[window.hit ?? null, document.querySelectorAll('img, iframe, object, script').length]")
        assert found == [None, 2]
        assert (page.requests, page.complaints) == ([], [])
        page.close()


def longer(trace: Trace, least: int) -> Trace:
    """A trace with at least so many events: this one, again and again."""
    events: list[dict[str, object]] = []
    while len(events) < least:
        number, time = len(events), events[-1]["t"] if events else 0
        for event in trace.events:
            moved = {**event, "i": number + event["i"], "t": time + event["t"]}
            moved |= {key: number + event[key] for key in ("id", "cause") if key in event}
            events.append(moved)
    return replace(trace, events=events[:least], end=None)


def test_ten_thousand_events_paint_at_once_and_step_at_once(browser, saved, outcome):
    trace = longer(outcome("px-duel").trace, LONG)
    page = browser.page().open(saved(trace, "long"))
    paint = page.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    figures = {}
    for view in VIEWS:
        page.run(f"location.hash = '#at=5000&view={view}'")
        page.wait("document.querySelector('#now').textContent.startsWith('Event 5000 ')")
        assert page.run(f"!document.querySelector('#{view}').hidden")
        steps = page.run("""(() => {
            const times = [];
            for (let step = 0; step < 150; step++) {
                const start = performance.now();
                dispatchEvent(new KeyboardEvent("keydown", { key: "n" }));
                document.body.getBoundingClientRect();
                times.push(performance.now() - start);
            }
            return times;
        })()""")
        figures[view] = round(median(steps), 1)
    sys.stdout.write(f"{LONG} events: first paint {paint:.0f} ms; a step, in ms: {figures}\n")
    assert paint <= FIRST_PAINT_MS, f"first paint after {paint:.0f} ms"
    assert max(figures.values()) <= STEP_MS, f"a step takes, in ms: {figures}"
    assert (page.requests, page.complaints) == ([], [])
    assert page.run("document.querySelectorAll('.picture svg *').length") < 5000
    page.close()


def test_a_hundred_thousand_events_open_too(browser, saved, outcome):
    trace = longer(outcome("px-duel").trace, 10 * LONG)
    page = browser.page().open(saved(trace, "longest") + "#at=77777&view=timeline")
    paint = page.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    page.wait("document.querySelector('#now').textContent.startsWith('Event 77777 ')")
    sys.stdout.write(f"{10 * LONG} events: first paint {paint:.0f} ms\n")
    assert paint <= 3 * FIRST_PAINT_MS
    assert (page.requests, page.complaints) == ([], [])
    assert page.run("document.querySelectorAll('.picture svg *').length") < 5000
    page.close()


def test_nothing_overflows_on_a_narrow_screen_or_at_twice_the_size(opened):
    page = opened("mp-two-leaders")
    for width in (320, 640):
        page.command("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        for view in VIEWS:
            page.click(view.capitalize())
            assert page.run("document.documentElement.scrollWidth") <= width, (width, view)


@pytest.mark.parametrize("media", MEDIA)
def test_axe_finds_nothing(opened, axe, media):
    page = opened("px-restart-forgets")
    page.command("Emulation.setEmulatedMedia", features=MEDIA[media])
    page.run(axe + "; 0")
    for view in VIEWS:
        page.click(view.capitalize())
        if view == "checks":
            page.click("First violation")
        found = page.run("""axe.run(document, { resultTypes: ["violations"] }).then((result) => result.violations.map(
            (each) => each.id + ": " + each.nodes.map((node) => node.html.slice(0, 120)).slice(0, 3).join(" | ")))""")
        assert found == [], view
