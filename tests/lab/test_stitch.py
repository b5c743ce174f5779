"""What the servers of an ensemble write of themselves, each by its own clock, is joined into the trace of them all.

The simulator's servers are watched as real ones are, while its own tracer sees everything: both must tell the same.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from importlib.util import find_spec
from typing import Any

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.checks.registry import check, checked
from recipes.lab.hunt import scenario_of
from recipes.lab.page import content, document
from recipes.lab.parts import read_part
from recipes.lab.scenario import load
from recipes.lab.stitch import stitch
from recipes.lab.timeline import timeline
from recipes.lab.trace import Trace, dumps, loads
from tests.lab.test_exports import SCHEMA
from tests.lab.watching import WatchedRun

NOON_US = 1_700_000_000_000_000
# Seconds apart, and one of them fast, one slow.
CLOCKS = {
    1: lambda now_us: NOON_US + now_us,
    2: lambda now_us: NOON_US + 12_345_678 + now_us + now_us * 40 // 1_000_000,
    3: lambda now_us: NOON_US - 3_210_987 + now_us - now_us * 90 // 1_000_000,
}
RUNS = [
    ("cmp-leader-crash", "zab"),
    ("cmp-leader-crash", "raft"),
    ("zab-orphan-truncated", "zab"),
    ("raft-two-leaders", "raft"),
]


def watched_run(name: str, protocol: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> WatchedRun:
    return WatchedRun(CLOCKS, **more).run(load(name), monkeypatch, protocol=protocol).stop()


def messages(trace: Trace, kind: str) -> Counter[str]:
    """What was sent, or came, from whom to whom; without what txns store, which real servers do not write."""
    found: Counter[str] = Counter()
    for event in trace.events:
        if event["k"] == kind:
            sent = event if kind == "send" else trace.events[event["id"]]
            fields = {key: value for key, value in sent["fields"].items() if key not in ("txn", "entries")}
            found[json.dumps([sent["n"], sent["to"], sent["role"], sent["real"], fields])] += 1
    return found


def per_site(trace: Trace, site: str, kinds: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [
        (event["k"].replace("power", "crash"), *(str(event[key]) for key in ("what", "at") if key in event))
        for event in trace.events
        if event["n"] == site and event["k"] in kinds
    ]


@pytest.mark.parametrize(("name", "protocol"), RUNS)
def test_the_joined_trace_says_what_the_simulator_saw(name, protocol, monkeypatch):
    run = watched_run(name, protocol, monkeypatch)
    seen, (joined, said) = run.outcome.trace, stitch(run.parts())
    assert run.warned == []
    assert messages(joined, "deliver") == messages(seen, "deliver")
    more = messages(joined, "send") - messages(seen, "send")  # notifications in place of which a newer one left
    assert messages(joined, "send") - more == messages(seen, "send")
    assert not more - messages(joined, "lost")
    for site in seen.sites:
        for kinds in (("write",), ("fsync",)):
            assert per_site(joined, site, kinds) == per_site(seen, site, kinds), site
        lives = per_site(seen, site, ("start", "crash", "power"))  # and at the end all are told to stop
        assert (
            per_site(joined, site, ("start", "crash", "power"))
            == [*lives, ("crash",)][: len(lives) + (lives[-1][0] == "start")]
        )
    assert all(found is None for found in check(joined).values())
    assert joined.unseen == []
    assert loads(dumps(joined)) == joined
    assert sum("behind" in line or "ahead" in line for line in said) == len(said)  # and no event was moved


@pytest.mark.parametrize("protocol", ["zab", "raft"])
@pytest.mark.parametrize("seed", [2, 5, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(6, 21))])
def test_whatever_goes_wrong_in_a_run_is_joined_as_it_was(protocol, seed, monkeypatch):
    run = WatchedRun(CLOCKS).run(scenario_of(protocol, seed), monkeypatch, protocol=protocol, seed=seed).stop()
    seen, (joined, _) = run.outcome.trace, stitch(run.parts())
    assert all(found is None for found in check(joined).values())
    assert joined.unseen == [] and joined.end is not None
    assert not messages(joined, "deliver") - messages(seen, "deliver")
    # What a server takes in as it goes down, it has no time to write; nothing has come of it either.
    unwritten = [json.loads(text)[1] for text in messages(seen, "deliver") - messages(joined, "deliver")]
    went_down = [event["n"] for event in seen.events if event["k"] in ("crash", "power")]
    assert not Counter(unwritten) - Counter(went_down)


def as_text(parts: list[str]) -> list[Any]:
    return [read_part(text) for text in parts]


@pytest.fixture(scope="module")
def crash() -> list[str]:
    """What three servers have written of a run in which the leader crashes; they are told to stop in the end."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = watched_run("cmp-leader-crash", "zab", monkeypatch)
    return [run.text(sid) for sid in (1, 2, 3)]


def test_clocks_are_found_from_the_messages_alone(crash):
    trace, said = stitch(as_text(crash))
    at = {event["i"]: event["t"] for event in trace.events}
    for event in trace.events:
        if event["k"] == "deliver":
            assert at[event["id"]] < event["t"]
    found = {line.split()[3]: line for line in said}
    reference = ({"s1", "s2", "s3"} - found.keys()).pop()
    shown = {f"s{sid}": clock(0) for sid, clock in CLOCKS.items()}
    for site, line in found.items():
        ahead_ms = float(line.split()[5]) * (1 if "ahead of" in line else -1)
        assert ahead_ms == pytest.approx((shown[site] - shown[reference]) / 1000, abs=2), line


def test_a_leader_that_is_killed_is_down_and_another_one_is_elected(crash):
    trace, _ = stitch(as_text(crash))
    (killed,) = [event for event in trace.events if event["k"] == "crash" and "why" not in event]
    assert {event.get("why") for event in trace.events if event["k"] == "crash"} == {None, "stopped"}
    roles = [(event["n"], event["role"]) for event in trace.events if event["k"] == "state" and event.get("role")]
    leaders = [site for site, role in roles if role == "leader"]
    assert leaders[0] == killed["n"]
    assert leaders[-1] != killed["n"]
    after = trace.events[killed["i"] :]
    assert any(event["k"] == "send" and event["role"] == "vote" for event in after)
    assert any(event["k"] == "lost" and event["n"] == killed["n"] and event["why"] == "down" for event in after)
    picture = timeline(trace, "servers")
    assert "✕" in picture
    assert len(document(content(trace))) > len(picture)


def test_what_clients_store_is_in_no_file(crash):
    assert all("set /x, 1 bytes #" in text for text in crash)


def test_a_file_that_was_cut_anywhere_is_joined_as_far_as_it_goes(crash):
    whole, _ = stitch(as_text(crash))
    for site in range(3):
        first = crash[site].index("\n", crash[site].index("\n") + 1)
        for cut in random.Random(site).sample(range(first, len(crash[site])), 12):
            texts = [text[:cut] if number == site else text for number, text in enumerate(crash)]
            trace, said = stitch(as_text(texts))
            assert trace.unseen == []
            assert all(found is None for found in check(trace).values())
            assert loads(dumps(trace)) == trace
            assert len(trace.events) <= len(whole.events)
            assert any(f"ends early: where that of s{site + 1}" in line for line in said) == (trace.end is None)


def test_without_the_file_of_one_server_nothing_is_claimed(crash):
    trace, said = stitch(as_text(crash[1:]))
    assert trace.unseen == ["s1"]
    assert "there is no trace of s1" in said
    assert trace.end is not None and trace.end["verdict"] == {}
    found, unchecked = checked(trace)
    assert not any(found.values())
    assert set(unchecked) == set(found)
    assert "does not have all that was done by s1" in unchecked["Z1"]


def test_a_server_that_ran_without_a_trace_first_is_known_to_have(monkeypatch):
    run = watched_run("zab-orphan-truncated", "zab", monkeypatch)
    (restarted,) = [sid for sid in (1, 2, 3) if run.text(sid).count('"version"') == 2]
    texts = [run.text(sid) for sid in (1, 2, 3)]
    texts[restarted - 1] = texts[restarted - 1][texts[restarted - 1].rindex('{"version"') :]
    trace, said = stitch(as_text(texts))
    assert trace.unseen == [f"s{restarted}"]
    assert any(f"messages of s{restarted} are in no file: it ran without a trace then" in line for line in said)
    assert trace.end is not None and trace.end["verdict"] == {}


def test_where_a_power_cut_took_lines_and_left_the_log_nothing_is_claimed(monkeypatch):
    run = watched_run("zab-orphan-truncated", "zab", monkeypatch)
    texts = [run.text(sid) for sid in (1, 2, 3)]
    before, header, after = texts[2].rpartition('{"version"')
    lines = before.splitlines(True)
    (orphan,) = [at for at, line in enumerate(lines) if '"k":"write"' in line and '"what":"log:0x100000004"' in line]
    texts[2] = "".join([*lines[:orphan], header, after])
    trace, said = stitch(as_text(texts))
    assert trace.unseen == ["s3"]
    assert "the file of s3 lacks the end of a life: at its next start the disk had more than was written" in said
    assert trace.end is not None and trace.end["verdict"] == {}
    assert stitch(run.parts()).trace.unseen == []


def test_each_line_of_a_joined_trace_fulfils_the_schema(crash, need_tool):
    need_tool("the Python package jsonschema", find_spec("jsonschema") is not None)
    import jsonschema

    validator = jsonschema.Draft202012Validator(SCHEMA)
    trace, _ = stitch(as_text(crash))
    for line in dumps(trace).splitlines():
        validator.validate(json.loads(line))


def refused(*texts: str) -> str:
    with pytest.raises(BadArguments) as caught:
        stitch([read_part(text) for text in texts])
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_does_not_belong_together_is_refused_in_one_sentence(crash, monkeypatch):
    other = watched_run(
        "cmp-leader-crash",
        "zab",
        monkeypatch,
    )
    raft = watched_run("cmp-leader-crash", "raft", monkeypatch)
    assert "two files are traces of s1" in refused(crash[0], crash[1], crash[0])
    assert "different protocols" in refused(crash[0], raft.text(2))
    assert "different lists of servers" in refused(crash[0], crash[1].replace('"s3":"server"', '"s3":"observer"'))
    assert "a whole trace: stitch joins" in refused(dumps(other.outcome.trace))
    assert "version 'recipes-trace-part/2': this program joins recipes-trace-part/1" in refused(
        crash[0].replace("part/1", "part/2", 1)
    )
    assert "expected a first line" in refused("")
    assert "trace, line 1: no JSON" in refused("hello\n")
    assert "expected event 1" in refused("".join(line for at, line in enumerate(crash[0].splitlines(True)) if at != 2))
    for name in ("s7", ""):
        assert "no other site is called" in refused(crash[0].replace('"to":"s2"', f'"to":"{name}"', 1))


def test_files_of_two_runs_of_one_ensemble_are_refused(crash, monkeypatch):
    other = watched_run("cmp-leader-isolated", "zab", monkeypatch)
    said = refused(crash[0], other.text(2).replace('"sum":', '"sum":1'), crash[2])
    assert "none of them is in the file of the one that sent it: these are not traces of one run" in said


def test_what_is_wrong_in_a_file_is_refused_or_shown_and_never_a_mistake_of_ours(crash):
    chance = random.Random(7)
    values = [None, -1, 0, 1 << 60, True, "x", "s1", "s2", [], {}, {"x": 1}, 1.5, "0xffffffffffffffffff"]
    refusals = 0
    for _ in range(150):
        lines = crash[0].splitlines()
        at = chance.randrange(len(lines))
        event = json.loads(lines[at])
        place = event["fields"] if event.get("fields") and chance.random() < 0.3 else event
        place[chance.choice(list(place))] = chance.choice(values)
        lines[at] = json.dumps(event)
        try:
            trace, _ = stitch(as_text(["\n".join(lines) + "\n", *crash[1:]]))
        except BadArguments as error:
            assert "\n" not in error.message
            refusals += 1
        else:
            assert loads(dumps(trace)).events == trace.events
    assert 20 < refusals < 150


def test_no_event_is_its_own_cause_and_only_messages_go_over_connections(crash):
    lines = crash[0].splitlines()

    def with_more(at: int, **more: Any) -> str:
        return "\n".join([*lines[:at], json.dumps(json.loads(lines[at]) | more), *lines[at + 1 :], ""])

    assert "cause = 0: expected an earlier event" in refused(with_more(1, cause=0), *crash[1:])
    state = next(at for at, line in enumerate(lines) if '"k":"state"' in line)
    for link in (0, 1):
        assert len(stitch(as_text([with_more(state, link=link), *crash[1:]])).trace.events) > 100
