"""What can be done to one message: it is delayed, repeated, or delivered at once."""

from dataclasses import replace

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.casts import protocol_of
from recipes.lab.explain import explain
from recipes.lab.run import run
from recipes.lab.scenario import load, names, parse, source
from recipes.lab.timeline import Picture
from recipes.lab.trace import dumps, loads


def plain(name):
    return run(parse(name, source(name))).trace.events


def changed(name, *steps):
    text = source(name) + "".join(f"\n[[do]]\n{step}\n" for step in steps)
    return run(parse(name, text)).trace


def sent(events, **wanted):
    """The first message that has all that is wanted, once the servers serve."""
    ready = next((event["i"] for event in events if event.get("text") == "ready"), 0)
    return next(
        event for event in events[ready:] if event["k"] == "send" and wanted.items() <= event.items()
    )  # fmt: skip


def ends(events, number):
    return [event for event in events if event["k"] in ("deliver", "lost") and event["id"] == number]


@pytest.mark.parametrize(("name", "role"), [("px-null", "prepare"), ("cmp-write", "replicate")])
def test_a_message_is_delayed_by_so_much(name, role):
    before = plain(name)
    message = sent(before, role=role)
    (end,) = ends(before, message["i"])
    events = changed(name, f"when = {{ at_event = {message['i']} }}\nthen = 'delay'\nby_ms = 7").events
    assert events[: message["i"] + 1] == before[: message["i"] + 1]
    (late,) = ends(events, message["i"])
    assert (late["k"], late["t"]) == ("deliver", end["t"] + 7000)


def test_what_follows_a_delayed_message_on_a_stream_waits_for_it():
    before = plain("zab-fifo")
    message = sent(before, role="replicate")
    way = (message["n"], message["to"])
    later = [event for event in before[message["i"] + 1 :] if event["k"] == "send"]
    same_way = [event["i"] for event in later if (event["n"], event["to"]) == way]
    events = changed("zab-fifo", f"when = {{ at_event = {message['i']} }}\nthen = 'delay'\nby_ms = 9").events
    order = [event["id"] for event in events if event["k"] == "deliver" and event["id"] in (message["i"], *same_way)]
    assert order[0] == message["i"]
    assert len(order) > 1


def test_a_message_is_repeated_and_all_views_have_both():
    before = plain("px-null")
    message = sent(before, role="accept")
    trace = changed("px-null", f"when = {{ at_event = {message['i']} }}\nthen = 'duplicate'")
    found = ends(trace.events, message["i"])
    assert [event["k"] for event in found] == ["deliver", "deliver"]
    assert loads(dumps(trace)) == trace
    assert sum(piece.event == message["i"] for piece in Picture(trace).pieces) == 2
    told = explain(trace)[message["i"]].outcome
    assert f"It comes again, at event {found[1]['i']}: " in told["en"]
    assert f"在事件 {found[1]['i']} 它再次到来" in told["zh"]


def test_a_repeated_message_changes_no_decision_of_paxos():
    before = plain("px-adopts-highest")
    for message in (event for event in before if event["k"] == "send"):
        text = f"\n[[do]]\nwhen = {{ at_event = {message['i']} }}\nthen = 'duplicate'\n"
        assert run(parse("x", source("px-adopts-highest") + text)).broken == {}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("px-null", {"role": "accept"}), ("cmp-write", {"role": "replicate"}), ("zab-phases", {"role": "vote"})],
)
def test_a_message_is_delivered_at_once(name, wanted):
    before = plain(name)
    message = sent(before, **wanted)
    (end,) = ends(before, message["i"])
    assert end["t"] > message["t"]
    step = f"when = {{ at_event = {message['i']} }}\nthen = 'deliver'\nmessage = {message['i']}"
    events = changed(name, step).events
    assert events[: message["i"] + 1] == before[: message["i"] + 1]
    found = ends(events, message["i"])
    assert [(event["k"], event["t"]) for event in found] == [("deliver", message["t"])]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("px-null", {"role": "accept"}), ("cmp-write", {"role": "replicate"}), ("zab-phases", {"role": "vote"})],
)
def test_a_message_that_is_held_is_delivered_before_the_release(name, wanted):
    before = plain(name)
    message = sent(before, **wanted)
    when = f"when = {{ at_event = {message['i']} }}\nthen = 'hold'"
    held = changed(name, when).events
    assert ends(held, message["i"]) == []
    later = next(event["i"] for event in held if event["t"] > message["t"] + 1600)  # when it would be there
    events = changed(name, when, f"when = {{ at_event = {later} }}\nthen = 'deliver'\nmessage = {message['i']}").events
    (end,) = ends(events, message["i"])
    assert (end["k"], end["t"]) == ("deliver", held[later]["t"])


def test_a_stream_repeats_nothing_and_only_messages_can_be_delivered():
    message = sent(plain("cmp-write"), role="replicate")
    with pytest.raises(BadArguments, match="streams, which have each message once"):
        changed("cmp-write", f"when = {{ at_event = {message['i']} }}\nthen = 'duplicate'")
    for number in (0, 100_000):
        with pytest.raises(BadArguments, match=f"no message has been sent at event {number}"):
            changed("px-null", f"when = {{ at_event = 3 }}\nthen = 'deliver'\nmessage = {number}")
    for step in ("then = 'delay'", "then = 'delay'\nby_ms = -1", "then = 'deliver'", "then = 'deliver'\nmessage = 'x'"):
        with pytest.raises(BadArguments, match="step"):
            changed("px-null", f"when = {{ at_event = 3 }}\n{step}")


TEXTBOOK = [
    (name, protocol)
    for name in names()
    for protocol in load(name).protocols[-1:]
    if not protocol_of(protocol).served and protocol != "copies" and name != "px-duel"  # copies agree on nothing
]


@pytest.mark.thorough  # two runs for every seventh message of each scenario
@pytest.mark.parametrize(("name", "protocol"), TEXTBOOK)
@pytest.mark.parametrize("step", [{"then": "duplicate"}, {"then": "delay", "by_ms": 3}], ids=["repeated", "delayed"])
def test_no_protocol_breaks_when_any_one_message_is_repeated_or_late(name, protocol, step):
    scenario = load(name)
    sends = [event["i"] for event in run(scenario, protocol=protocol).trace.events if event["k"] == "send"]
    for number in sends[::7]:
        steps = (*scenario.steps, {"when": {"at_event": number}, **step})
        found = run(replace(scenario, steps=steps, expects=()), protocol=protocol)
        assert set(found.broken) <= set(scenario.breaks), (number, found.broken)
