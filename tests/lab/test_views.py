"""The views of a page as pictures: each parses, runs nothing, is not too large, and shows what is true at its event."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from recipes.lab.checks.registry import check
from recipes.lab.moment import moment
from recipes.lab.scenario import load, names
from recipes.lab.trace import Trace
from recipes.lab.transcript import brief
from recipes.lab.views import MOMENTS, checks_picture, figures_picture
from tests.lab.test_timeline import HOSTILE, SVG, TAGS

NAMES = [name if name == "mp-two-leaders" else pytest.param(name, marks=pytest.mark.thorough) for name in names()]


def parsed(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in TAGS | {"circle"}
        for attribute, value in element.attrib.items():
            assert not attribute.startswith("on"), attribute
            assert "url(" not in value and "href" not in attribute
    return root


def pictures(trace: Trace, title: str) -> dict[str, str]:
    last = len(trace.events) - 1
    drawn = {f"{name} at {at}": draw(trace, at, title) for name, draw in MOMENTS.items() for at in (0, last // 2, last)}
    return drawn | {"figures": figures_picture(trace, title), "checks": checks_picture(trace, check(trace), title)}


def texts(text: str) -> list[str]:
    return [element.text or "" for element in parsed(text).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", NAMES)
def test_every_view_is_drawn(outcome, name):
    for view, text in pictures(outcome(name).trace, "a title").items():
        assert parsed(text).findtext(f"{SVG}title") == "a title", view
        assert len(text) < 300_000, view


def test_a_hostile_trace_is_shown_as_it_is(outcome):
    trace = outcome("px-preempted-midway").trace
    events = [
        event | {key: HOSTILE for key in ("role", "real", "why", "value", "what") if key in event}
        | ({"fields": {HOSTILE: HOSTILE}} if "fields" in event else {})
        | ({HOSTILE: HOSTILE} if event["k"] == "state" else {})
        | ({"timers": {HOSTILE: 1 << 40}} if event["k"] == "start" else {})
        for event in trace.events
    ]  # fmt: skip
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    hostile = replace(trace, events=events)
    for name, draw in MOMENTS.items():
        for at in range(0, len(events), 7):
            text = draw(hostile, at, HOSTILE)
            assert "<script" not in text, name
            assert parsed(text).findtext(f"{SVG}title") == shown, name


def test_the_state_is_what_each_site_says_and_has_heard_and_what_the_event_has_changed_is_marked(outcome):
    trace = outcome("mp-two-leaders").trace
    for event in trace.events:
        if event["k"] not in ("state", "deliver"):
            continue
        said = texts(MOMENTS["state"](trace, event["i"], "t"))
        for name, site in moment(trace, event["i"]).items():
            assert name in said
            for key, value in site.shown.items():
                changed = event["k"] == "state" and event["n"] == name and key in event
                assert (f"● {brief(value)}" if changed else brief(value)) in said
        sent = trace.events[event["id"]] if event["k"] == "deliver" else None
        if sent is not None and "heartbeat" not in sent["role"]:
            assert any(text.startswith(f"● {sent['real']}") for text in said)


def test_the_ring_has_the_messages_that_are_on_their_way_and_the_one_that_is_lost_now(outcome):
    trace = outcome("px-restart-forgets").trace
    flying = 0
    for event in trace.events:
        flying += (event["k"] == "send") - (event["k"] == "deliver")
        root = parsed(MOMENTS["ring"](trace, event["i"], "t"))
        lines = list(root.iter(f"{SVG}line"))
        crosses = [path for path in root.iter(f"{SVG}path") if path.get("stroke-width") == "3"]
        assert (len(lines), len(crosses)) == (flying, int(event["k"] == "lost"))
        flying -= event["k"] == "lost"


def test_the_disks_tell_what_is_synced_from_what_is_not(outcome):
    trace = outcome("px-null").trace
    written = next(event for event in trace.events if event["k"] == "write")
    synced = next(event for event in trace.events if event["k"] == "fsync" and event["at"] == "end")
    assert texts(MOMENTS["disks"](trace, written["i"], "t"))[-3:] == ["counter", "1", "not synced"]
    assert "on disk" in texts(MOMENTS["disks"](trace, synced["i"], "t"))


def test_checks_say_where_and_why_in_two_languages(outcome):
    found = outcome("px-restart-forgets")
    for lang in ("en", "zh"):
        said = texts(checks_picture(found.trace, found.found, "t", lang))
        for name, broken in found.broken.items():
            why = broken.why if lang == "en" else broken.why_zh
            assert name in said
            assert any(text.startswith(f"broken at event {broken.event}: {why[:20]}") for text in said)


def test_the_command_prints_them(lab):
    title = f"px-null: {load('px-null').title['en']}"
    for view in ("timeline", "ring", "state", "logs", "disks", "checks", "figures"):
        code, out, _ = lab("run", "px-null", "--svg", "--view", view)
        assert (code, ElementTree.fromstring(out).findtext(f"{SVG}title", "").startswith(title)) == (0, True), view
    assert lab("run", "px-null", "--svg", "--view", "ring", "--at", "20")[1] != lab("run", "px-null", "--svg")[1]


@pytest.mark.parametrize("event", ["never", "-1", "1000000", "\u00b2", "end"])
def test_an_event_that_is_not_there_is_refused_in_one_sentence(lab, event):
    code, _, err = lab("run", "px-null", "--svg", "--view", "logs", f"--at={event}")
    assert (code, err.count("\n")) == (2, 1)
    shown = event.encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00")  # in JSON, behind a pipe
    assert any(f"--at {each}: expected the number of an event, from 0 to 63" in err for each in (event, shown))


def test_a_moment_of_a_view_of_the_whole_run_and_a_view_without_svg_are_refused(lab):
    for wrong in (
        ["--svg", "--at", "3"],
        ["--svg", "--view", "checks", "--at", "3"],
        ["--view", "ring"],
        ["--at", "3"],
    ):
        code, _, err = lab("run", "px-null", *wrong)
        assert (code, err.count("\n")) == (2, 1), wrong
