"""`recipes lab`."""

import json
import zlib
from base64 import urlsafe_b64encode

import pytest

from recipes.lab.run import run
from recipes.lab.scenario import names, parse, source
from recipes.lab.trace import digest
from recipes.lab.transcript import said


def test_list_and_show(lab):
    facts = json.loads(lab("list", "--json")[1])
    assert [each["id"] for each in facts] == names()
    assert facts[0].keys() == {"id", "section", "protocols", "title"}
    assert "两个提议者互相抢占" in lab("list", "--section", "px", "--lang", "zh")[1]
    assert lab("list", "--section", "nothing")[0] == 2
    assert "paxos-promise-not-stored" in lab("list", "--plants")[1]
    assert "finds" in json.loads(lab("list", "--plants", "--json")[1])[0]
    code, out, _ = lab("show", "px-restart-forgets")
    assert (code, "planted bug: paxos-promise-not-stored" in out, "expected to break" in out) == (0, True, True)
    assert json.loads(lab("show", "px-null", "--json", "--lang", "zh")[1])["checks"]["P1"] == "每个槽位只选定一个值"


@pytest.mark.thorough  # ten commands
def test_run_check_and_diff(lab, tmp_path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    code, out, _ = lab("run", "px-null", "--trace", str(one), "--text")
    assert (code, "call 1 is answered: ok a" in out) == (0, True)
    facts = json.loads(lab("run", "px-null", "--seed", "2", "--trace", str(other), "--json")[1])
    assert (facts["as_expected"], facts["figures"]["messages"], facts["mode"]) == (True, 12, "textbook")
    assert lab("check", str(one))[0] == 0
    assert lab("diff", str(one), str(one)) == (0, "the same events\n", "")
    code, out, _ = lab("diff", str(one), str(other), "--json")
    assert (code, json.loads(out)["same"]) == (1, False)


@pytest.mark.thorough  # eight commands
def test_exit_codes(lab, tmp_path):
    assert lab("run", "px-restart-remembers", "--plant", "paxos-promise-not-stored")[0] == 1
    assert lab("run", "px-restart-forgets", "--lang", "zh")[0] == 0
    code, _, err = lab("run", "no-such")
    assert (code, err.count("\n")) == (2, 1)
    assert lab("check", str(tmp_path / "missing"))[0] == 2
    trace = tmp_path / "broken.jsonl"
    lab("run", "px-restart-forgets", "--trace", str(trace))
    code, out, _ = lab("check", str(trace))
    assert (code, "P1   BROKEN" in out) == (1, True)
    scenario = tmp_path / "mine.toml"
    scenario.write_text(
        'protocol = "paxos"\ntitle = {en = "t", zh = "t"}\nstory = {en = "s", zh = "s"}\n'
        '[[do]]\nwhen = {role = "prepare"}\nthen = "crash"\ntarget = "p1"\n'
    )
    assert lab("run", str(scenario))[0] == 3


@pytest.mark.thorough  # four commands
def test_a_page_of_a_run_and_of_its_trace_are_the_same(lab, tmp_path):
    of_run, of_trace, trace = tmp_path / "run.html", tmp_path / "trace.html", tmp_path / "trace.jsonl"
    code, out, _ = lab("run", "px-restart-forgets", "--html", str(of_run), "--trace", str(trace))
    assert (code, "as expected" in out) == (0, True)
    code, out, _ = lab("replay", str(trace), "--html", str(of_trace))
    assert (code, "P5   BROKEN" in out) == (1, True)
    assert of_run.read_bytes() == of_trace.read_bytes()
    assert "call 1 is answered" in lab("replay", str(trace))[1]
    code, _, err = lab("replay", str(trace), "--html", str(tmp_path / "no" / "where.html"))
    assert (code, err.count("\n")) == (2, 1)


def link_of(text, more=""):
    packed = urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")
    return f"http://127.0.0.1:1/#s={packed}{more}"


def test_a_link_is_run_and_a_wrong_one_refused_in_one_sentence(lab):
    text = source("px-null")
    code, out, _ = lab("run", link_of(text, "&seed=7&at=3&view=text"), "--json")
    facts = json.loads(out)
    assert (code, facts["scenario"], facts["seed"]) == (0, "shared", 7)
    assert facts["events"] == len(run(parse("shared", text), seed=7).trace.events)
    found = json.loads(lab("run", link_of(text, "&servers=5&protocol=paxos"), "--json")[1])
    assert sum(kind == "acceptor" for kind in found["sites"].values()) == 5
    whole = link_of(text)
    for link in (
        whole[:-9], whole[: whole.index("#s=") + 3], f"{whole}&seed=x", "#s=!", "#s=AAAA", link_of("nonsense"),
        link_of(text, "&protocol=fax"), link_of(text, "&protocol=raft"), link_of("#" * 100_000),
    ):  # fmt: skip
        code, _, err = lab("run", link)
        assert (code, err.count("\n")) == (2, 1), link


def test_a_link_is_replayed_at_its_event_and_other_addresses_are_refused(lab, tmp_path):
    text = source("px-restart-forgets")
    code, out, _ = lab("replay", link_of(text, "&seed=5&at=20&view=text"))
    trace = run(parse("shared", text), seed=5).trace
    assert code == 1  # a check breaks there
    where = f"{trace.events[20]['t'] / 1000:.3f} ms, {trace.events[20]['n']}: {said(trace, trace.events[20])}"
    assert out.splitlines()[-1] == f"the link shows event 20, {where}"
    assert "call 1 is answered" in out
    page = tmp_path / "shared.html"
    facts = json.loads(lab("replay", link_of(text, "&seed=5"), "--html", str(page), "--json")[1])
    assert (facts["at"], facts["sha256"]) == (None, digest(trace))
    assert "An acceptor forgets its promise" in page.read_text()
    for link in (
        "http://example.org/trace.jsonl", link_of(text, "&at=999999"), link_of(text, "&at=x"), link_of("nonsense"),
        link_of(text, "&at=\u0663"),
    ):  # fmt: skip
        code, _, err = lab("replay", link)
        assert (code, err.count("\n")) == (2, 1), link


@pytest.mark.thorough  # a few runs
def test_a_hunt_ends_at_the_seed_that_breaks_something(lab, tmp_path):
    assert lab("hunt", "paxos", "--seeds", "1-3") == (0, "3 seeds, nothing broke\n", "")
    code, out, _ = lab("hunt", "paxos", "--seeds", "1-3", "--plant", "paxos-own-value", "--json")
    facts = json.loads(out)
    assert (code, facts["seed"], facts["checks"]["P3"]["holds"]) == (1, 1, False)
    small = tmp_path / "small.toml"
    out = lab("hunt", "paxos", "--plant", "paxos-own-value", "--shrink", str(small))[1]
    assert "steps are enough: recipes lab run" in out
    assert lab("run", str(small))[0] == 0
    assert lab("run", str(small), "--json")[1].count('"holds": false') >= 1
    assert "P3   BROKEN  某个 epoch" in lab("hunt", "paxos", "--plant", "paxos-own-value", "--lang", "zh")[1]
    for wrong in (["fax"], ["paxos", "--seeds", "many"], ["paxos", "--plant", "2pc-never-asks"]):
        code, _, err = lab("hunt", *wrong)
        assert (code, err.count("\n")) == (2, 1)
