"""How many messages a protocol takes: the formula of the books beside what a run has counted; docs/lab.md has both."""

import re
from pathlib import Path

import pytest

from recipes.lab.figures import figures
from recipes.lab.run import run
from recipes.lab.scenario import load

DOCS = Path(__file__).parent.parent.parent / "docs" / "lab.md"
SIZES = [3, *(pytest.param(n, marks=pytest.mark.thorough) for n in (5, 7))]
FORMULAS = {
    "4n": lambda n: 4 * n,
    "4k": lambda k: 4 * k,
    "6k": lambda k: 6 * k,
    "2(n-1)": lambda n: 2 * (n - 1),
    "6(n-1)": lambda n: 6 * (n - 1),
}
KINDS = {"px": "acceptor", "mp": "server", "pb": "server", "2pc": "participant", "3pc": "participant"}


def rows() -> list[list[str]]:
    """What docs/lab.md says: scenario, messages, delays, syncs on the path."""
    section = DOCS.read_text().partition("## Figures\n")[2].partition("\n## ")[0]
    found = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if re.match(r"\| `", line)
    ]
    assert len(found) == 6
    return found


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_figures_are_as_the_docs_say(row, n):
    name, _, formula, delays, syncs = row
    outcome = run(load(name), sites={KINDS[name.partition("-")[0]]: n})
    assert outcome.wrong == ()
    numbers = figures(outcome.trace)
    messages = numbers["messages"]
    if name == "mp-skips-prepare":  # two commands, and one election before them
        election = numbers["roles"]["prepare"] + numbers["roles"]["promise"]
        assert election == 2 * (n - 1)
        messages = (messages - election) // 2
    assert messages == FORMULAS[formula](n)
    assert (numbers["delays"], numbers["fsyncs_on_path"]) == (int(delays), int(syncs))
