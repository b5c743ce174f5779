"""Figures of a trace made by hand, and of runs where it is known what they must be."""

import pytest

from recipes.lab.compare import FORMULAS, MISSED, compare, csv, facts, measure_rejoin, rows, visible_ms
from recipes.lab.figures import figures
from recipes.lab.outage import outage
from recipes.lab.rejoin import rejoin
from recipes.lab.run import run
from recipes.lab.scenario import load
from recipes.lab.staleness import oldest_stale_ms
from tests.lab.test_checks import Story


def test_a_stale_read_is_as_old_as_the_answer_to_the_write_that_replaced_it():
    story = Story("zab").call("s1", 1, "set", "x", "1").reply("s1", 1, 1)
    story.call("s2", 2, "get", "x").reply("s2", 2, "0")  # nobody wrote it: it was there before
    assert oldest_stale_ms(story.trace) == round((6 - 4) / 1000, 3)
    story.call("s1", 3, "set", "x", "2").add("s1", "reply", call=3, outcome="ok", value=2, t=2000)
    story.add("s2", "call", call=4, client="c1", op=["get", "x"], label="", t=3000)
    story.add("s2", "reply", call=4, outcome="ok", value="1", t=9000)
    assert oldest_stale_ms(story.trace) == 7.0
    assert figures(story.trace)["oldest_stale_ms"] == 7.0


def test_a_read_is_not_stale_for_a_write_that_is_under_way_or_for_its_own_value():
    story = Story("zab").call("s1", 1, "set", "x", "1").call("s2", 2, "get", "x").reply("s2", 2, "0")
    story.reply("s1", 1, 1).call("s2", 3, "get", "x").reply("s2", 3, "1")
    story.call("s1", 4, "set", "x", "2").add("s1", "reply", call=4, outcome="unknown", value="timed out")
    story.call("s2", 5, "get", "x").reply("s2", 5, "1").call("s2", 6, "get", "y").reply("s2", 6, "0")
    assert oldest_stale_ms(story.trace) == 0.0


def test_scenarios_of_stale_reads_have_one_and_those_behind_a_sync_none(outcome):
    assert outcome("raft-stale-read").trace.end["figures"]["oldest_stale_ms"] > 0
    assert outcome("zk-stale-read").trace.end["figures"]["oldest_stale_ms"] > 0
    assert outcome("zk-sync").trace.end["figures"]["oldest_stale_ms"] == 0


def test_holes_and_slots_that_are_voted_again(outcome):
    assert outcome("mp-hole").trace.end["figures"]["holes"] == 1
    assert outcome("mp-skips-prepare").trace.end["figures"]["holes"] == 0
    assert (
        outcome("mp-revote-all").trace.end["figures"]["revoted"]
        > outcome("mp-revote-unconfirmed").trace.end["figures"]["revoted"]
        > 0
    )
    assert outcome("raft-retries").trace.end["figures"]["revoted"] == 0


def test_a_server_that_comes_back_writes_what_it_missed_and_cuts_what_nobody_has(outcome):
    found = rejoin(outcome("zab-orphan-truncated").trace)
    assert found is not None
    assert (found.site, found.cut, found.missed) == ("s3", 1, 2)
    assert found.messages > 0 and found.bytes > 0 and found.fsyncs > 0 and found.ms > 0
    assert rejoin(outcome("px-restart-remembers").trace) is None, "it applies no log"
    assert rejoin(outcome("cmp-write").trace) is None, "nobody was away"


@pytest.mark.parametrize("protocol", FORMULAS)
def test_a_follower_that_was_down_catches_up_on_each_protocol(protocol):
    found = measure_rejoin(protocol, 3)
    assert found is not None
    assert found.cut == 0
    assert found.messages >= 2
    if protocol in ("zab", "raft"):
        assert found.missed == MISSED
        assert found.fsyncs >= 1


def test_when_the_others_show_a_write():
    found = {name: visible_ms(name, 3) for name in FORMULAS}
    assert found["primary-backup"] == 0  # they applied it before the reply
    assert 0 < found["zab"] < 3 and 0 < found["raft"] < 3  # a COMMIT on its way
    assert 3 < found["multi-paxos"] <= 45  # the next heartbeat


def test_votes_for_others_are_wasted():
    for protocol, expected in (("raft", 2), ("multi-paxos", 0)):
        found = outage(run(load("cmp-leader-crash"), protocol=protocol).trace)
        assert found is not None
        assert found.wasted <= expected
        assert found.wasted < found.votes


def test_a_comparison_has_percentiles_and_the_new_figures():
    columns = compare(["raft"], None, range(1, 4), 3)
    found = dict(rows(columns, 3))
    assert found["without service, ms: p50 / p99 / max"][0].count(" / ") == 2
    middle, most, largest = map(float, found["without service, ms: p50 / p99 / max"][0].split(" / "))
    assert middle <= most == largest
    assert found["oldest stale read, ms"] == ["0.0 / 0.0 / 0.0"]
    assert int(found[f"a follower that missed {MISSED} writes: messages"][0]) > 0
    text = csv(columns)
    for figure in ("raft,,visible_ms,", "raft,,rejoin_ms,", "raft,2,oldest_stale_ms,0.0", "raft,1,wasted,"):
        assert figure in text
    assert facts(columns)[0]["rejoin"]["site"].startswith("s")
