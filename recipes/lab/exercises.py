"""Exercises: a machine of the laboratory without the bodies of some methods, for somebody to write them again.

What is handed out is made of the machine's own module, so it is always that of this version. What comes back is a file
of Python, which runs here as any program of its writer: scenarios, a hunt, and faults wherever they make a difference.
"""

import ast
import runpy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple

from recipes.core.agree import acceptor, mutual_exclusion
from recipes.core.agree.machine import Machine
from recipes.core.errors import BadArguments
from recipes.lab.explore import Faults, base_of, explore
from recipes.lab.hunt import scenario_of
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import Scenario, load_all

SEEDS = range(1, 201)
_NAME = "EXERCISE"  # the variable by which a file says what it is
_MOST_EVENTS = 20_000


class Exercise(NamedTuple):
    """An exercise. machine: what is to be written. methods: those without a body, each as Class.method.

    protocols: in whose scenarios and hunts it runs; the first is explored too, with these faults.
    """

    name: str
    title: Mapping[str, str]
    machine: type[Machine]
    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    faults: Faults


class Graded(NamedTuple):
    """One run of an exercise. problem: what was wrong in words, "" if nothing.

    what: for people; repeats: the scenario. outcome: None if the file's own code raised an error.
    """

    what: str
    repeats: Scenario
    outcome: Outcome | None
    problem: str


EXERCISES: Mapping[str, Exercise] = {
    each.name: each
    for each in (
        Exercise(
            "lock",
            {"en": "An acceptor that is a lock", "zh": "互斥锁式的 acceptor"},
            mutual_exclusion.Acceptor,
            ("Acceptor._prepare", "Acceptor._accept", "Acceptor._release"),
            ("paxos1",),
            Faults(power_cuts=2),
        ),
        Exercise(
            "acceptor",
            {"en": "An acceptor of Paxos", "zh": "Paxos 的 acceptor"},
            acceptor.Acceptor,
            ("Slots.prepare", "Slots.accept"),
            ("paxos", "paxos2"),
            Faults(power_cuts=1, drops=1),
        ),
    )
}


def exercise_of(name: str) -> Exercise:
    """The exercise with this name. Raises BadArguments if there is none."""
    if name not in EXERCISES:
        raise BadArguments("", f"no exercise is called {name!r}: expected one of {', '.join(EXERCISES)}")
    return EXERCISES[name]


def handed_out(exercise: Exercise) -> str:
    """The text to begin with: the machine's module, in which only the first sentences of those methods are left."""
    _, _, module = exercise.machine.__module__.rpartition(".")
    text: str = (files("recipes.core.agree") / f"{module}.py").read_text(encoding="utf-8")
    lines: list[str] = text.splitlines()
    for node in reversed(list(_methods(ast.parse(text), exercise.methods))):
        first, last = node.body[1], node.body[-1]
        lines[first.lineno - 1 : last.end_lineno] = [" " * first.col_offset + "raise NotImplementedError"]
    document = ast.parse(text).body[0]
    return "\n".join(
        [*lines[: document.end_lineno], "", f'{_NAME} = "{exercise.name}"', *lines[document.end_lineno :], ""]
    )


def _methods(module: ast.Module, names: tuple[str, ...]) -> Iterator[ast.FunctionDef]:
    for owner in module.body:
        if isinstance(owner, ast.ClassDef):
            for node in owner.body:
                if isinstance(node, ast.FunctionDef) and f"{owner.name}.{node.name}" in names:
                    yield node


def machine_in(file: Path) -> tuple[Exercise, type[Machine]]:
    """Run a file; the exercise that it says it is, and its machine. Raises BadArguments if it has none."""
    try:
        found = runpy.run_path(str(file))
    except Exception as error:  # whatever the file does
        raise BadArguments("", f"{file}: {_said(error, file)}") from None
    if not isinstance(found.get(_NAME), str):
        raise BadArguments("", f"{file}: expected a line such as {_NAME} = {next(iter(EXERCISES))!r}")
    exercise = exercise_of(found[_NAME])
    machine = found.get(exercise.machine.__name__)
    if not (isinstance(machine, type) and issubclass(machine, Machine)):
        raise BadArguments("", f"{file}: expected a class {exercise.machine.__name__} that is a Machine")
    return exercise, machine


def grade(exercise: Exercise, machine: type[Machine], file: Path) -> Iterator[Graded]:
    """Each run with this machine in place of the right one."""
    replaced: Mapping[type[Any], type[Any]] = {exercise.machine: machine}
    make = partial(run, replaced=replaced, most_events=_MOST_EVENTS)
    for each in load_all():
        if each.protocols[0] in exercise.protocols and not each.plant and not each.breaks:
            yield _graded(each.id, each, make, file)
    for protocol in exercise.protocols:
        for seed in SEEDS:
            yield _graded(f"hunt of {protocol}, seed {seed}", scenario_of(protocol, seed), make, file)
    base = base_of(exercise.protocols[0], 2, {})
    tried = [base]

    def noted(scenario: Scenario) -> Outcome:
        tried[0] = scenario
        return make(scenario)

    try:
        for scenario, outcome in explore(base, exercise.faults, noted):
            yield Graded("faults everywhere", scenario, outcome, _problem(outcome))
    except Exception as error:  # of the file
        yield Graded("faults everywhere", tried[0], None, _said(error, file))


def _graded(what: str, scenario: Scenario, make: Callable[[Scenario], Outcome], file: Path) -> Graded:
    try:
        outcome = make(scenario)
    except Exception as error:  # of the file
        return Graded(what, scenario, None, _said(error, file))
    return Graded(what, scenario, outcome, _problem(outcome))


def _problem(outcome: Outcome) -> str:
    if outcome.waits_for:
        return f"it did not end: it still waits for {outcome.waits_for}"
    return outcome.wrong[0] if outcome.wrong else ""


def _said(error: Exception, file: Path) -> str:
    """What the file's code raised, and in which of its lines."""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename) == file]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f"line {line} raised " if line is not None else ""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return where + text.splitlines()[0]
