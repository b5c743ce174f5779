"""docs/lab: ten chapters and lesson plans in two languages, with pictures, tables and questions made from the runs.

Whatever they name is there, every command is run, and both languages name the same runs in the same order.
"""

import re
from functools import cache

import pytest

from recipes.cli import main
from recipes.lab.challenge import load as load_challenge
from recipes.lab.figures import start_of
from recipes.lab.questions import Question, questions
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import load
from recipes.lab.timeline import timeline
from tests.lab.pages import DOCS, scenarios_in, without_blocks, written

CHAPTERS = sorted(
    (each.stem for each in (DOCS / "lab").glob("[0-9]*.md") if ".zh" not in each.name),
    key=lambda name: int(name.split("-")[0]),
)
PAGES = [*CHAPTERS, "README", "lessons"]
LANGUAGES = {"en": "", "zh": ".zh"}
HEADS = {
    "en": "| run | what it shows | messages | delays | syncs | breaks |",
    "zh": "| 运行 | 显示什么 | 消息 | 延迟 | 落盘 | 违反 |",
}
ANSWER = {"en": "The answer", "zh": "答案"}
SHOWN = {"en": "event {} shows it", "zh": "事件 {} 可以证明"}
ASKED = {"en": "Run `{}`, after event {}: ", "zh": "运行 `{}` 的事件 {} 之后, "}
MOST_BYTES = 300_000  # of a picture


def page_of(name: str, lang: str) -> str:
    return f"lab/{name}{LANGUAGES[lang]}.md"


@cache
def outcome_of(name: str) -> Outcome:
    return run(load(name))


def named(name: str) -> list[str]:
    """The scenarios of a chapter, each once, in the order in which it names them."""
    found = re.findall(
        r"`((?:con|pb|2pc|3pc|txn|p1|p2|px|mp|raft|zab|zk|rec|cmp)-[a-z0-9-]+)`", without_blocks(page_of(name, "en"))
    )
    return list(dict.fromkeys(found))


def picture_of(name: str) -> str:
    (found,) = re.findall(r"\(pictures/([a-z0-9-]+)\.svg\)", (DOCS / page_of(name, "en")).read_text())
    return found


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", CHAPTERS)
def test_the_table_of_runs_is_what_they_show(name, lang, request):
    lines = [HEADS[lang], "|---|---|---|---|---|---|"]
    for each in named(name):
        figures, scenario = outcome_of(each).trace.end["figures"], load(each)
        cells = [f"`{each}`", scenario.title[lang], *(figures[key] for key in ("messages", "delays", "fsyncs_on_path"))]
        lines.append(f"| {' | '.join(map(str, cells))} | {', '.join(scenario.breaks) or '-'} |")
    written(page_of(name, lang), "runs", lines, request)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", CHAPTERS)
def test_the_question_and_its_answer_are_those_of_the_run(name, lang, request):
    scenario, asked = question_of(name)
    lines = [ASKED[lang].format(scenario, asked.event) + asked.text[lang], ""]
    lines += [f"- {letter}: {choice[lang]}" for letter, choice in zip("abcde", asked.choices, strict=False)]
    right = "abcde"[asked.answer]
    lines += ["", f"<details><summary>{ANSWER[lang]}</summary>{right}; {SHOWN[lang].format(asked.shown_at)}</details>"]
    written(page_of(name, lang), "question", lines, request)


def question_of(name: str) -> tuple[str, Question]:
    """The first one about a leader or a property, in the run of the picture or else in the runs that are named."""
    for scenario in (picture_of(name), *named(name)):
        outcome = outcome_of(scenario)
        for question in questions(outcome.trace, outcome.found):
            if question.kind in ("leader", "check"):
                return scenario, question
    raise AssertionError(f"{name}: no run has a question")


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_picture_is_that_of_the_run(name, request):
    scenario = picture_of(name)
    trace = outcome_of(scenario).trace
    title = f"{scenario}: {load(scenario).title['en']}"
    text = timeline(trace, title, span=range(start_of(trace), len(trace.events)))
    file = DOCS / "lab" / "pictures" / f"{scenario}.svg"
    if request.config.getoption("--rewrite"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert file.read_text() == text, "changed: look at the picture, then run this with --rewrite"
    assert len(text.encode()) <= MOST_BYTES


def test_there_are_ten_chapters_and_no_picture_too_many():
    assert len(CHAPTERS) == 10
    pictures = {each.stem for each in (DOCS / "lab" / "pictures").iterdir()}
    assert pictures == {picture_of(name) for name in CHAPTERS}


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_paragraph_of_claims_names_a_run_or_leads_to_one(name):
    text = without_blocks(page_of(name, "en"))
    claims = text.split("\n![")[0].split("\n\n")[2:]
    assert sum("`" in each for each in claims) >= len(claims) / 2
    assert len(named(name)) >= 3


@pytest.mark.parametrize("name", PAGES)
def test_both_languages_name_the_same(name):
    english, chinese = page_of(name, "en"), page_of(name, "zh")
    assert scenarios_in(english) == scenarios_in(chinese)
    assert commands(english) == commands(chinese)
    one, other = ((DOCS / each).read_text() for each in (english, chinese))
    assert len(re.findall(r"^##? ", one, re.MULTILINE)) == len(re.findall(r"^##? ", other, re.MULTILINE))
    assert len(re.findall(r"[\u4e00-\u9fff]", other)) > 50


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name, lang):
    page = DOCS / page_of(name, lang)
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def commands(page: str) -> list[str]:
    """The commands of a page that can be run as they stand, without their language."""
    spans = re.findall(r"`recipes (lab [^`]+)`", without_blocks(page))
    return [span.replace(" --lang zh", "") for span in spans if not re.search(r"\b(ID|FILE|serve)\b", span)]


@pytest.mark.thorough  # some forty commands
def test_every_command_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = list(dict.fromkeys(each for name in PAGES for each in commands(page_of(name, "en"))))
    assert len(wanted) > 20
    for command in wanted:
        if command.startswith("lab challenge"):
            load_challenge(command.split()[2])
        assert main(command.split()) == 0, command
    assert capsys.readouterr().out
    assert sum(each.suffix == ".html" for each in tmp_path.iterdir()) >= 5
