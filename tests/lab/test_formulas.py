"""How many messages a protocol takes: the formula of the books beside what a run has counted."""

import pytest

from recipes.lab.figures import figures
from recipes.lab.run import run
from recipes.lab.scenario import load

# Scenario, kind of site, and the messages for n of them.
FORMULAS = [
    ("2pc-commit", "participant", lambda k: 4 * k),
    ("3pc-commit", "participant", lambda k: 6 * k),
    ("px-null", "acceptor", lambda n: 4 * n),  # the proposer is none of the acceptors
]


@pytest.mark.parametrize("n", [3, 5, 7])
@pytest.mark.parametrize(("name", "kind", "formula"), FORMULAS, ids=[row[0] for row in FORMULAS])
def test_messages_are_as_many_as_the_formula_says(name, kind, formula, n):
    outcome = run(load(name), sites={kind: n})
    assert outcome.found and not outcome.broken
    assert figures(outcome.trace)["messages"] == formula(n)
