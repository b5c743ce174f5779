"""`recipes lab grade`: what is handed out, that a right solution passes, and that each planted mistake does not."""

import inspect
import json
from pathlib import Path

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.exercises import EXERCISES, exercise_of, grade, handed_out, machine_in
from recipes.lab.plants.registry import PLANTS

MISTAKES = [
    (exercise.name, plant.name, replaced)
    for exercise in EXERCISES.values()
    for plant in PLANTS.values()
    for right, replaced in plant.replaced.items()
    if right is exercise.machine
]


def solved(name: str, tmp_path: Path, **changes: str) -> Path:
    """A file with the machine as it is, but for these changes."""
    text = Path(inspect.getfile(EXERCISES[name].machine)).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "mine.py"
    file.write_text(f'{text}\nEXERCISE = "{name}"\n', encoding="utf-8")
    return file


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_handed_out_has_the_tasks_and_nothing_of_their_solution(lab, name, tmp_path):
    exercise = EXERCISES[name]
    text = handed_out(exercise)
    assert lab("grade", name)[1] == f"{text.rstrip()}\n"
    assert text.count("raise NotImplementedError") == len(exercise.methods)
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    found, machine = machine_in(file)
    assert found == exercise
    for method in exercise.methods:
        owner, _, function = method.partition(".")
        written = getattr(machine if owner == machine.__name__ else machine.SLOTS, function)
        assert written.__doc__
    first = next(iter(grade(found, machine, file)))
    assert (first.outcome, "raised NotImplementedError" in first.problem) == (None, True)
    assert first.problem.startswith("line ")


@pytest.mark.thorough  # hundreds of runs
@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_solution_passes(lab, name, tmp_path):
    code, out, _ = lab("grade", str(solved(name, tmp_path)))
    assert (code, out.endswith("runs, nothing is wrong\n")) == (0, True)


@pytest.mark.thorough  # hundreds of runs each
@pytest.mark.parametrize(("name", "plant", "machine"), MISTAKES, ids=[f"{row[0]}-{row[1]}" for row in MISTAKES])
def test_each_planted_mistake_is_found(name, plant, machine):
    assert any(each.problem for each in grade(EXERCISES[name], machine, Path("mine.py"))), plant


def test_each_exercise_has_mistakes_that_were_planted():
    assert {name for name, _, _ in MISTAKES} == EXERCISES.keys()


@pytest.mark.thorough  # hundreds of runs
def test_the_command_says_which_property_breaks_and_keeps_the_run(lab, tmp_path):
    hasty = solved("acceptor", tmp_path, **{'if epoch < self.promised(slot):\n            answer("REFUSED"': (
        'if False:\n            answer("REFUSED"')})  # fmt: skip
    trace, page = tmp_path / "wrong.jsonl", tmp_path / "wrong.html"
    code, out, _ = lab("grade", str(hasty), "--trace", str(trace), "--html", str(page))
    assert (code, "P4   BROKEN" in out, f"recipes lab replay {trace}" in out) == (1, True, True)
    assert lab("check", str(trace))[0] in (0, 1)
    assert "<!doctype html>" in page.read_text().lower()


def test_exercises_are_listed(lab):
    assert [each["name"] for each in json.loads(lab("grade", "--json")[1])] == list(EXERCISES)
    assert "互斥锁" in lab("grade", "--lang", "zh")[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a line such as EXERCISE = 'lock'"),
        ("EXERCISE = 'fax'", "no exercise is called 'fax'"),
        ("EXERCISE = 'lock'", "expected a class Acceptor that is a Machine"),
        ("EXERCISE = 'lock'\nAcceptor = int", "expected a class Acceptor that is a Machine"),
        ("x = 1\ndef (", "line 2 raised SyntaxError"),
        ("x = 1\nraise KeyError('x')", "line 2 raised KeyError"),
    ],
)
def test_a_file_that_is_no_solution_is_refused_in_one_sentence(lab, tmp_path, text, said):
    file = tmp_path / "mine.py"
    file.write_text(text)
    code, _, err = lab("grade", str(file))
    assert (code, err.count("\n"), said in err.replace('\\"', '"')) == (2, 1, True), err
    assert lab("grade", str(tmp_path / "none.py"))[0] == 2


def test_an_unknown_exercise_is_refused(lab):
    assert lab("grade", "fax")[0] == 2
    with pytest.raises(BadArguments, match="expected one of lock, acceptor"):
        exercise_of("fax")
