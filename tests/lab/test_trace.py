"""Traces: what is written is read back, what is cut is still read, and what is no trace is refused in a sentence."""

import gzip
import json
import random

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.checks.registry import check
from recipes.lab.trace import dumps, loads


@pytest.fixture(scope="module")
def text(outcome) -> str:
    return dumps(outcome("px-adopts-highest").trace)


def test_a_trace_that_is_cut_anywhere_is_read_and_known_to_end_early(text):
    first = text.index("\n") + 1
    for at in [first, len(text) - 1, *random.Random(1).sample(range(first, len(text)), 12)]:
        trace = loads(text[:at])
        whole = text[:at].rstrip("\n") == text.rstrip("\n")
        assert (trace.end is not None) == whole, at
        assert len(trace.events) <= len(loads(text).events)
        check(trace)  # a check of what is left finds nothing or something, but does not fail


def refused(text: str) -> str:
    with pytest.raises(BadArguments) as caught:
        loads(text)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_what_is_no_trace_is_refused_in_one_sentence(text):
    lines = text.split("\n")
    assert "version" in refused("")
    assert "line 1: no JSON" in refused("hello\n")
    assert "a trace of version 'recipes-trace/2': this program reads recipes-trace/1" in refused(
        text.replace("recipes-trace/1", "recipes-trace/2", 1)
    )
    assert "line 3: no JSON" in refused("\n".join([*lines[:2], "{", *lines[3:]]))
    assert "expected event 1" in refused("\n".join([*lines[:2], *lines[3:]]))
    assert "the trace was changed" in refused(text.replace('"value":"a"', '"value":"z"', 1))
    changes = [("k", "nonsense"), ("n", "s9"), ("t", "soon"), ("k", {}), ("n", []), ("n", None)]
    for key, value in changes:
        event = json.loads(lines[1]) | {key: value}
        assert "line 2" in refused("\n".join([lines[0], json.dumps(event), *lines[2:]]))
    strange = json.dumps({"i": 0, "t": 0, "n": "a1", "k": "deliver", "id": 9})
    assert "message 9 was never sent" in refused(f"{lines[0]}\n{strange}\n")


@pytest.mark.parametrize("name", ["px-duel", "zk-observer", "raft-log-matching"])
def test_ten_thousand_events_are_three_megabytes_at_most(outcome, name):
    trace = outcome(name).trace
    written = dumps(trace).encode()
    share = 10_000 / len(trace.events)
    assert len(written) * share < 3_000_000
    assert len(gzip.compress(written)) * share < 300_000


def test_the_digest_leaves_out_the_commit(text):
    header, _, rest = text.partition("\n")
    assert loads(json.dumps(json.loads(header) | {"commit": "abc"}) + "\n" + rest).end is not None
    assert "the trace was changed" in refused(json.dumps(json.loads(header) | {"seed": 99}) + "\n" + rest)
