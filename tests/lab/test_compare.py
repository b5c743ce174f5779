"""Protocols side by side: what is measured is what the formulas say, and it is the same each time."""

import json

import pytest

from recipes.cli import main
from recipes.core.errors import BadArguments
from recipes.lab.compare import FORMULAS, compare, csv, measure_write, table
from recipes.lab.outage import outage
from recipes.lab.run import run
from recipes.lab.scenario import load, names

SIZES = [3, *(pytest.param(n, marks=pytest.mark.thorough) for n in (5, 7))]
SHARED = [(each.id, name) for each in map(load, names()) for name in each.protocols[1:]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("protocol", FORMULAS)
def test_a_write_takes_as_many_messages_as_the_formula_says(protocol, n):
    found = measure_write(protocol, n)
    assert found.messages == found.expected == FORMULAS[protocol][1](n)
    assert found.delays == 2
    assert found.fsyncs == n
    assert found.fsyncs_on_path == (2 if protocol == "primary-backup" else 1)


@pytest.mark.thorough  # each shared scenario on its other protocols
@pytest.mark.parametrize(("name", "protocol"), SHARED)
def test_a_shared_scenario_goes_as_expected_on_each_of_its_protocols(name, protocol):
    found = run(load(name), protocol=protocol)
    assert (found.code, found.wrong, found.waits_for) == (0, (), "")


def test_a_comparison_is_the_same_when_it_is_made_again():
    one, other = (compare(["zab", "raft"], "crash-leader", range(3, 5), 3) for _ in range(2))
    assert table(one, 3) == table(other, 3)
    assert csv(one) == csv(other)
    for column in one:
        assert column.outages is not None
        for found in column.outages.values():
            assert found is not None
            parts = [found[part] for part in ("notice_ms", "elect_ms", "sync_ms", "write_ms")]
            assert sum(parts) == pytest.approx(found["total_ms"])
            assert min(parts) >= 0


def test_zab_waits_for_a_better_vote_and_raft_does_not():
    spans = {name: outage(run(load("cmp-leader-crash"), protocol=name).trace) for name in ("zab", "raft")}
    assert spans["zab"] is not None and spans["raft"] is not None
    assert spans["zab"].elect_ms >= 200 > 50 > spans["raft"].elect_ms


def test_the_command(capsys):
    assert main(["lab", "compare", "zab", "primary-backup", "--seeds", "1-2", "--json"]) == 0
    zab, copies = json.loads(capsys.readouterr().out)
    assert (zab["write"]["messages"], copies["write"]["messages"]) == (6, 4)
    assert (len(zab["outages"]), copies["outages"]) == (2, None)
    assert main(["lab", "compare", "raft", "--seeds", "1-1", "--csv"]) == 0
    assert "raft,,messages,6\n" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused_in_one_sentence():
    for protocols, scenario, said in [
        (["paxos1"], None, "paxos1 cannot be compared: expected some of zab, raft"),
        (["zab"], "no-such", "--scenario no-such: expected one of"),
        (["fax"], None, "no protocol is called 'fax'"),
    ]:
        with pytest.raises(BadArguments) as caught:
            compare(protocols, scenario, range(1, 2), 3)
        assert said in str(caught.value)
