"""How many messages a protocol takes: the formula of the books beside what a run has counted."""

import pytest

from recipes.lab.figures import figures
from recipes.lab.run import run
from recipes.lab.scenario import load

SIZES = [3, *(pytest.param(n, marks=pytest.mark.thorough) for n in (5, 7))]
# Scenario, kind of site, and the messages for n of them.
FORMULAS = [
    ("2pc-commit", "participant", lambda k: 4 * k),
    ("3pc-commit", "participant", lambda k: 6 * k),
    ("mp-three-exchanges", "server", lambda n: 6 * (n - 1)),
    ("pb-write", "server", lambda n: 2 * (n - 1)),
    ("px-null", "acceptor", lambda n: 4 * n),  # the proposer is none of the acceptors
]


@pytest.mark.parametrize("n", SIZES)
def test_a_leader_of_multi_paxos_needs_one_exchange_per_command(n):
    outcome = run(load("mp-skips-prepare"), sites={"server": n})
    assert outcome.found and not outcome.broken
    roles = figures(outcome.trace)["roles"]
    assert roles["prepare"] == roles["promise"] == n - 1  # one election
    assert roles["accept"] + roles["accepted"] == 2 * 2 * (n - 1)  # two commands


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("name", "kind", "formula"), FORMULAS, ids=[row[0] for row in FORMULAS])
def test_messages_are_as_many_as_the_formula_says(name, kind, formula, n):
    outcome = run(load(name), sites={kind: n})
    assert outcome.found and not outcome.broken
    assert figures(outcome.trace)["messages"] == formula(n)
