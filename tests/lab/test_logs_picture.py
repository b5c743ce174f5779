"""The picture of all logs: it parses, runs nothing, shows holes and what is chosen, and texts of a trace as texts."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from recipes.cli import main
from recipes.lab.logs_picture import logs
from recipes.lab.scenario import load
from tests.lab.test_timeline import HOSTILE, NAMES, SVG


def boxes(root: ElementTree.Element) -> list[ElementTree.Element]:
    return root.findall(f"{SVG}rect")[1:]  # the first one is the paper


@pytest.mark.parametrize("name", NAMES)
def test_all_logs_are_drawn(outcome, name):
    text = logs(outcome(name).trace, "a title")
    root = ElementTree.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "title", "rect", "text", "line"}
    assert root.findtext(f"{SVG}title") == "a title"
    assert len(text) < 300_000


def test_entries_have_their_epoch_and_what_is_applied_a_line(outcome):
    root = ElementTree.fromstring(logs(outcome("zab-orphan-truncated").trace, "t"))
    texts = [element.text for element in root.findall(f"{SVG}text")]
    assert [text for text in texts if text in ("s1", "s2", "s3")] == ["s1", "s2", "s3"]
    assert texts.count("2.1") == texts.count("2.2") == 3
    assert len({box.get("fill") for box in boxes(root)}) == 2  # two epochs
    assert len(root.findall(f"{SVG}line")) == len(boxes(root))


def test_a_hole_is_dashed_and_what_is_chosen_has_a_thick_frame(outcome):
    trace = outcome("mp-hole").trace
    hole = next(each["i"] for each in trace.events if each["k"] == "state" and 2 in each.get("chosen", ()))
    root = ElementTree.fromstring(logs(replace(trace, events=trace.events[: hole + 1]), "t"))
    assert any(box.get("stroke-dasharray") for box in boxes(root))
    assert {box.get("stroke-width") for box in boxes(root)} >= {"1"}
    assert "3" in {box.get("stroke-width") for box in boxes(ElementTree.fromstring(logs(trace, "t")))}


def test_a_hostile_trace_is_shown_as_it_is(outcome):
    trace = outcome("px-preempted-midway").trace
    events = [event | ({"value": [[1, HOSTILE], HOSTILE]} if event["k"] == "write" else {}) for event in trace.events]
    text = logs(replace(trace, events=events), HOSTILE)
    assert "<script" not in text
    assert ElementTree.fromstring(text).findtext(f"{SVG}title") == HOSTILE.replace("\x00", "\ufffd").replace(
        "\ud800", "\ufffd"
    )


def test_the_command_prints_it(capsys):
    shown = ["lab", "run", "mp-hole", "--svg", "--view", "logs"]
    assert main(shown) == 0
    last = ElementTree.fromstring(capsys.readouterr().out)
    assert last.findtext(f"{SVG}title").endswith(load("mp-hole").title["en"])
    assert main([*shown, "--at", "0"]) == 0
    assert boxes(last) and not boxes(ElementTree.fromstring(capsys.readouterr().out))
