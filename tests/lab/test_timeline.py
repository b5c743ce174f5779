"""The picture of a trace: it parses, runs nothing, is not too large, and shows texts of a trace as texts."""

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from recipes.lab.expectations import follow_state
from recipes.lab.scenario import names
from recipes.lab.timeline import LEFT, TINTS, Picture, timeline
from recipes.lab.timeline import drawn as drawn_events
from recipes.lab.trace import Event, Trace
from recipes.lab.transcript import brief

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "desc", "rect", "text", "line", "g", "path"}
NAMES = [name if name == "px-preempted-midway" else pytest.param(name, marks=pytest.mark.thorough) for name in names()]


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


@pytest.mark.parametrize("name", ["mp-two-leaders", pytest.param("cmp-leader-crash", marks=pytest.mark.thorough)])
def test_behind_each_lane_is_the_number_that_its_site_shows(outcome, name):
    trace = outcome(name).trace
    picture = Picture(trace)
    areas = [each for each in picture.pieces if each.element.name == "rect" and each.element.attributes["height"] > 20]
    fills: dict[str, str] = {}
    for area in areas:
        number = str(area.element.content[0].content[0]).split(" shows ")[1]  # type: ignore[union-attr]
        assert fills.setdefault(number, area.element.attributes["fill"]) == area.element.attributes["fill"]
    assert len(set(fills.values())) > 1
    states: dict[str, dict[str, object]] = {}
    shown: dict[tuple[str, int], object] = {}  # the last number of a site at a place
    for event in trace.events:
        follow_state(states, event)
        number = states.get(event["n"], {}).get("number")
        if event["k"] == "state" and number is not None:
            shown[event["n"], picture.x[event["i"]]] = number
    assert shown
    for (site, x), number in shown.items():
        behind = [each for each in areas if each.sites == (site,) and each.left <= x <= each.right]
        assert any(f"{site} shows {brief(number)}" in str(each.element.plain()) for each in behind), (site, x)


def test_there_is_nothing_behind_the_lane_of_a_site_that_is_down(outcome):
    trace = outcome("pb-blocks").trace
    picture = Picture(trace)
    crash = next(event for event in trace.events if event["k"] == "crash")
    site, x = crash["n"], picture.x[crash["i"]]
    back = [event["i"] for event in trace.events[crash["i"] :] if event["k"] == "start" and event["n"] == site]
    assert any(event["k"] == "lost" and event["n"] == site for event in trace.events[crash["i"] :])
    until = picture.x[back[0]] if back else picture.width
    tints = [
        piece for piece in picture.pieces if piece.sites == (site,) and piece.element.attributes.get("fill") in TINTS
    ]
    assert tints
    assert not [piece for piece in tints if x < piece.right and piece.left < until]


def test_a_picture_of_a_span_has_only_its_events(outcome):
    trace = outcome("cmp-leader-crash").trace
    span = range(len(trace.events) // 3, 2 * len(trace.events) // 3)
    picture = Picture(trace, span=span)
    pieces = [each for each in picture.pieces if each.element.name in ("g", "text", "path")]
    assert pieces
    assert all(each.event in span for each in pieces)
    assert picture.width < Picture(trace).width


def test_a_trace_without_events_is_drawn(outcome):
    drawn(replace(outcome("px-null").trace, events=[]))


@pytest.mark.parametrize("name", ["px-preempted-midway", "zab-phases"])
def test_in_true_time_distances_are_times(outcome, name):
    trace = outcome(name).trace
    picture = Picture(trace, true_time=True)
    moments = drawn_moments(trace)
    first, last = moments[0], moments[-1]
    scale = (picture.x[last["i"]] - LEFT) / (last["t"] - first["t"])
    for event in moments:
        assert abs(picture.x[event["i"]] - LEFT - (event["t"] - first["t"]) * scale) <= 1
    even = Picture(trace)
    assert picture.width <= 4 * even.width
    assert picture.lanes == even.lanes
    assert len(picture.roles()) == len(even.roles())
    ticks = [
        (piece.left, float(str(piece.element.content[0]).removesuffix(" ms")))
        for piece in picture.pieces
        if piece.element.name == "text" and str(piece.element.content[0]).endswith(" ms")
    ]
    assert len(ticks) >= 3
    for x, time_ms in ticks:
        assert abs(x - LEFT - (time_ms * 1000 - first["t"]) * scale) <= 2
    assert all(later[0] - earlier[0] >= 60 for earlier, later in pairwise(ticks))
    assert "NaN" not in timeline(trace, "a title", true_time=True)


def drawn_moments(trace: Trace) -> list[Event]:
    return drawn_events(trace, range(len(trace.events)))


def test_a_run_of_one_moment_has_a_picture_in_true_time(outcome):
    trace = outcome("px-null").trace
    for count in (0, 1, 3):
        timeline(replace(trace, events=trace.events[:count], end=None), "cut", true_time=True)
