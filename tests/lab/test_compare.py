"""Protocols side by side: what is measured is what the formulas say, and it is the same each time."""

import json

import pytest

from recipes.cli import main
from recipes.core.errors import BadArguments
from recipes.lab.compare import FORMULAS, compare, csv, delays_at_a_follower, measure_batch, measure_write, table
from recipes.lab.outage import moments, outage
from recipes.lab.page import document
from recipes.lab.run import run
from recipes.lab.scenario import load, names
from recipes.lab.side_by_side import aligned, comparison, comparison_picture
from tests.lab.test_views import texts

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


@pytest.mark.parametrize("n", SIZES)
def test_a_write_at_a_follower_goes_by_way_of_the_leader(n):
    assert {name: delays_at_a_follower(name, n) for name in FORMULAS} == {
        "zab": 4, "raft": 4, "multi-paxos": 4, "primary-backup": None
    }  # fmt: skip


@pytest.mark.parametrize("n", SIZES)
def test_writes_that_come_at_once_share_syncs_and_in_what_serves_messages(n):
    found = {name: measure_batch(name, n) for name in FORMULAS}
    for name in ("zab", "raft", "multi-paxos"):
        assert found[name].fsyncs < measure_write(name, n).fsyncs / 10, name
    assert found["multi-paxos"].messages == 2 * (n - 1)  # a textbook's: a round of its own for each
    assert n - 1 <= found["zab"].messages < 1.1 * (n - 1)  # a PROPOSAL each; ACKs and COMMITs are shared
    assert found["raft"].messages < 1


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


def test_only_multi_paxos_has_a_hole():
    events = run(load("cmp-holes"), protocol="multi-paxos").trace.events
    chosen = [each["chosen"] for each in events if each["k"] == "state" and each["n"] == "s1" and "chosen" in each]
    assert chosen[-2:] == [[1, 3], [1, 2, 3]]
    for name in ("zab", "raft"):
        events = run(load("cmp-holes"), protocol=name).trace.events
        arrived = [(each["n"], str(events[each["id"]]["fields"])) for each in events if each["k"] == "deliver"]
        followers = {site for site, fields in arrived if "set /x 2" in fields}
        assert len(followers) == 2
        for site in followers:
            first, second = (
                next(number for number, (at, fields) in enumerate(arrived) if at == site and text in fields)
                for text in ("set /x 1", "set /x 2")
            )
            assert first < second


def test_the_pictures_of_a_comparison_have_the_same_things_at_the_same_place():
    runs = []
    for name in ("zab", "raft", "multi-paxos"):
        trace = run(load("cmp-leader-crash"), protocol=name).trace
        found = moments(trace)
        assert found is not None
        runs.append((trace, found))
    shown = aligned(runs)
    assert shown.names[0] == "fault" and shown.names[-1] == "answered" and len(shown.names) == 5
    assert shown.places == sorted(shown.places)
    assert len({picture.width for picture in shown.pictures}) == 1
    for (trace, found), picture, span in zip(runs, shown.pictures, shown.spans, strict=True):
        assert found.fault["i"] in span and found.answered["i"] in span
        xs = [picture.x[number] for number in span]
        assert xs == sorted(xs)
        for name, place in zip(("fault", "noticed", "chosen", "serves", "answered"), shown.places, strict=True):
            event = getattr(found, {"serves": "served"}.get(name, name))
            at_once = [each for each in found if each["t"] == event["t"]]
            assert picture.x[event["i"]] == place or len(at_once) > 1, name
        inside = {each["t"] for each in trace.events[span.start : span.stop] if each["k"] in ("crash", "reply")}
        assert inside


def test_a_comparison_shows_the_protocols_that_have_the_fault_and_says_why_others_are_not_there():
    columns = compare(["raft", "primary-backup"], None, range(1, 2), 3)
    shown = comparison(columns, None, range(1, 2), 3)["compare"]
    assert [each["missing"] for each in shown["runs"]] == ["", "The scenario does not run on this protocol."]
    parts = {label: cells for label, *cells in shown["parts"]}
    trace = run(load("cmp-leader-crash"), protocol="raft", sites={"server": 3}, seed=1).trace
    spent = outage(trace)
    assert spent is not None
    assert parts["first answer after"] == [f"{spent.total_ms:.3f} ms", "-"]
    assert parts["who noticed, after how long"] == [f"{spent.noticed_by}, {spent.notice_ms:.3f} ms", "-"]
    assert int(parts["messages until the first answer, without heartbeats"][0]) >= spent.votes
    none = comparison(compare(["primary-backup"], None, range(1, 2), 3), None, range(1, 2), 3)["compare"]
    assert none["phases"] == []


def test_a_comparison_is_also_a_picture(lab):
    names = ["zab", "raft", "primary-backup"]
    columns = compare(names, None, range(1, 2), 3)
    text = comparison_picture(columns, None, range(1, 2), 3)
    assert len(text) < 300_000
    said = texts(text)
    shown = comparison(columns, None, range(1, 2), 3)["compare"]
    assert {"fault", "noticed", "chosen", "serves", "answered", "ZAB", "Raft"} <= set(said)
    assert "The scenario does not run on this protocol." in said
    for _, *cells in (*shown["parts"], *shown["rows"]):
        assert set(cells) <= set(said)
    assert lab("compare", *names, "--seeds", "1", "--svg") == (0, text, "")
    title = load("cmp-leader-crash").title["zh"]
    assert title in lab("compare", *names, "--seeds", "1", "--svg", "--lang", "zh")[1]
    nothing = comparison_picture(compare(["primary-backup"], None, range(1, 2), 3), None, range(1, 2), 3)
    assert "The scenario does not run on this protocol." in texts(nothing)


@pytest.mark.thorough  # each comparison
@pytest.mark.parametrize("name", [name.removeprefix("cmp-") for name in names() if name.startswith("cmp-")])
def test_each_comparison_can_be_made_a_page(name):
    for servers in (3, 5):
        columns = compare(["zab", "raft"], name, range(2, 3), servers)
        page = document(comparison(columns, name, range(2, 3), servers))
        assert page == document(comparison(columns, name, range(2, 3), servers))
        assert len(page) < 3_000_000


def test_the_command(capsys, tmp_path):
    assert main(["lab", "compare", "zab", "primary-backup", "--seeds", "1-2", "--json"]) == 0
    zab, copies = json.loads(capsys.readouterr().out)
    assert (zab["write"]["messages"], copies["write"]["messages"]) == (6, 4)
    assert (len(zab["outages"]), copies["outages"]) == (2, None)
    assert main(["lab", "compare", "raft", "--seeds", "1-1", "--csv"]) == 0
    assert "raft,,messages,6\n" in capsys.readouterr().out
    page = tmp_path / "compare.html"
    assert main(["lab", "compare", "zab", "raft", "--seeds", "1-1", "--html", str(page)]) == 0
    assert "messages per write" in capsys.readouterr().out
    assert "The leader crashes" in page.read_text()
    assert main(["lab", "compare", "zab", "--seeds", "1-1", "--html", str(tmp_path / "no" / "where.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_cannot_be_compared_is_refused_in_one_sentence():
    for protocols, scenario, said in [
        (["paxos1"], None, "paxos1 cannot be compared: expected some of zab, raft"),
        (["zab"], "no-such", "--scenario no-such: expected one of"),
        (["fax"], None, "no protocol is called 'fax'"),
    ]:
        with pytest.raises(BadArguments) as caught:
            compare(protocols, scenario, range(1, 2), 3)
        assert said in str(caught.value)
