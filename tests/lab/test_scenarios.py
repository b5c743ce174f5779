"""Every scenario goes as its file says, and as the transcript beside this file says, word for word."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.lab.expectations import first
from recipes.lab.run import run
from recipes.lab.scenario import LANGUAGES, SECTIONS, load, names, section_of
from recipes.lab.trace import digest, dumps, loads
from recipes.lab.transcript import transcript

TRANSCRIPTS = Path(__file__).parent / "transcripts"
MOST_LINES = 400
MOST_SECONDS = 60  # of processor time, for all scenarios; on the machine at hand they take 2


# A quick run has one scenario of each section.
QUICK = {section_of(name): name for name in reversed(names())}.values()
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough) for name in names()]


@pytest.mark.parametrize("name", ALL)
def test_a_scenario_goes_as_expected(outcome, name):
    found = outcome(name)
    assert (found.code, found.wrong, found.waits_for) == (0, (), "")


@pytest.mark.parametrize("name", ALL)
def test_a_scenario_has_its_transcript(outcome, request, name):
    lines = transcript(outcome(name).trace).splitlines(keepends=True)
    text = "".join(lines[:MOST_LINES])
    file = TRANSCRIPTS / f"{name}.txt"
    if request.config.getoption("--rewrite"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert file.read_text() == text, "changed: read what is different, then run this with --rewrite"


def test_there_are_no_transcripts_of_other_scenarios():
    assert sorted(file.stem for file in TRANSCRIPTS.iterdir()) == sorted(names())


def test_every_scenario_is_told_in_both_languages():
    for name in names():
        scenario = load(name)
        assert scenario.section in SECTIONS
        for language in LANGUAGES:
            assert scenario.title[language].strip(), name
            assert scenario.story[language].strip(), name
        assert any("\u4e00" <= character <= "\u9fff" for character in scenario.title["zh"] + scenario.story["zh"]), name
        assert scenario.expects, name


@pytest.mark.thorough  # a run of each scenario
def test_a_story_that_is_told_along_the_run_names_events_in_their_order(outcome):
    told = [name for name in names() if load(name).told]
    assert set(names()) - set(told) == {"cmp-heartbeat"}, "told as a whole: there nothing happens"
    for name in told:
        places = [first(outcome(name).trace, each) for each in load(name).told]
        assert None not in places, name
        assert places == sorted(places), name  # type: ignore[type-var]


@pytest.mark.thorough  # each scenario once more
@pytest.mark.parametrize("name", names())
def test_a_run_repeats_byte_for_byte_and_reads_back(outcome, name):
    trace = outcome(name).trace
    again = run(load(name)).trace
    assert dumps(again) == dumps(trace)
    assert loads(dumps(trace)) == trace


@pytest.mark.thorough  # another process, which runs all of them again
def test_digests_are_the_same_under_another_hash_seed_and_without_asserts_and_all_take_a_minute_at_most(outcome):
    assert len(names()) >= 100
    program = (
        "import json, sys, time\nfrom recipes.lab.run import run\nfrom recipes.lab.scenario import load\n"
        "from recipes.lab.trace import digest\n"
        "digests = {name: digest(run(load(name)).trace) for name in json.loads(sys.argv[1])}\n"
        "print(json.dumps([digests, time.process_time()]))"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", program, json.dumps(names())],
        env={"PYTHONHASHSEED": "4711", "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    digests, seconds = json.loads(done.stdout)
    assert digests == {name: digest(outcome(name).trace) for name in names()}
    sys.stdout.write(f"{len(digests)} scenarios in {seconds:.1f} s of processor time\n")
    assert seconds < MOST_SECONDS
