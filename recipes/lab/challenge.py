"""Challenges: a stage and a goal, for which somebody writes a schedule of calls and faults.

Each is a TOML file in `challenges/`: a scenario without steps. What it expects, and what it says that breaks, is the
goal; all else may break or hold. `par` is the number of faults that are enough, `least` the number that is asked for.
`allows` names the only actions that a schedule may have. `seeds`, the first and the last one: if the schedule names no
seed, these are tried one after the other until one meets the goal, so that nobody has to guess how chance must fall.
With `each`, all of them must meet it: a schedule that is lucky once is not enough.

A schedule has the steps and perhaps a seed, and nothing else: stage and goal are the challenge's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from recipes.core.errors import BadArguments
from recipes.lab.casts import members_of, protocol_of
from recipes.lab.expectations import misses
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import Scenario, of_document, read
from recipes.lab.steps import ACTIONS, FAULTS

MOST_STEPS, MOST_EVENTS = 200, 20_000
_OWN = frozenset({"par", "least", "allows", "seeds", "each"})
_WRITTEN = ("do", "seed")


@dataclass(frozen=True)
class Challenge:
    """A challenge. document: its scenario's tables, without steps. par: the faults that are enough; least: asked for.

    allows: the actions that a schedule may have. seeds: those that are tried if it names none; each: all must succeed.
    """

    id: str
    title: Mapping[str, str]
    task: Mapping[str, str]
    protocol: str
    plant: str | None
    par: int
    least: int
    allows: frozenset[str]
    seeds: range
    each: bool
    document: Mapping[str, Any]

    @property
    def sites(self) -> dict[str, list[str]]:
        """The sites of its stage, by kind."""
        found: dict[str, list[str]] = {}
        for name, (kind, _) in members_of(protocol_of(self.protocol), self.document.get("sites", {}), {}).items():
            found.setdefault(kind, []).append(name)
        return found


class Judgement(NamedTuple):
    """What came of a schedule.

    misses: what of the goal is not met, a sentence each. outcome: of the run of stage and schedule with `seed`.
    """

    scenario: Scenario
    seed: int
    outcome: Outcome
    misses: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether the run came to its end and met the goal."""
        return not self.misses and not self.outcome.waits_for

    @property
    def code(self) -> int:
        """The exit code of a command: 0 the goal is met, 1 it is not, 3 the run did not come to its end."""
        return 3 if self.outcome.waits_for else 1 if self.misses else 0


def names() -> list[str]:
    """The ids of all challenges, sorted by par."""
    found = [each.name.removesuffix(".toml") for each in _directory().iterdir() if each.name.endswith(".toml")]
    return sorted(found, key=lambda name: (load(name).par, name))


def load(name: str) -> Challenge:
    """The challenge with this id. Raises BadArguments if there is none."""
    file = _directory() / f"{name}.toml"
    if "/" in name or not file.is_file():
        raise BadArguments("", f"no challenge is called {name!r}: expected a name that `recipes lab challenge` prints")
    document = read(f"challenge {name}", file.read_text(encoding="utf-8"))
    stage = {key: value for key, value in document.items() if key not in _OWN}
    scenario = of_document(name, stage)
    first, last = document.get("seeds", (scenario.seed, scenario.seed))
    return Challenge(
        id=name,
        title=scenario.title,
        task=scenario.story,
        protocol=scenario.protocols[0],
        plant=scenario.plant,
        par=document["par"],
        least=document.get("least", 0),
        allows=frozenset(document.get("allows", ACTIONS)),
        seeds=range(first, last + 1),
        each=document.get("each", False),
        document=stage,
    )


def load_all() -> Iterator[Challenge]:
    """All challenges of this package."""
    for name in names():
        yield load(name)


def judge(challenge: Challenge, text: str) -> Judgement:
    """Run a schedule. Of several seeds, the first one that meets the goal counts, else the first one of all; if each
    must meet it, the first one that does not, else the last.

    text: the schedule, in TOML.
    Raises BadArguments that says what is wrong with it.
    """
    scenario, seeds = _schedule(challenge, text)
    first = judged = _judged(challenge, scenario, seeds[0])
    for seed in seeds[1:]:
        if judged.met != challenge.each:
            return judged
        judged = _judged(challenge, scenario, seed)
    return judged if judged.met or challenge.each else first


def _judged(challenge: Challenge, scenario: Scenario, seed: int) -> Judgement:
    outcome = run(scenario, seed=seed, most_events=MOST_EVENTS)
    return Judgement(scenario, seed, outcome, tuple(_misses(challenge, scenario, outcome)))


def _schedule(challenge: Challenge, text: str) -> tuple[Scenario, range]:
    what = f"schedule for {challenge.id}"
    written = read(what, text)
    if unknown := sorted(written.keys() - set(_WRITTEN)):
        raise BadArguments(
            "", f"{what}: unknown key {unknown[0]!r}: expected only steps, each a [[do]], and perhaps a seed"
        )
    scenario = of_document(challenge.id, {**challenge.document, **written})
    if not scenario.steps:
        raise BadArguments("", f"{what}: no step: expected at least one [[do]]")
    if len(scenario.steps) > MOST_STEPS:
        raise BadArguments("", f"{what}: {len(scenario.steps)} steps: expected at most {MOST_STEPS}")
    for number, step in enumerate(scenario.steps, 1):
        if step["then"] not in challenge.allows:
            allowed = ", ".join(sorted(challenge.allows))
            raise BadArguments("", f"{what}: step {number}: {step['then']} is not allowed here: expected {allowed}")
    if challenge.each and "seed" in written:
        raise BadArguments("", f"{what}: seed = {written['seed']}: each seed of the challenge is run: expected no seed")
    seeds = challenge.seeds if "seed" not in written else range(scenario.seed, scenario.seed + 1)
    return scenario, seeds


def _misses(challenge: Challenge, scenario: Scenario, outcome: Outcome) -> Iterator[str]:
    if outcome.faults < challenge.least:
        yield f"too few faults, {outcome.faults}: the goal asks for {challenge.least}"
    for name in scenario.breaks:
        if outcome.found[name] is None:
            yield f"{name} holds: the goal is that it breaks"
    yield from misses(outcome.trace, scenario.expects)


def facts_of(challenge: Challenge, lang: str) -> dict[str, Any]:
    """A challenge as an object. lang: of title and task."""
    return {
        "id": challenge.id,
        "title": challenge.title[lang],
        "task": challenge.task[lang].strip(),
        "protocol": challenge.protocol,
        "plant": challenge.plant,
        "sites": challenge.sites,
        "allows": sorted(challenge.allows),
        "breaks": list(challenge.document.get("breaks", [])),
        "par": challenge.par,
        "least": challenge.least,
        "seeds": [challenge.seeds.start, challenge.seeds.stop - 1],
        "each": challenge.each,
    }


def faults_allowed(challenge: Challenge) -> list[str]:
    """The actions that count as faults, of those that are allowed."""
    return sorted(challenge.allows & FAULTS)


def _directory() -> Any:
    return files("recipes.lab") / "challenges"
