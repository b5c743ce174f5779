"""Questions about a run: each answer is what the trace has, and another run of the same schedule has another one."""

import json

import pytest

from recipes.lab.casts import protocol_of
from recipes.lab.expectations import follow_state
from recipes.lab.questions import MOST_CHOICES, Question, questions
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import LANGUAGES, load, names
from recipes.lab.transcript import brief
from tests.lab.conftest import Lab

ENOUGH = 12
WITHOUT = {"cmp-heartbeat"}  # nothing happens there but heartbeats


ALL = [name if name.startswith(("px", "2pc")) else pytest.param(name, marks=pytest.mark.thorough) for name in names()]


def asked(outcome: Outcome) -> list[Question]:
    return questions(outcome.trace, outcome.found)


def right(question: Question) -> str:
    return question.choices[question.answer]["en"]


def of_call(outcome: Outcome, label: str) -> str:
    event = next(each for each in outcome.trace.events if each["k"] == "call" and each.get("label") == label)
    found = next(each for each in asked(outcome) if each.kind == "call" and each.event == event["i"])
    return right(found)


@pytest.mark.parametrize(
    "name",
    [name if name.startswith(("px", "2pc")) else pytest.param(name, marks=pytest.mark.thorough) for name in names()],
)
def test_each_answer_is_what_the_run_shows(outcome, name):
    found = outcome(name)
    events = found.trace.events
    assert bool(asked(found)) == (name not in WITHOUT)
    for question in asked(found):
        assert 2 <= len(question.choices) <= MOST_CHOICES
        for language in LANGUAGES:
            said = [choice[language] for choice in question.choices]
            assert len(set(said)) == len(said)
            assert question.text[language]
        assert question.event <= question.shown_at < len(events)
        shown, said = events[question.shown_at], right(question)
        if question.kind == "call":
            assert (shown["k"], shown["call"]) == ("reply", events[question.event]["call"])
            words = {"ok": "ok", "fail": "an error", "unknown": "nothing is known"}[shown["outcome"]]
            assert said.startswith(words)
            assert shown["outcome"] == "unknown" or brief(shown.get("value")) in said or not brief(shown.get("value"))
        elif question.kind == "leader":
            later = [
                each["n"]
                for each in events[question.event + 1 :]
                if each["k"] == "state" and each.get("role") in ("leader", "primary")
            ]
            assert said == (later[0] if later else "nobody, until the run ends")
        elif question.kind == "message":
            caused = [each for each in events if each.get("cause") == question.event]
            sent = {each["real"] for each in caused if each["k"] == "send" and "heartbeat" not in each["role"]}
            assert all(f"sends {kind}" in said for kind in sent)
            wrote = any(each["k"] == "write" for each in caused)
            done = said if said != "it sends and writes nothing" else ""
            assert ("sends" in done, "writes" in done) == (bool(sent), wrote)
        else:
            assert question.kind == "check"
            first = min(found.broken.items(), key=lambda each: each[1].event, default=None)
            assert said.split(":")[0] == (first[0] if first else "none")
            assert [name for name in found.found if name not in protocol_of(found.trace.protocol).checks] == []


def test_there_are_enough_of_each_kind(outcome):
    kinds = [question.kind for name in names()[::4] for question in asked(outcome(name))]
    assert all(kinds.count(kind) >= ENOUGH for kind in ("call", "message"))
    everywhere = [
        each.kind for name in ("cmp-leader-crash", "raft-figure-8", "mp-two-leaders") for each in asked(outcome(name))
    ]
    assert {"leader", "check"} <= set(everywhere)


def test_the_same_schedule_with_another_acceptor_has_another_answer(outcome):
    wrong, well = outcome("px-restart-forgets"), outcome("px-restart-remembers")
    assert of_call(wrong, "older") == "ok, a"
    assert of_call(well, "older") == "an error, a newer epoch has the right"
    kinds = {each.kind: right(each) for each in asked(wrong)}
    assert kinds["check"].startswith("P5")
    assert {each.kind: right(each) for each in asked(well)}["check"].startswith("none")


@pytest.mark.thorough  # some more runs
def test_who_leads_next_depends_on_the_run():
    leaders = set()
    for seed in range(1, 12):
        found = run(load("cmp-leader-crash"), protocol="raft", seed=seed)
        leaders |= {right(each) for each in asked(found) if each.kind == "leader"}
    assert len(leaders) >= 2


def test_a_question_tells_nothing_by_the_place_of_its_answer(outcome):
    places = [question.answer for name in names()[::3] for question in asked(outcome(name))]
    assert all(places.count(place) > len(places) / 20 for place in range(3))


def test_a_leader_question_is_asked_of_a_leader_only(outcome):
    trace = outcome("cmp-leader-crash").trace
    states: dict[str, dict[str, object]] = {}
    for event in trace.events:
        for question in asked(outcome("cmp-leader-crash")):
            if question.kind == "leader" and question.event == event["i"]:
                assert states[event["n"]]["role"] == "leader"
        follow_state(states, event)


def test_the_command(lab: Lab):
    code, out, _ = lab("ask", "px-null")
    assert (code, "*" in out, "shows it" in out) == (0, False, False)
    code, out, _ = lab("ask", "px-null", "--answers", "--lang", "zh")
    assert (code, out.count("shows it") == out.count("  * ")) == (0, True)
    facts = json.loads(lab("ask", "px-restart-forgets", "--json")[1])
    assert {each["kind"] for each in facts} == {"call", "message", "check"}
    assert lab("ask", "cmp-heartbeat")[1].startswith("no questions")
    for wrong in (["no-such"], ["px-null", "--protocol", "zab"]):
        code, _, err = lab("ask", *wrong)
        assert (code, err.count("\n")) == (2, 1)
