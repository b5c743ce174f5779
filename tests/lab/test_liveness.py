"""L1: which faults are over, as far as a trace can show it; a call is judged only when all are."""

import pytest

from recipes.lab.checks.registry import CHECKS
from tests.lab.test_checks import Story, timed_out

HELD = {"to": "s2", "role": "accept", "real": "ACCEPT", "bytes": 1, "fields": {}}


def judged(story: Story) -> bool:
    return CHECKS["L1"].find(timed_out(story).trace) is not None


def story(*events: tuple[str, str, int, dict[str, object]]) -> Story:
    made = Story("multi-paxos")
    for site, kind, time, more in events:
        made.add(site, kind, t=time, **more)
    return made


BEGIN_AND_END = [
    (("s2", "crash", 50, {}), ("s2", "start", 90, {"stored": {}})),
    (("s2", "power", 50, {}), ("s2", "start", 90, {"stored": {}})),
    (("s2", "pause", 50, {}), ("s2", "resume", 90, {})),
    (("", "fault", 50, {"what": "cut"}), ("", "heal", 90, {"what": "cut"})),
    (("", "fault", 50, {"what": "loss"}), ("", "heal", 90, {"what": "loss"})),
    (("s2", "fault", 50, {"what": "disk slow"}), ("s2", "heal", 90, {"what": "disk well"})),
]


@pytest.mark.parametrize(("begin", "end"), BEGIN_AND_END, ids=[str(begin[1:4:2]) for begin, _ in BEGIN_AND_END])
def test_a_call_is_judged_only_when_a_fault_is_over_and_a_while_has_passed(begin, end):
    assert judged(story())
    assert not judged(story(begin))
    assert judged(story(begin, end))
    late = (*end[:2], 900_000, end[3])
    assert not judged(story(begin, late)), "not yet: the servers may still elect"


def test_of_two_cuts_one_end_is_not_enough():
    cut, heal = ("", "fault", 50, {"what": "cut"}), ("", "heal", 90, {"what": "cut"})
    assert not judged(story(cut, cut, heal))
    assert judged(story(cut, cut, heal, heal))


def test_a_message_that_was_held_or_dropped_is_a_fault_too():
    made = story()
    number = len(made.trace.events)
    made.add("s1", "send", id=number, t=600_000, **HELD)
    assert not judged(made), "it is still held"
    made = story(("s1", "send", 100, {"id": 3, **HELD}), ("s2", "lost", 200, {"id": 3, "why": "dropped"}))
    assert judged(made), "that was long ago"
    made = story(("s1", "send", 900_000, {"id": 3, **HELD}), ("s2", "lost", 900_100, {"id": 3, "why": "dropped"}))
    assert not judged(made)


def test_a_fault_while_the_call_waits_is_an_excuse():
    made = Story("multi-paxos")
    made.add("s1", "call", call=1, client="c1", op=["set", "x", 1], label="", t=1_000_000)
    made.add("s2", "crash", t=1_500_000).add("s2", "start", stored={}, t=1_500_010)
    made.add("s1", "reply", call=1, outcome="unknown", value="timed out", t=2_000_000)
    assert CHECKS["L1"].find(made.trace) is None
