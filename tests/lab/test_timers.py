"""What a trace says of timers is what happens: each runs out when it says, unless it was set again or ended."""

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.moment import moment
from recipes.lab.run import run
from recipes.lab.scenario import load, names, parse, source
from recipes.lab.trace import dumps, loads

NAMES = [name if name == "mp-two-leaders" else pytest.param(name, marks=pytest.mark.thorough) for name in names()]


@pytest.mark.parametrize("name", NAMES)
def test_a_timer_runs_out_when_the_trace_says(outcome, name):
    """But for a site that stands still, or a timer that a step lets run out."""
    trace = outcome(name).trace
    early = {step.get("timer") for step in load(name).steps if step["then"] == "expire"}
    due: dict[str, dict[str, int | None]] = {}
    checked = 0
    for event in trace.events:
        if event["k"] == "start":
            due[event["n"]] = {}
        timers = due.get(event["n"], {})
        if event["k"] == "timer" and event["name"] != "tick" and event["name"] not in early:
            assert timers[event["name"]] == event["t"], event
            checked += 1
        timers |= event.get("timers", {})
    if "served" not in trace.header["mode"]:
        assert checked == sum(event["k"] == "timer" and event["name"] not in early for event in trace.events)


@pytest.mark.parametrize("protocol", ["zab", "raft"])
def test_servers_say_when_they_give_up_beat_or_stand(protocol):
    trace = run(load("cmp-leader-isolated"), protocol=protocol).trace
    for event in trace.events:
        if event["k"] != "state" or "role" not in event:
            continue
        after = {each["n"]: each["i"] for each in trace.events[: event["i"] + 1]}
        last = max(after[event["n"]], event["i"])
        timers = moment(trace, last)[event["n"]].timers
        wanted = {"leader": "heartbeat", "follower": "gives up", "looking": "election"}[event["role"]]
        assert set(timers) <= {wanted}, event
    # A follower of a leader that is cut off looks for another one when its timer says.
    cut = next(event["i"] for event in trace.events if event["k"] == "fault")
    looks = next(
        event for event in trace.events[cut:] if event["k"] == "state" and "no message came" in str(event.get("why"))
    )
    due_us = moment(trace, looks["i"] - 1)[looks["n"]].timers.get("gives up")
    assert due_us is None or due_us <= looks["t"]


@pytest.mark.parametrize("protocol", ["zab", "raft"])
@pytest.mark.parametrize(("target", "timer", "follows"), [
    ("follower", "gives up", lambda event: event["k"] == "state" and "no message came" in str(event.get("why"))),
    ("leader", "heartbeat", lambda event: event["k"] == "send" and event["role"] == "heartbeat"),
])  # fmt: skip
def test_a_step_lets_a_timer_of_a_server_run_out_and_nothing_before_it_changes(protocol, target, timer, follows):
    before = run(load("cmp-write"), protocol=protocol).trace
    at = next(event["i"] for event in before.events if event["k"] == "note") + 3
    step = f'\n[[do]]\nwhen = {{ at_event = {at} }}\nthen = "expire"\ntarget = "{target}"\ntimer = "{timer}"\n'
    outcome = run(parse("mine", source("cmp-write") + step), protocol=protocol)
    assert not outcome.broken
    events = outcome.trace.events
    fired = next(event for event in events if event["k"] == "timer" and event["name"] == timer)
    assert events[: fired["i"]] == before.events[: fired["i"]]
    assert moment(before, fired["i"] - 1)[fired["n"]].timers[timer] > fired["t"]
    assert any(event["n"] == fired["n"] and follows(event) for event in events[fired["i"] : fired["i"] + 6])
    wrong = step.replace(f'"{timer}"', '"election"')
    with pytest.raises(BadArguments, match=f"expire election: what s. waits for is another timer now: {timer}"):
        run(parse("mine", source("cmp-write") + wrong), protocol=protocol)


def test_timers_that_are_none_are_refused(outcome):
    lines = dumps(outcome("px-null").trace).splitlines()
    for wrong in ("[]", '{"a":"b"}', '{"a":-1}', '{"a":true}', '{"a":1e300}'):
        changed = lines[1].replace('"k":"start"', f'"k":"start","timers":{wrong}')
        with pytest.raises(BadArguments, match="timers = "):
            loads("\n".join([lines[0], changed, *lines[2:-1], ""]))
