"""`recipes lab ask`, `challenge` and `grade`: questions and tasks for people who learn, and what comes of them."""

from pathlib import Path
from typing import Any, Literal

from recipes.cli.access import Switch
from recipes.cli.lab_files import scenario_of, text_of, write
from recipes.cli.lab_verdicts import verdict
from recipes.cli.terminal import say
from recipes.lab import challenge as challenges
from recipes.lab.challenge import Challenge, Judgement, facts_of, faults_allowed
from recipes.lab.checks.registry import CHECKS
from recipes.lab.exercises import EXERCISES, Graded, exercise_of, handed_out, machine_in
from recipes.lab.exercises import grade as grade_all
from recipes.lab.page import content, document
from recipes.lab.plants.registry import PLANTS
from recipes.lab.questions import Question, questions
from recipes.lab.run import run
from recipes.lab.trace import dumps

Language = Literal["en", "zh"]


def challenge(
    name: str | None = None,
    file: Path | None = None,
    /,
    *,
    html: Path | None = None,
    lang: Language = "en",
    json: Switch = False,
) -> int:
    """Print the challenges, or one's task, or whether your schedule meets it: recipes lab challenge ID FILE.

    A schedule is a TOML file with the steps of a scenario, each a [[do]], and perhaps a seed: see docs/lab.md.

    Exit codes: 0 the goal is met; 1 it is not; 2 for a wrong argument or schedule; 3 the run did not come to its end.

    Args:
        name: the id of a challenge; without one, all are printed.
        file: your schedule; without one, the task is printed.
        html: write a page to this file that shows the run step by step.
        lang: en or zh.
        json: print one object, or an array of all challenges.
    """
    if name is None:
        found = list(challenges.load_all())
        lines = [f"{each.id:20} par {each.par}  {each.title[lang]}" for each in found]
        say(json, "\n".join(lines), [facts_of(each, lang) for each in found])
        return 0
    asked = challenges.load(name)
    if file is None:
        say(json, _task(asked, lang), facts_of(asked, lang))
        return 0
    judged = challenges.judge(asked, text_of(file))
    if html is not None:
        write(html, document(content(judged.outcome.trace, judged.scenario)))
    say(json, _verdict(asked, judged), _facts(asked, judged))
    return judged.code


def grade(
    name: str | None = None, /, *, trace: Path | None = None, html: Path | None = None, lang: Language = "en",
    json: Switch = False,
) -> int:  # fmt: skip
    """Print the exercises, or one's text to begin with, or what is wrong in yours: recipes lab grade mine.py.

    `recipes lab grade acceptor > mine.py` is a module without the bodies of some methods. Write them; your file is then
    run in scenarios, in a hunt, and with faults wherever they make a difference. It runs as any program of yours does.

    Exit codes: 0 nothing is wrong; 1 something is; 2 for a wrong argument, or a file that is no such module.

    Args:
        name: the name of an exercise, or your file, which ends in .py; without one, all exercises are printed.
        trace: write the first run in which something is wrong to this file, as a trace.
        html: the same as a page.
        lang: the language of what the checks say, en or zh.
        json: print one object, or an array of all exercises.
    """
    if name is None:
        rows = [{"name": each.name, "title": each.title[lang], "methods": each.methods} for each in EXERCISES.values()]
        say(json, "\n".join(f"{row['name']:10} {row['title']}: {', '.join(row['methods'])}" for row in rows), rows)
        return 0
    if not name.endswith(".py"):
        asked = exercise_of(name)
        say(json, handed_out(asked).rstrip("\n"), {"name": asked.name, "text": handed_out(asked)})
        return 0
    file = Path(name)
    text_of(file)
    exercise, machine = machine_in(file)
    runs, wrong, first = 0, dict[str, Graded](), None
    for each in grade_all(exercise, machine, file):
        runs += 1
        if each.problem:
            first = first or each
            wrong.setdefault(each.what.partition(",")[0], each)
    lines = [
        f"{exercise.title[lang]}: {runs} runs, " + (f"wrong in {len(wrong)} ways" if wrong else "nothing is wrong")
    ]
    for each in wrong.values():
        lines.append(f"  {each.what}: {each.problem}")
        broken = each.outcome.broken if each.outcome is not None else {}
        lines += [verdict(check, found, lang) for check, found in broken.items() if check not in each.repeats.breaks]
    if first is not None and first.outcome is not None:
        if trace is not None:
            write(trace, dumps(first.outcome.trace))
            lines.append(f"to see what happened: recipes lab replay {trace}")
        if html is not None:
            write(html, document(content(first.outcome.trace, first.repeats)))
    facts = [{"what": each.what, "problem": each.problem} for each in wrong.values()]
    say(json, "\n".join(lines), {"exercise": exercise.name, "runs": runs, "wrong": facts})
    return 1 if wrong else 0


def ask(
    name: str,
    /,
    *,
    protocol: str | None = None,
    seed: int | None = None,
    plant: str | None = None,
    answers: Switch = False,
    lang: Language = "en",
    json: Switch = False,
) -> int:
    """Print questions about what happens next in a run of a scenario: recipes lab ask px-duel --answers.

    The answers are read from the run. A page of `recipes lab run --html` asks the same.

    Args:
        name: its id, or a .toml file.
        protocol: one of those that the scenario runs on.
        seed: of chance; the scenario's own if not given.
        plant: a planted bug, from `recipes lab list --plants`.
        answers: mark the right choice of each, and say which event shows it.
        lang: en or zh.
        json: print an array of objects, with the answers.
    """
    outcome = run(scenario_of(name), protocol=protocol, seed=seed, plant=plant)
    found = questions(outcome.trace, outcome.found)
    lines = [line for number, each in enumerate(found, 1) for line in _asked(number, each, answers, lang)]
    facts = [each.plain() for each in found]
    say(json, "\n".join(lines) if lines else "no questions: nothing in this run could go in two ways", facts)
    return 0


def _asked(number: int, question: Question, answers: bool, lang: str) -> list[str]:
    lines = [f"{number}. After event {question.event}: {question.text[lang]}"]
    for place, choice in enumerate(question.choices):
        right = answers and place == question.answer
        lines.append(f"  {'*' if right else ' '} {'abcde'[place]}) {choice[lang]}")
    return [*lines, f"    event {question.shown_at} shows it"] if answers else lines


def _task(asked: Challenge, lang: str) -> str:
    lines = [asked.title[lang], "", asked.task[lang].strip(), ""]
    sites = [f"{', '.join(names)} ({kind})" for kind, names in asked.sites.items() if names]
    lines.append(f"protocol: {asked.protocol}; sites: {'; '.join(sites)}")
    if asked.plant is not None:
        bug = PLANTS[asked.plant]
        lines.append(f"planted bug: {bug.name}, {bug.says if lang == 'en' else bug.says_zh}")
    for each in asked.document.get("breaks", []):
        check = CHECKS[each]
        lines.append(f"to break: {check.name}, {check.says if lang == 'en' else check.says_zh}")
    faults = faults_allowed(asked)
    lines.append(f"faults: {', '.join(faults) if faults else 'none is allowed'}; par {asked.par}")
    if asked.each:
        lines.append(f"to be met with each seed from {asked.seeds[0]} to {asked.seeds[-1]}")
    lines.append(f"then: recipes lab challenge {asked.id} FILE, with your steps")
    return "\n".join(lines)


def _score(asked: Challenge, judged: Judgement) -> str:
    faults = judged.outcome.faults
    apart = (
        "at par" if faults == asked.par else f"{abs(faults - asked.par)} {'over' if faults > asked.par else 'under'}"
    )
    return f"{faults} {'fault' if faults == 1 else 'faults'}, par {asked.par}: {apart}"


def _verdict(asked: Challenge, judged: Judgement) -> str:
    seeds = (
        f"seed {judged.seed}"
        if not (asked.each and judged.met)
        else f"each seed from {asked.seeds[0]} to {asked.seeds[-1]}"
    )
    lines = [f"{asked.id}, {seeds}: {'met, with ' + _score(asked, judged) if judged.met else 'not met'}"]
    if judged.outcome.waits_for:
        lines.append(f"  the run did not end: it still waits for {judged.outcome.waits_for}")
    lines += [f"  {miss}" for miss in judged.misses]
    return "\n".join(lines)


def _facts(asked: Challenge, judged: Judgement) -> dict[str, Any]:
    return {
        "id": asked.id,
        "met": judged.met,
        "misses": list(judged.misses),
        "ended": not judged.outcome.waits_for,
        "faults": judged.outcome.faults,
        "par": asked.par,
        "seed": judged.seed,
        "broken": list(judged.outcome.broken),
        "sha256": (judged.outcome.trace.end or {})["sha256"],
    }
