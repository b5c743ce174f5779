"""Scenarios that are wrong are refused in one sentence that names the place."""

import random
import re
from pathlib import Path

import pytest

from recipes.core import agree
from recipes.core.errors import BadArguments
from recipes.lab.casts import PROTOCOLS
from recipes.lab.run import run
from recipes.lab.scenario import load, parse
from recipes.lab.settings import SETTINGS as SETTINGS_OF

GOOD = """
protocol = "paxos"
title = { en = "t", zh = "t" }
story = { en = "s", zh = "s" }
[[do]]
then = "call"
target = "p1"
op = ["propose", "a"]
"""
WRONG = [
    ("protocol = \"paxos\"", "protocol = \"pax\"", "no protocol is called 'pax'"),
    ("target = \"p1\"", "target = \"p7\"", "no site is called 'p7'"),
    ("then = \"call\"", "then = \"explode\"", "step 1: then = 'explode'"),
    ("target = \"p1\"\n", "", "call needs a target"),
    ("op = [\"propose\", \"a\"]", "", "call needs op"),
    ("then = \"call\"", "then = \"call\"\nwhen = { rolle = \"prepare\" }", "when: unknown key 'rolle'"),
    ("then = \"call\"", "then = \"call\"\nwhen = { role = \"prepare\", reply = \"x\" }", "only one of them"),
    ("then = \"call\"", "then = \"call\"\nwhen = { role = \"prepare\", at = \"dawn\" }", "at = 'dawn'"),
    ("then = \"call\"", "then = \"disk\"", "disk needs disk: slow, full, failing, well"),
    ("then = \"call\"", "then = \"disk\"\ndisk = \"big\"", "disk = 'big': expected one of slow, full"),
    ("then = \"call\"", "then = \"clock\"\nby_ms = \"1\"", "by_ms = '1': expected a number of ms"),
    (", zh = \"t\"", "", "title: expected a text in en and in zh"),
    ("story = { en", "story = { at = [{ k = \"call\" }, { k = \"reply\" }], en", "story: at has 2 events"),
    ("story = { en", "story = { at = 3, en", "story: at = 3: expected a list of events"),
    ("[[do]]", "bogus = 1\n[[do]]", "unknown key 'bogus'"),
    ("[[do]]", "[net]\ndelay_us = [3, 1]\n[[do]]", "delay_us = [3, 1]"),
    ("[[do]]", "[net.links]\n\"a1\" = 3\n[[do]]", "link 'a1'"),
    ("[[do]]", "[sites]\nqueen = 1\n[[do]]", "paxos has no queen"),
    ("[[do]]", "[sites]\nacceptor = 1000\n[[do]]", "acceptor = 1000"),
    ("[[do]]", "[[expect]]\nanything = 1\n[[do]]", "expect 1"),
    ("[[do]]", "inherits = \"no-such\"\n[[do]]", "no scenario is called so"),
    ("[[do]]", "plant = \"no-such\"\n[[do]]", "no planted bug is called 'no-such'"),
    ("[[do]]", "breaks = [\"Q1\"]\n[[do]]", "no check is called 'Q1'"),
    ("title = { en", "title = 3\nplant = { en", "title = 3: expected a table"),
    ("[[do]]", "settings = 3\n[[do]]", "settings = 3: expected a table"),
    ("[[do]]", "net = { loss = 2 }\n[[do]]", "net: loss = 2: expected a number from 0 to 1"),
    ("[[do]]", "run = { limit_ms = \"x\" }\n[[do]]", "run: limit_ms = 'x': expected a number from 0 on"),
    ("[[do]]", "clocks_ms = { p1 = \"x\" }\n[[do]]", "clocks_ms: p1 = 'x': expected a number of ms"),
    ("[[do]]", "section = \"fax\"\n[[do]]", "section = 'fax': expected one of con"),
    ("[[do]]", "expect = [{ same = \"x\" }]\n[[do]]", "expect 1: same needs sites"),
    ("[[do]]", "expect = [{ events = { k = \"send\" }, is = \"x\" }]\n[[do]]", "expect 1: is = 'x': expected a number"),
    ("[[do]]", "expect = [{ reply = \"x\", outcom = 1 }]\n[[do]]", "expect 1: unknown key 'outcom'"),
    ("[[do]]", "[[do]", "no TOML"),
    ("target = \"p1\"", "target = \"a1\"", "a call at a1: ['propose', 'a']: this kind of site takes no calls"),
    ("[\"propose\", \"a\"]", "[\"elect\", \"a\"]", "['elect', 'a']: expected one of these"),
    ("[\"propose\", \"a\"]", "[\"propose\"]", "so many arguments: propose 1"),
]  # fmt: skip


def test_the_good_one_runs():
    assert run(parse("good", GOOD)).code == 0


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[row[2] for row in WRONG])
def test_a_wrong_scenario_is_refused_in_one_sentence(old, new, said):
    assert GOOD.count(old) >= 1
    with pytest.raises(BadArguments) as caught:
        run(parse("wrong", GOOD.replace(old, new, 1)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


SETTINGS = [
    ("p1-free", {"give_up": 1}, "unknown setting 'give_up': expected one of give_up_ms, resend_ms"),
    ("p1-free", {"resend_ms": 0}, "resend_ms = 0: expected a whole number of ms, from 1 on"),
    ("px-null", {"retry": "yes"}, "retry = 'yes': expected true or false"),
    ("px-null", {"backoff_ms": 1.5}, "backoff_ms = 1.5: expected a whole number from 0 on"),
    ("p2-adopts", {"epochs": "time"}, "epochs = 'time': expected 'counter' or 'clock'"),
    ("mp-hole", {"first_leader": "s9"}, "first_leader: no site is called 's9': expected one of s1, s2, s3"),
    ("mp-hole", {"revote": ["all"]}, "revote = ['all']: expected 'unconfirmed' or 'all'"),
    ("mp-hole", {"pre_vote": True}, "unknown setting 'pre_vote'"),
    ("2pc-no", {"refuses": {"pa9": ["x"]}}, "refuses: no site is called 'pa9'"),
    ("2pc-no", {"refuses": {"pa1": "x"}}, "refuses = {'pa1': 'x'}: expected a table"),
    ("pb-write", {"degrade_ms": "soon"}, "degrade_ms = 'soon': expected a whole number of ms"),
    ("raft-one-way", {"votes": "silent"}, "unknown setting 'votes'"),
    ("raft-one-way", {"pre_vote": 1}, "pre_vote = 1: expected true or false"),
    ("raft-one-way", {"logs": {"s1": ["1"]}}, "logs = {'s1': ['1']}: expected a table"),
    ("raft-one-way", {"logs": {"s1": [2, 1]}}, "settings.logs.s1 = [2, 1]: expected terms, none below the one before"),
    ("zab-fifo", {"reordered": "s1"}, "reordered = 's1': expected a list of sites"),
    ("zab-fifo", {"reordered": ["s7"]}, "reordered: no site is called 's7'"),
    ("zab-fifo", {"tick_ms": True}, "tick_ms = True: expected a whole number from 10 on"),
    ("zab-fifo", {"late": [1]}, "late = [1]: expected a list of clients"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "said"), SETTINGS, ids=[row[2] for row in SETTINGS])
def test_a_wrong_setting_is_refused_in_one_sentence(name, settings, said):
    with pytest.raises(BadArguments) as caught:
        run(load(name), settings=settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_protocol_says_which_settings_it_takes():
    assert SETTINGS_OF.keys() == PROTOCOLS.keys()
    for module in Path(agree.__file__).parent.glob("*.py"):
        for name in re.findall(r'setting\("(\w+)"', module.read_text()):
            assert any(name in taken for taken in SETTINGS_OF.values()), f"{module.name}: {name}"


VALUES = (
    '"x"', "-1", "1.5", "true", "[]", '["p1"]', "{}", "{ a1 = 1 }", "[1, 2]", '{ x = "y" }', "[{}]", "{ links = 3 }",
    '{ delay_us = "x" }', '{ sites = { a1 = 1 } }', '[{ reply = "x" }]', "[{ events = 3 }]",
    '[{ shown = 3, site = "a1" }]', '[{ same = "x", sites = 3 }]', '[{ events = { k = "send" }, is = "x" }]',
)  # fmt: skip
KEYS = ("protocol", "protocols", "title", "story", "sites", "seed", "settings", "net", "disk", "clocks_ms", "do",
        "expect", "breaks", "run", "plant", "inherits", "section")  # fmt: skip


def test_whatever_the_tables_have_the_scenario_runs_or_is_refused():
    chance = random.Random(1)
    ran = refused = 0
    for _ in range(1500):
        tables = {"protocol": '"paxos"', "title": '{ en = "t", zh = "t" }', "story": '{ en = "s", zh = "s" }'}
        for _ in range(chance.randrange(1, 3)):
            tables[chance.choice(KEYS)] = chance.choice(VALUES)
        text = "".join(f"{key} = {value}\n" for key, value in tables.items())
        try:
            run(parse("random", text if "do" in tables else text + GOOD[GOOD.index("[[do]]") :]), most_events=3000)
            ran += 1
        except BadArguments as error:
            assert "\n" not in str(error)
            refused += 1
    assert ran > 20
    assert refused > 500


def test_other_wrong_arguments_are_refused():
    for act, said in [
        (lambda: load("no-such"), "no scenario is called 'no-such'"),
        (lambda: load("../px-null"), "no scenario is called"),
        (lambda: run(load("px-null"), protocol="paxos1"), "px-null does not run on paxos1: expected paxos"),
        (lambda: run(load("px-null"), protocol="fax"), "no protocol is called 'fax'"),
        (lambda: run(load("p1-free"), plant="paxos-own-value"), "belongs to paxos, not to paxos1"),
        (lambda: run(load("px-null"), sites={"proposer": 0}), "no site is called 'p1'"),
    ]:
        with pytest.raises(BadArguments) as caught:
            act()
        assert said in str(caught.value)


def test_a_run_that_waits_for_what_never_comes_says_so():
    never = '[[do]]\nwhen = { role = "prepare", from = "p2" }\nthen = "crash"\ntarget = "p1"\n'
    outcome = run(parse("never", GOOD + never))
    assert outcome.code == 3
    assert "step 2, crash" in outcome.waits_for
