"""The picture of a trace: it parses, runs nothing, is not too large, and shows texts of a trace as texts."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from recipes.lab.scenario import names
from recipes.lab.timeline import timeline
from recipes.lab.trace import Trace

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "desc", "rect", "text", "line", "g", "path"}
NAMES = ["px-preempted-midway", *(pytest.param(name, marks=pytest.mark.thorough) for name in names()[::4])]


def drawn(trace: Trace, title: str = "a title") -> ElementTree.Element:
    root = ElementTree.fromstring(timeline(trace, title))
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in TAGS
        for attribute, value in element.attrib.items():
            assert not attribute.startswith("on"), attribute
            assert "url(" not in value and "href" not in attribute
    return root


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_drawn(outcome, name):
    trace = outcome(name).trace
    root = drawn(trace)
    sends = sum(event["k"] == "send" and "heartbeat" not in event["role"] for event in trace.events)
    assert len(root.findall(f"{SVG}g")) == sends
    assert {element.text for element in root.findall(f"{SVG}text")} >= trace.sites.keys()
    assert len(timeline(trace, "a title")) <= 600 * len(trace.events) + 5000  # 300 kB for 500 events


HOSTILE = '</title><script>alert(1)</script> & "quoted" \x00\ud800 ]]>'


def test_a_hostile_trace_is_shown_as_it_is(outcome):
    trace = outcome("px-preempted-midway").trace
    events = [
        event | {key: HOSTILE for key in ("role", "real", "why", "value") if key in event}
        | ({"fields": {HOSTILE: HOSTILE}} if "fields" in event else {})
        for event in trace.events
    ]  # fmt: skip
    events.append({"i": len(events), "t": events[-1]["t"], "n": "a1", "k": "note", "text": HOSTILE})
    root = drawn(replace(trace, events=events), HOSTILE)
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert root.findtext(f"{SVG}title") == shown
    assert any(element.text == shown for element in root.findall(f"{SVG}text"))


def test_a_trace_without_events_is_drawn(outcome):
    drawn(replace(outcome("px-null").trace, events=[]))
