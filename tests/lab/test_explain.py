"""Why a message was sent and what became of it: read from the run, in both languages, whatever happens in it."""

import pytest

from recipes.lab.casts import PROTOCOLS
from recipes.lab.explain import _LOST_ZH, explain
from recipes.lab.hunt import hunt

# A message of each kind of cause, and of each kind of end.
SAID = [
    ("p1-deadlock", 14, "a1 sends it now that lock = [p1 1] is on its disk.", "p1 takes it and does nothing at once."),
    ("pb-blocks", 24, "s3 sends it now that log:1 = [0.s1 1 [set x 0]] is on its disk.", "s1 answers call 1: ok 0."),
    ("pb-degrade", 39, "s1 sends it because its timer send has run out.", "It does not arrive: cut."),
    ("pb-primary-dies", 35, "s1 sends it as it starts.", "s2 writes confirmed = 1."),
    ("pb-promote-fenced", 69, "s1 sends it now that log:2 = [0.s1 4 [set x old]] is on its disk.",
     "s3 sends REFUSED to s1."),
    ("2pc-coordinator-dies", 128, "co2 sends it because a client asks for [recover 2].", "pa1 sends STAGE to co2."),
    ("2pc-coordinator-dies", 134, "pa1 sends it to answer WHICH_STAGE of co2.",
     "co2 answers call 3: fail in doubt, shows transactions = []."),
    ("px-counts-epochs", 120, "p3 sends it because PROMISE of a2 has come.", "It does not arrive: dropped."),
    ("raft-newest-wins", 201, "s1 sends it because a client asks for [set x kept].",
     "It is still on its way when the run ends."),
    ("raft-split-vote", 107, "s2 sends it now that raftVote = 2 3 is on its disk.",
     "s3 writes log:0x200000001 = nothing, sends LEADS to s1 s2 s4, shows last = 0x200000001, leader = s3, "
     "stage = LEADING."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "number", "why", "outcome_"), SAID, ids=[f"{row[0]}-{row[1]}" for row in SAID])
def test_a_message_is_explained_by_what_the_run_shows(outcome, name, number, why, outcome_):
    found = explain(outcome(name).trace)[number]
    assert (found.why["en"], found.outcome["en"]) == (why, outcome_)


def test_it_is_said_in_chinese_too(outcome):
    found = explain(outcome("pb-promote-fenced").trace)[72]
    assert found.why["zh"] == "s3 为回应 s1 的 COPY 而发出。"
    for words in ("s1 写入 role = backup, fence = 1.s2", "回复调用 4", "状态变为 number = 1.s2, role = backup"):
        assert words in found.outcome["zh"]


# What a receiver may do with a message, in the words of both languages.
DOES = {
    "writes": "写入", "sends": "发送", "answers": "回复调用", "shows": "状态变为", "does nothing": "没有立即动作",
    "does not arrive": "未送达", "on its way": "仍在途中",
}  # fmt: skip
LEAST_PAIRS = {"copies": 6, "raft": 100, "zab": 100}  # roles with outcomes that 200 seeds show; of the others 15


@pytest.mark.thorough  # two hundred runs of each protocol
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_whatever_happens_to_a_message_there_is_a_sentence(protocol):
    pairs = set()
    for seed, found in hunt(protocol, range(1, 201)):
        trace = found.trace
        explained = explain(trace)
        assert list(explained) == [event["i"] for event in trace.events if event["k"] == "send"]
        lost = {event["id"]: event["why"] for event in trace.events if event["k"] == "lost"}
        assert set(lost.values()) <= _LOST_ZH.keys(), seed
        for number, each in explained.items():
            sent = trace.events[number]
            assert each.why["en"].startswith(f"{sent['n']} sends it ") and each.why["zh"].startswith(sent["n"])
            assert "because of event" not in each.why["en"], (seed, number)
            if number in lost:
                assert each.outcome["en"] == f"It does not arrive: {lost[number]}.", (seed, number)
            elif "still on its way" not in each.outcome["en"]:
                assert each.outcome["en"].startswith(f"{sent['to']} "), (seed, number)
            assert each.outcome["zh"].endswith("。")
            done = tuple(words for words in DOES if words in each.outcome["en"])
            assert done, (seed, number)
            assert all(DOES[words] in each.outcome["zh"] for words in done), (seed, number)
            pairs.add((sent["role"], done))
    assert len(pairs) >= LEAST_PAIRS.get(protocol, 15)


def test_the_command(lab):
    code, out, _ = lab("run", "pb-degrade", "--explain")
    assert code == 0
    lines = out.splitlines()
    at = next(number for number, line in enumerate(lines) if "It does not arrive: cut." in line)
    assert lines[at - 1].strip() == "s1 sends it now that log:2 = [0.s1 2 [set x new]] is on its disk."
    assert "--> s2" in lines[at - 2] or "--> s3" in lines[at - 2]
    code, out, _ = lab("run", "pb-degrade", "--explain", "--lang", "zh")
    assert "链路被切断。" in out
