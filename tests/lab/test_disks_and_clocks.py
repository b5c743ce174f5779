"""Faults of disks and clocks, as steps of a scenario: what they do to a machine, and to a server as it serves."""

from recipes.lab.run import run
from recipes.lab.scenario import parse
from recipes.lab.site import SLOWER

MACHINES = """
protocol = "paxos"
title = { en = "t", zh = "t" }
story = { en = "s", zh = "s" }
[disk]
sync_us = [100, 200]
"""
SERVERS = MACHINES.replace('"paxos"', '"zab"')
PROPOSE = '[[do]]\nthen = "call"\ntarget = "p1"\nop = ["propose", "a"]\nas = "first"\n'
SET = '[[do]]\nthen = "call"\ntarget = "s3"\nop = ["set", "x", "{0}"]\nas = "{0}"\n'


def disk(site, state, **when):
    waits = "".join(f"when = {{ {name} = {value!r} }}\n" for name, value in when.items())
    return f'[[do]]\n{waits}then = "disk"\ntarget = "{site}"\ndisk = "{state}"\n'


def replies(trace):
    return {each["label"]: reply for each in trace.events if each["k"] == "call" for reply in trace.events
            if reply["k"] == "reply" and reply["call"] == each["call"]}  # fmt: skip


def syncs_us(trace, site):
    """How long each sync of a site took."""
    begun = {event["i"]: event["t"] for event in trace.events if event["k"] == "fsync" and event["at"] == "begin"}
    return [
        event["t"] - begun[event["cause"]]
        for event in trace.events
        if event["k"] == "fsync" and event["at"] == "end" and event["n"] == site
    ]


def after(trace, site, kind):
    """The kinds of a site's events after the first one of a kind."""
    own = [event["k"] for event in trace.events if event["n"] == site]
    return own[own.index(kind) + 1 :]


def test_syncs_of_a_slow_disk_take_longer_until_it_is_well():
    found = run(parse("slow", MACHINES + disk("a1", "slow") + PROPOSE + disk("a1", "well", reply="first"))).trace
    assert replies(found)["first"]["outcome"] == "ok"
    assert min(syncs_us(found, "a1")) >= SLOWER * 100 > 200 >= max(syncs_us(found, "a2"))


def test_a_machine_whose_disk_is_full_ends_at_its_next_write_and_comes_back():
    text = MACHINES + disk("a1", "full") + PROPOSE
    found = run(parse("full", text)).trace
    assert replies(found)["first"]["outcome"] == "ok"
    assert "crash" in after(found, "a1", "fault") and "write" not in after(found, "a1", "fault")
    again = disk("a1", "well", reply="first") + '[[do]]\nthen = "start"\ntarget = "a1"\n'
    second = PROPOSE.replace("first", "second").replace("p1", "p2")
    found = run(parse("well", text + again + second)).trace
    assert replies(found)["second"]["value"] == "a"
    assert "crash" not in after(found, "a1", "heal") and "write" in after(found, "a1", "heal")


def test_a_machine_whose_sync_fails_ends_and_has_promised_nothing():
    found = run(parse("failing", MACHINES + disk("a1", "failing") + PROPOSE)).trace
    kinds = after(found, "a1", "fault")
    assert kinds.index("write") < kinds.index("crash")
    assert not [event for event in found.events if event["k"] == "send" and event["n"] == "a1"]


def test_a_server_with_a_slow_disk_is_waited_for_by_nobody():
    text = SERVERS + disk("s1", "slow") + SET.format("one")
    found = run(parse("slow", text)).trace
    assert replies(found)["one"]["outcome"] == "ok"
    late = [us for us in syncs_us(found, "s1") if us > 200]
    assert late and min(late) >= SLOWER * 100
    assert max(syncs_us(found, "s2")) <= 200


def test_a_server_whose_disk_is_full_takes_no_part_until_there_is_room():
    text = SERVERS + disk("s1", "full") + SET.format("one") + disk("s1", "well", reply="one")
    text += '[[do]]\nafter_ms = 3000\nthen = "call"\ntarget = "s1"\nop = ["get", "x"]\nclient = "c2"\nas = "read"\n'
    found = run(parse("full", text)).trace
    assert replies(found)["one"]["outcome"] == "ok"
    assert replies(found)["read"]["value"] == "one"
    assert "crash" not in after(found, "s1", "fault")


def test_a_server_whose_sync_fails_ends_and_the_others_go_on():
    text = SERVERS + disk("s1", "failing") + SET.format("one")
    found = run(parse("failing", text)).trace
    assert replies(found)["one"]["outcome"] == "ok"
    (ended,) = [event for event in found.events if event["k"] == "crash"]
    assert ended["n"] == "s1" and "failed to sync" in ended["why"]


def test_a_clock_that_is_set_forward_makes_later_epochs():
    text = MACHINES.replace('"paxos"', '"paxos2"') + '[settings]\nepochs = "clock"\n'
    clock = '[[do]]\nthen = "clock"\ntarget = "p1"\nby_ms = 5000\n'
    numbers = []
    for found in (run(parse("clock", text + PROPOSE)).trace, run(parse("clock", text + clock + PROPOSE)).trace):
        prepares = [
            event["fields"]["epoch"] for event in found.events if event["k"] == "send" and event["real"] == "PREPARE"
        ]
        numbers.append(prepares[0][0])
    assert numbers[1] - numbers[0] == 5000
