"""The search for an order of calls agrees with trying all orders, and ends for histories as long as ours become."""

import random
from itertools import permutations

import pytest

from recipes.lab.checks.linear import Operation, fits_one_order, history_without_order, registers
from recipes.lab.checks.registry import CHECKS
from recipes.lab.hunt import hunt
from tests.lab.test_checks import Story

NEVER = 1 << 60


def by_trying(operations, first):
    """Whether some order of all answered calls, and of some of the others, is one of a register in real time."""
    must = [each for each in operations if each.ends != NEVER]
    may = [each for each in operations if each.ends == NEVER and each.is_write]
    for chosen in range(1 << len(may)):
        calls = must + [each for at, each in enumerate(may) if chosen >> at & 1]
        for order in permutations(calls):
            if any(later.ends < earlier.begins for at, earlier in enumerate(order) for later in order[at + 1 :]):
                continue
            value = first
            for each in order:
                if not each.is_write and each.value != value:
                    break
                value = each.value
            else:
                return True
    return False


@pytest.mark.parametrize("values", ["ab", "abcdefgh", ""])
def test_it_agrees_with_trying_all_orders(values):
    """Values that are written again, that may be, and that never are."""
    seen = {True: 0, False: 0}
    for seed in range(1500):
        chance = random.Random(seed)
        places = list(range(12))
        chance.shuffle(places)
        operations = []
        for call in range(chance.randrange(1, 7)):
            begins, ends = sorted((places.pop(), places.pop()))
            ends = NEVER if chance.random() < 0.2 else ends
            is_write = chance.random() < 0.5
            value = chance.choice(values or "abcdef"[: call + 1])
            value = "abcdefg"[call + 1] if is_write and not values else value
            operations.append(Operation(call, "c", is_write, value, begins, ends))
        expected = by_trying(operations, "a")
        assert fits_one_order(operations, "a") == expected, seed
        seen[expected] += 1
    assert min(seen.values()) > 200


def long_history(calls, clients):
    """Ten clients at one register, each with a call under way at any time."""
    chance = random.Random(calls)
    value, now, operations, running = "0", 0, [], {}
    for call in range(calls):
        client = call % clients
        if client in running:
            now += 1
            operations.append(running.pop(client)._replace(ends=now))
        now += 1
        is_write = chance.random() < 0.5
        value = str(call) if is_write else value
        running[client] = Operation(call, str(client), is_write, value, now, NEVER)
    return operations + [each._replace(ends=now + 1) for each in running.values()]


def test_a_thousand_calls_of_ten_clients_are_decided():
    history = long_history(1000, 10)
    assert fits_one_order(history, "0")
    stale = Operation(5000, "late", False, history[0].value if history[0].is_write else "0", 10**6, 10**6 + 1)
    assert not fits_one_order([*history, stale], "0")


def test_a_read_of_a_server_counts_only_behind_a_sync():
    story = Story("zab").call("s1", 1, "set", "x", "1").reply("s1", 1, 1, zxid="0x100000001")
    story.call("s2", 2, "get", "x").reply("s2", 2, "0", zxid="0x0")  # old, as it may be
    assert history_without_order(story.trace) is None
    story.call("s2", 3, "sync", "x").reply("s2", 3, "/x", zxid="0x100000001")
    story.call("s2", 4, "get", "x").reply("s2", 4, "0", zxid="0x100000001").breaks()
    broken = CHECKS["A6"].find(story.trace)
    assert broken is not None
    assert (broken.event, broken.why) == (
        story.bad,
        'call 4 of c1 reads "0" at /x: no order of the 2 calls explains that; '
        '"1" of call 1 was acknowledged before it began',
    )  # fmt: skip
    assert "任何顺序都无法解释" in broken.why_zh


def test_what_is_left_out():
    story = Story("raft").call("s1", 1, "create", "/e", "1", "ephemeral").reply("s1", 1, "/e", zxid="0x100000001")
    story.call("s1", 2, "set", "/e", "2").reply("s1", 2, 1, zxid="0x100000002")
    story.call("s1", 3, "set", "y", "7").add("s1", "reply", call=3, outcome="fail", value="down")
    story.call("s1", 4, "set", "z", "8")
    story.call("s1", 5, "connect")
    found = registers(story.trace)
    assert [(key, [each.ends for each in operations]) for key, operations in found.items()] == [("/z", [NEVER])]


def test_a_hunt_finds_a_history_without_order():
    ((_, outcome),) = hunt("multi-paxos", range(39, 40), "multi-reports-unused")
    assert "no order of the" in outcome.broken["A6"].why
