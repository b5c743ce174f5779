"""The cases of Lamport, Paxos Made Simple (2001): each by the machines themselves, message by message."""

from itertools import combinations

import pytest

from recipes.core.agree.acceptor import Acceptor
from recipes.core.agree.machine import Message
from recipes.core.agree.multipaxos import Server
from recipes.core.agree.paxos import Proposer
from recipes.core.agree.register import NO_OP
from tests.core.agree.bench import Bench

ONE, TWO, THREE = (1, "p1"), (2, "p2"), (3, "p1")


def acceptor(**stored) -> Bench:
    """One acceptor; what it is told comes from a proposer that is not there."""
    return Bench({"a1": Acceptor}, {"acceptor": ("a1",)}, stored={"a1": stored})


def told(bench: Bench, kind: str, epoch: tuple[int, str], value: str | None = None) -> tuple[str, dict]:
    """What the acceptor answers."""
    fields = {"slot": 1, "epoch": epoch} | ({} if value is None else {"value": value})
    bench.turn("a1", bench.machines["a1"].receive, epoch[1], Message("any", kind, fields))
    answer = bench.mail.pop()
    return answer.kind, dict(answer.message.fields)


def single_decree(acceptors: int, **stored) -> Bench:
    """Two proposers, and acceptors of which some have accepted something before."""
    names = tuple(f"a{number}" for number in range(1, acceptors + 1))
    machines = dict.fromkeys(names, Acceptor) | {"p1": Proposer, "p2": Proposer}
    return Bench(machines, {"acceptor": names, "proposer": ("p1", "p2")}, {"retry": True}, stored)


# Section 2.2: what an acceptor must do.


def test_p1_an_acceptor_accepts_the_first_proposal_that_it_gets():
    assert told(acceptor(), "ACCEPT", ONE, "a")[0] == "ACCEPTED"


def test_p1a_it_accepts_unless_it_has_promised_a_higher_number():
    bench = acceptor()
    assert told(bench, "PREPARE", TWO)[0] == "PROMISE"
    assert told(bench, "ACCEPT", ONE, "a") == ("REFUSED", {"slot": 1, "epoch": ONE, "promised": TWO})
    assert told(bench, "ACCEPT", TWO, "b")[0] == "ACCEPTED"
    assert told(bench, "ACCEPT", THREE, "c")[0] == "ACCEPTED"


def test_a_promise_comes_with_the_highest_proposal_that_was_accepted():
    bench = acceptor()
    assert told(bench, "PREPARE", ONE)[1]["accepted"] is None
    told(bench, "ACCEPT", ONE, "a")
    told(bench, "ACCEPT", TWO, "b")
    assert told(bench, "PREPARE", THREE)[1]["accepted"] == (TWO, "b")
    assert told(bench, "PREPARE", ONE)[0] == "REFUSED"


def test_it_remembers_both_numbers_when_it_fails_and_is_restarted():
    before = acceptor()
    told(before, "ACCEPT", ONE, "a")
    told(before, "PREPARE", TWO)
    after = acceptor(**before.machines["a1"].stored)
    assert told(after, "ACCEPT", ONE, "z")[0] == "REFUSED"
    assert told(after, "PREPARE", THREE)[1]["accepted"] == (ONE, "a")


# Section 2.2: what a proposer may propose, P2c.

REPORTED = [
    ({}, "mine"),  # (a): nobody in the majority has accepted anything
    ({"a1": (ONE, "a")}, "a"),  # (b): one has
    ({"a1": (ONE, "a"), "a2": (TWO, "b")}, "b"),  # of two the one with the higher number
    ({"a1": (TWO, "b"), "a2": (ONE, "a")}, "b"),
    ({"a1": (ONE, "a"), "a2": (ONE, "a"), "a3": (TWO, "b")}, "b"),  # whatever more acceptors have
]


@pytest.mark.parametrize(("accepted", "expected"), REPORTED)
def test_p2c_of_what_a_majority_reports_the_highest_number_binds(accepted, expected):
    stored = {name: {"accepted:1": list(what), "promised:1": what[0]} for name, what in accepted.items()}
    bench = single_decree(5, **{**stored, "p1": {"counter": 2}})
    bench.call("p1", 1, "propose", "mine")
    for each in ("a1", "a2", "a3"):
        bench.deliver("PREPARE", to=each)
    bench.deliver("PROMISE")
    assert {each.message.fields["value"] for each in bench.mail if each.kind == "ACCEPT"} == {expected}


def test_p2b_whatever_majority_answers_a_value_that_is_chosen_stays():
    """Each majority of five that accepts, then each majority that a later proposer hears from."""
    names = [f"a{number}" for number in range(1, 6)]
    for accepting in combinations(names, 3):
        for promising in combinations(names, 3):
            bench = single_decree(5)
            bench.call("p1", 1, "propose", "first")
            bench.deliver("PREPARE")
            bench.deliver("PROMISE")
            for each in accepting:
                bench.deliver("ACCEPT", to=each)
            bench.deliver("ACCEPTED")
            assert bench.replies[1] == ("ok", "first")
            bench.mail.clear()
            bench.machines["p2"].stored["counter"] = 1
            bench.call("p2", 2, "propose", "second")
            for each in promising:
                bench.deliver("PREPARE", to=each)
            bench.deliver("PROMISE")
            bench.deliver("ACCEPT")
            bench.deliver("ACCEPTED")
            assert bench.replies[2] == ("ok", "first"), (accepting, promising)


# Section 2.4: progress.


def test_two_proposers_that_keep_issuing_higher_numbers_choose_nothing():
    bench = single_decree(3)
    bench.call("p1", 1, "propose", "a")
    bench.deliver("PREPARE")
    bench.deliver("PROMISE")  # p has completed phase 1 with its number
    bench.call("p2", 2, "propose", "b")
    numbers = []
    for ahead, behind in [("p2", "p1"), ("p1", "p2")] * 5:
        numbers += {each.message.fields["epoch"] for each in bench.deliver("PREPARE", sender=ahead)}
        bench.deliver("PROMISE", to=ahead)  # has completed phase 1, with a higher number
        assert bench.deliver("ACCEPT", sender=behind)  # is too late with phase 2
        bench.deliver("REFUSED", to=behind)  # and takes a number that is higher again
    assert len(numbers) == 10
    assert numbers == sorted(numbers)
    assert bench.replies == {}
    bench.run()  # with one of them left alone
    assert {value for _, value in bench.replies.values()} in ({"a"}, {"b"})


# Section 3: the leader that has learned commands 1 to 134, 138 and 139.


def new_leader(revote: str) -> Bench:
    """s1 begins to lead. s2 has accepted proposals for 135 and 140 from the leader before; s3 is down."""
    old = (7, "s3")
    common = {f"chosen:{slot}": [slot, ["set", "x", slot]] for slot in range(1, 135)}
    known = {f"chosen:{slot}": [slot, ["set", "x", slot]] for slot in (138, 139)}
    accepted = {f"accepted:{slot}": [old, [slot, ["set", "x", slot]]] for slot in (135, 140)}
    servers = ("s1", "s2", "s3")
    stored = {"s1": {**common, **known, "promised": old}, "s2": {**common, **accepted, "promised": old}}
    bench = Bench(dict.fromkeys(servers[:2], Server), {"server": servers}, {"revote": revote}, stored)
    bench.turn("s1", bench.machines["s1"].timer, "suspect")
    bench.deliver("PREPARE")
    bench.deliver("PROMISE")
    return bench


def proposals(bench: Bench) -> dict[int, list]:
    return {
        each.message.fields["slot"]: each.message.fields["value"]
        for each in bench.mail
        if each.kind == "ACCEPT" and each.to == "s2"
    }


def test_a_new_leader_proposes_what_phase_1_binds_and_fills_the_gap_with_no_ops():
    bench = new_leader("unconfirmed")
    assert proposals(bench) == {
        135: [135, ["set", "x", 135]], 136: list(NO_OP), 137: list(NO_OP), 140: [140, ["set", "x", 140]],
    }  # fmt: skip
    leader = bench.machines["s1"]
    assert len(leader.executed) == 134
    bench.call("s1", 1000, "set", "x", "new")  # 141, before it knows that 140 is chosen
    assert proposals(bench)[141] == [1000, ["set", "x", "new"]]
    assert 1000 not in bench.replies
    bench.run()
    assert len(leader.executed) == 141
    assert bench.replies[1000] == ("ok", "new")


def test_as_first_described_it_votes_on_all_of_them_again():
    bench = new_leader("all")
    assert sorted(proposals(bench)) == list(range(1, 141))
    assert [slot for slot, value in proposals(bench).items() if value == list(NO_OP)] == [136, 137]
    bench.run()
    assert len(bench.machines["s1"].executed) == 140
