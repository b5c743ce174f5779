"""The page of all scenarios: a small picture of each run, which has what its timeline has."""

from xml.etree import ElementTree

import pytest

from recipes.lab.gallery import gallery
from recipes.lab.scenario import SECTIONS, load, names
from recipes.lab.thumbnail import ROW, WIDTH, thumbnail
from recipes.lab.timeline import Picture
from tests.lab.test_timeline import HOSTILE, SVG
from tests.lab.test_views import parsed

MOST_BYTES = 20_000
NAMES = [name if name == "pb-write" else pytest.param(name, marks=pytest.mark.thorough) for name in names()]


def paths(root: ElementTree.Element) -> list[ElementTree.Element]:
    return list(root.iter(f"{SVG}path"))


@pytest.mark.parametrize("name", NAMES)
def test_each_scenario_has_a_small_picture(outcome, name):
    trace = outcome(name).trace
    text = f"{thumbnail(trace, 'a title').text()}\n"
    root = parsed(text)
    assert root.findtext(f"{SVG}title") == "a title"
    assert root.get("viewBox") == f"0 0 {WIDTH} {ROW * len(trace.sites)}"
    assert len(text) < MOST_BYTES
    drawn = {path.get("stroke") for path in paths(root)} | {path.get("fill") for path in paths(root)}
    for piece in Picture(trace).pieces:
        if piece.role:
            assert piece.element.attributes["stroke"] in drawn
    assert ("#b00020" in drawn) == any(event["k"] in ("crash", "power") for event in trace.events)


def test_the_same_line_is_drawn_once(outcome):
    for path in paths(parsed(thumbnail(outcome("px-duel").trace, "t").text())):
        lines = (path.get("d") or "").split("M")[1:]
        assert len(lines) == len(set(lines))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_has_each_scenario_in_its_section_and_loads_nothing(outcome, lang):
    shown = [(load(name), outcome(name).trace) for name in ("pb-write", "pb-blocks", "px-null")]
    page = gallery(shown, lang)
    assert "default-src 'none'" in page
    assert "<script" not in page and "http://www.w3.org/2000/svg" in page and "src=" not in page
    assert [page.count(f"<h2>{SECTIONS[each][lang]}</h2>") for each in ("pb", "px")] == [1, 1]
    for scenario, _ in shown:
        assert f"<h3>{scenario.title[lang]}</h3><code>recipes lab run {scenario.id}</code>" in page


def test_what_a_scenario_says_is_text(outcome):
    from dataclasses import replace

    scenario = replace(load("pb-write"), title={"en": HOSTILE, "zh": HOSTILE}, story={"en": HOSTILE, "zh": HOSTILE})
    assert "<script" not in gallery([(scenario, outcome("pb-write").trace)], "en")


def test_the_command_writes_the_page(lab, tmp_path):
    code, out, _ = lab("list", "--section", "p1", "--html", str(tmp_path / "all.html"))
    assert code == 0
    page = (tmp_path / "all.html").read_text()
    assert page.count("<svg") == out.count("p1-") == page.count("recipes lab run p1-")


def test_sections_are_together():
    sections = [load(name).section for name in names()]
    assert [each for at, each in enumerate(sections) if at == 0 or sections[at - 1] != each] == list(
        dict.fromkeys(sections)
    )
