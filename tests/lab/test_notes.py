"""docs/notes.md and docs/notes.zh.md answer the notes, each in its language; every scenario answers something."""

import re

import pytest

from recipes.cli import main
from recipes.lab.scenario import names
from tests.lab.pages import DOCS, named_tests, scenarios_in

ENGLISH, CHINESE, WHICH = "notes.md", "notes.zh.md", "which-protocol.md"
VERDICTS = {"true": "属实", "simplified": "简化", "**not so**": "**不符**", "left out": "未提"}
# Scenarios that answer no sentence of the notes, and why; which-protocol.md names them.
ONLY_FIGURES = {
    "cmp-flapping": "the notes do not speak of servers that come and go",
    "cmp-leader-crash": "the notes do not say how long an election takes",
    "cmp-leader-paused": "the notes do not speak of servers that stand still",
    "cmp-majority-down": "the notes do not say how long a majority may be away",
    "cmp-power-cut": "the notes do not speak of power",
    "cmp-write": "the notes do not count messages",
}


def rows(page: str) -> list[list[str]]:
    """The rows of all tables of claims."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [cells for cells in found if len(cells) == 4 and cells[1] in {*VERDICTS, *VERDICTS.values()}]


def commands(page: str) -> list[str]:
    """The commands of a page that can be run as they stand."""
    spans = re.findall(r"`recipes (lab [^`]+)`", (DOCS / page).read_text())
    return [span for span in spans if " ID" not in span]


def test_both_languages_say_the_same():
    english, chinese = rows(ENGLISH), rows(CHINESE)
    assert len(english) > 100
    assert [VERDICTS[cells[1]] for cells in english] == [cells[1] for cells in chinese]
    assert [cells[3] for cells in english] == [cells[3] for cells in chinese]
    assert scenarios_in(ENGLISH) == scenarios_in(CHINESE)
    assert named_tests(ENGLISH) == named_tests(CHINESE)
    assert commands(ENGLISH) == commands(CHINESE)
    for (_, _, here, _), (said, _, hier, _) in zip(english, chinese, strict=True):
        assert (here == "-") == (hier == "-")
        assert re.search(r"[\u4e00-\u9fff]", said)


def test_every_claim_has_its_proof_and_what_is_not_true_is_explained():
    for said, verdict, here, shown in rows(ENGLISH):
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", shown), said
        assert here != "-" or verdict == "true", said


def test_every_scenario_answers_something():
    answers = set(scenarios_in(ENGLISH))
    assert set(names()) - answers == set(ONLY_FIGURES)
    assert set(ONLY_FIGURES) <= set(scenarios_in(WHICH))


@pytest.mark.parametrize("page", [ENGLISH, WHICH])
def test_the_commands_do_what_the_pages_say(page, capsys):
    assert commands(page)
    for command in commands(page):
        assert main(command.split()) == (1 if " hunt " in command else 0), command  # with a planted bug: it is found
    assert capsys.readouterr().out
