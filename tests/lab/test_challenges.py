"""Challenges: each has a solution that is accepted at par and a wrong answer that is refused, and neither is shown."""

import json
import random
from importlib.resources import files
from pathlib import Path

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.challenge import judge, load, load_all, names
from recipes.lab.scenario import LANGUAGES
from tests.lab.conftest import Lab

ANSWERS = Path(__file__).parent / "challenges"
SLOW = ("raft-two-leaders", "raft-goes-on")  # it tries seeds until one fits
ALL = [pytest.param(name, marks=pytest.mark.thorough) if name in SLOW else name for name in names()]
GOOD = """
[[do]]
then = "call"
target = "p1"
op = ["propose", "a"]
"""


def answer(name: str) -> str:
    return (ANSWERS / f"{name}.toml").read_text()


@pytest.mark.parametrize("name", ALL)
def test_the_solution_meets_the_goal_at_par(name):
    challenge = load(name)
    found = judge(challenge, answer(name))
    assert (found.code, found.misses, found.outcome.waits_for) == (0, (), "")
    assert found.outcome.faults == challenge.par
    assert found.seed in challenge.seeds


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_answer_is_refused_for_its_goal(name):
    found = judge(load(name), answer(f"{name}.wrong"))
    assert (found.code, found.outcome.waits_for) == (1, "")
    assert found.misses


def test_each_challenge_is_told_in_both_languages_and_has_both_answers_in_the_tests_only():
    assert len(names()) >= 8
    assert sorted(file.name for file in ANSWERS.iterdir()) == sorted(
        f"{name}{end}.toml" for name in names() for end in ("", ".wrong")
    )
    for challenge in load_all():
        for language in LANGUAGES:
            assert challenge.title[language].strip()
            assert challenge.task[language].strip()
        assert "do" not in challenge.document
        assert challenge.document.get("expect") or challenge.document.get("breaks")
    shipped = {each.name for each in (files("recipes.lab") / "challenges").iterdir()}
    assert shipped == {f"{name}.toml" for name in names()}


def test_no_fault_at_all_meets_no_goal_that_needs_one():
    for name in ("paxos-two-values", "lock-for-ever"):
        assert judge(load(name), GOOD).code == 1


def test_faults_are_counted_by_the_sites_and_links_that_they_hit():
    steps = {
        'then = "crash"\ntarget = "acceptor"': 3,
        'then = "crash"\ntarget = ["a1", "a2"]': 2,
        'then = "isolate"\ntarget = "p2"': 1,
        'then = "cut"\nfrom = "p2"\nto = "acceptor"': 3,
        'then = "cut"\nfrom = "p2"\nto = "a1"\none_way = true': 1,
        'then = "crash"\ntarget = "leader"': 0,  # nobody leads
        'then = "loss"\nprobability = 0.5': 1,
        'then = "loss"\nprobability = 0': 0,
        'then = "start"\ntarget = "a1"': 0,
        'when = { role = "prepare", to = "a1" }\nthen = "drop"': 1,
        'when = { role = "prepare", to = "a1" }\nthen = "hold"': 1,
        'when = { at_event = 8 }\nthen = "pause"\ntarget = "a3"': 1,
    }
    for step, expected in steps.items():
        assert judge(load("paxos-two-values"), f"{GOOD}\n[[do]]\n{step}\n").outcome.faults == expected, step


def test_a_schedule_that_names_a_seed_is_run_with_that_one():
    assert judge(load("paxos-two-values"), "seed = 7\n" + answer("paxos-two-values")).seed == 7
    found = judge(load("raft-two-leaders"), "seed = 1\n" + answer("raft-two-leaders"))
    assert (found.seed, found.met) == (1, False)


@pytest.mark.thorough  # forty runs
def test_what_is_lucky_with_one_seed_is_not_enough_where_each_must_meet_the_goal():
    challenge = load("raft-goes-on")
    trap = judge(challenge, answer("raft-goes-on.wrong"))
    assert trap.seed > challenge.seeds.start  # it goes well with the first ones
    assert judge(challenge, answer("raft-goes-on")).seed == challenge.seeds[-1]
    calm = '[[do]]\nthen = "call"\ntarget = "leader"\nop = ["set", "x", "1"]\nas = "write"\n'
    assert "too few faults, 0: the goal asks for 2" in judge(challenge, calm).misses
    with pytest.raises(BadArguments, match="seed = 3: each seed of the challenge is run: expected no seed"):
        judge(challenge, "seed = 3\n" + answer("raft-goes-on"))


WRONG = [
    ("", "no step: expected at least one [[do]]"),
    ("seed = 1", "no step"),
    ("[[do]", "no TOML"),
    ("do = 3", "do = 3: expected steps"),
    ("do = [1]", "step 1: 1: expected a table"),
    ('seed = "x"' + GOOD, "seed = 'x': expected a number"),
    ('plant = "paxos-own-value"' + GOOD, "unknown key 'plant': expected only steps"),
    ('title = { en = "t", zh = "t" }' + GOOD, "unknown key 'title'"),
    (GOOD + '[[expect]]\nreply = "x"', "unknown key 'expect'"),
    (GOOD.replace("call", "explode"), "step 1: then = 'explode'"),
    (GOOD.replace('"p1"', '"p9"'), "no site is called 'p9'"),
    (GOOD.replace("target", "taget"), "call needs a target"),
    (GOOD + "taget = 1", "step 1: unknown key 'taget'"),
    (GOOD + "after_ms = -1", "after_ms = -1: expected a number from 0 on"),
    (GOOD + "when = 3", "when = 3: expected a table"),
    (GOOD + 'when = { role = "prepare", nth = 0 }', "nth = 0: expected a number from 1 on"),
    (GOOD + "when = { rolle = 1 }", "when: unknown key 'rolle'"),
    (GOOD + "when = { nth = 1 }", "only one of them"),
    (GOOD + '[[do]]\nthen = "power"\ntarget = "a1"\nunsynced = "some"', "unsynced = 'some': expected one of kept"),
    (GOOD + '[[do]]\nthen = "loss"', "loss needs probability"),
    (GOOD + '[[do]]\nthen = "expire"\ntarget = "p1"', "expire needs timer"),
    (GOOD + '[[do]]\nthen = "cut"\nfrom = "p1"', "cut needs to"),
    (GOOD.replace('["propose", "a"]', '["elect"]'), "['elect']: expected one of these"),
    (GOOD.replace('["propose", "a"]', '["propose", [1]]'), "expected words and numbers"),
    (GOOD * 201, "201 steps: expected at most 200"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[row[1] for row in WRONG])
def test_a_wrong_schedule_is_refused_in_one_sentence(text, said):
    with pytest.raises(BadArguments) as caught:
        judge(load("paxos-two-values"), text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_action_that_the_challenge_does_not_allow_is_refused():
    with pytest.raises(BadArguments, match="step 2: crash is not allowed here: expected call, note"):
        judge(load("paxos-livelock"), GOOD + '[[do]]\nthen = "crash"\ntarget = "p1"')


SERVED_WRONG = [
    ('["set", "x", "1", "newest"]', "version 'newest': expected a number"),
    ('["delete", "x", "newest"]', "version 'newest': expected a number"),
    ('["create", "/x", "1", "fleeting"]', "'fleeting': expected one of persistent, ephemeral"),
    ('["create", "/x", "1", "persistent", "xyz"]', "permissions 'xyz': expected some of the letters rwcda"),
    ('["set acl", "x", 3]', "permissions 3"),
]


@pytest.mark.parametrize(("operation", "said"), SERVED_WRONG, ids=[row[1] for row in SERVED_WRONG])
def test_a_wrong_argument_of_a_call_to_servers_is_refused_in_one_sentence(operation, said):
    with pytest.raises(BadArguments) as caught:
        judge(load("stale-read"), f'[[do]]\nthen = "call"\ntarget = "s1"\nop = {operation}\n')
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


VALUES = (
    '"x"',
    "1",
    "-1",
    "1.5",
    "true",
    "[]",
    '["p1"]',
    "{}",
    '{ role = "x" }',
    '"leader"',
    '["propose", 1]',
    "[[1]]",
)
KEYS = (
    "then",
    "target",
    "from",
    "to",
    "op",
    "as",
    "client",
    "after_ms",
    "one_way",
    "timer",
    "text",
    "probability",
    "unsynced",
    "when",
    "when.role",
    "when.nth",
    "when.state",
    "when.at_ms",
    "when.reply",
    "when.at_event",
)
STEPS = ("call", "crash", "power", "start", "wipe", "pause", "cut", "isolate", "drop", "hold", "expire", "loss", "note")


@pytest.mark.parametrize("name", ["paxos-two-values", "two-phase-block", "hole-in-the-log"])
def test_whatever_a_schedule_has_it_is_judged_or_refused(name):
    chance = random.Random(name)
    judged = refused = 0
    for _ in range(300):
        lines = {"then": json.dumps(chance.choice(STEPS)), "target": json.dumps(chance.choice(("a1", "s1", "pa1")))}
        for _ in range(chance.randrange(4)):
            lines[chance.choice(KEYS)] = chance.choice(VALUES)
        text = "[[do]]\n" + "\n".join(f"{key} = {value}" for key, value in lines.items())
        try:
            judge(load(name), text)
            judged += 1
        except BadArguments as error:
            assert "\n" not in str(error)
            refused += 1
    assert judged > 5
    assert refused > 50


def test_the_command(lab: Lab, tmp_path):
    listed = json.loads(lab("challenge", "--json")[1])
    assert [each["id"] for each in listed] == names()
    code, out, _ = lab("challenge", "paxos-two-values", "--lang", "zh")
    assert (code, "选定两个不同的值" in out, "par 3" in out) == (0, True, True)
    solution, wrong = (str(ANSWERS / f"paxos-two-values{end}.toml") for end in ("", ".wrong"))
    page = tmp_path / "run.html"
    code, out, _ = lab("challenge", "paxos-two-values", solution, "--html", str(page))
    assert (code, out) == (0, "paxos-two-values, seed 1: met, with 3 faults, par 3: at par\n")
    assert "Two acceptors choose different values" in page.read_text()
    code, out, _ = lab("challenge", "paxos-two-values", wrong)
    assert (code, "not met\n  P1 holds: the goal is that it breaks" in out) == (1, True)
    facts = json.loads(lab("challenge", "paxos-two-values", wrong, "--json")[1])
    assert (facts["met"], facts["faults"], facts["misses"]) == (False, 2, ["P1 holds: the goal is that it breaks"])
    waits = tmp_path / "waits.toml"
    waits.write_text(GOOD + '[[do]]\nwhen = { role = "prepare", from = "p2" }\nthen = "crash"\ntarget = "p1"\n')
    assert lab("challenge", "paxos-two-values", str(waits))[0] == 3
    for arguments in (["no-such"], ["paxos-two-values", str(tmp_path / "missing")], ["../px-null"]):
        code, _, err = lab("challenge", *arguments)
        assert (code, err.count("\n")) == (2, 1)
