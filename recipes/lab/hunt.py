"""Random runs of a protocol, in search of a seed that breaks something: calls and faults at random times, then quiet.

A seed gives one scenario, which can be run again. No fault is planned that the protocol does not claim to survive: the
textbook's commit protocols break in partitions and lose locks to dead coordinators, so theirs is the replicated
decision.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recipes.core.errors import BadArguments
from recipes.core.sim.chance import Random, between, happens
from recipes.lab.plants.registry import plant_of
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import Scenario
from recipes.lab.steps import Step

Call = tuple[str, list[Any]]
FAULTS_MS = 300
CALLS = 8


@dataclass(frozen=True)
class Hunting:
    """How a protocol is hunted.

    call: the n-th call, where and what. sites, settings: of its runs. faulty: kinds of sites that crash; the others
    stay up. calls_within_ms: a short time makes calls meet. may_stay_down: a kind of which the first site may never
    come back. last: a call after all faults, which must succeed; last_may_fail: or be refused. faults_ms: when the
    faults end. calls: how many. clients: each server has a client of its own.
    """

    call: Callable[[Random, int, Mapping[str, int]], Call]
    sites: Mapping[str, int]
    settings: Mapping[str, Any]
    faulty: tuple[str, ...]
    calls_within_ms: int = 60
    may_stay_down: str | None = None
    last: Call | None = None
    last_may_fail: bool = False
    faults_ms: int = FAULTS_MS
    calls: int = CALLS
    clients: bool = False


class SeedResult(NamedTuple):
    """What one seed showed."""

    seed: int
    outcome: Outcome


def _propose(chance: Random, number: int, sites: Mapping[str, int]) -> Call:
    return f"p{between(chance, 1, sites['proposer'])}", ["propose", f"v{number}"]


def _append(chance: Random, number: int, sites: Mapping[str, int]) -> Call:
    return f"s{between(chance, 1, sites['server'])}", ["append", f"x{number}"]


def _command(chance: Random, number: int, sites: Mapping[str, int]) -> Call:
    key = chance.choice(("x", "y"))
    command = ["get", key] if happens(chance, 0.2) else ["set", key, number]
    return f"s{between(chance, 1, sites['server'])}", command


def _replicate(chance: Random, number: int, sites: Mapping[str, int]) -> Call:
    if number == CALLS and happens(chance, 0.5):
        return "s2", ["promote", True]
    return chance.choice(("s1", "s1", "s2")), ["set", chance.choice(("x", "y")), number]


def _add(chance: Random, number: int, sites: Mapping[str, int]) -> Call:
    return f"s{between(chance, 1, sites['server'])}", ["add", "x", number, number]


def _write_all(chance: Random, number: int, sites: Mapping[str, int]) -> Call:
    if happens(chance, 0.3):
        return f"pa{between(chance, 1, sites['participant'])}", ["read", chance.choice(("x", "y"))]
    return f"co{between(chance, 1, sites['coordinator'])}", ["write", chance.choice(("x", "y")), f"v{number}"]


def _register(chance: Random, number: int, sites: Mapping[str, int]) -> Call:
    key, where = chance.choice(("x", "y")), f"s{between(chance, 1, sites['server'])}"
    kind = chance.randrange(10)
    return where, ["sync", key] if kind == 0 else ["get", key] if kind < 3 else ["set", key, f"v{number}"]


_QUICK = {"tick_ms": 30, "sync_limit": 3}  # servers give each other up after 90 ms
_PATIENT = {"retry": True, "backoff_ms": 10, "give_up_ms": 150}
_RECORD = {"decision": "replicated", "backoff_ms": 10}
_PARTIES = {"participant": 3, "coordinator": 2, "acceptor": 3}
_SERVED = Hunting(
    _register,
    {"server": 3},
    _QUICK,
    ("server",),
    1000,
    last=("s1", ["set", "x", "last"]),
    faults_ms=1200,
    calls=24,
    clients=True,
)  # what runs there as it serves
HUNTING: Mapping[str, Hunting] = {
    "paxos1": Hunting(_propose, {"acceptor": 1, "proposer": 3}, {}, ("acceptor", "proposer")),
    "paxos2": Hunting(_propose, {"acceptor": 1, "proposer": 3}, {}, ("acceptor", "proposer")),
    "paxos": Hunting(
        _propose, {"acceptor": 3, "proposer": 3}, _PATIENT, ("acceptor", "proposer"), last=("p1", ["propose", "last"])
    ),
    "paxos_log": Hunting(
        _append, {"server": 3}, {"notify": True, "backoff_ms": 10}, ("server",), last=("s1", ["append", "last"])
    ),
    "multi-paxos": Hunting(
        _command, {"server": 3}, {"lease_ms": 40, "beat_ms": 15}, ("server",), 280, last=("s1", ["set", "x", "last"])
    ),
    "copies": Hunting(_add, {"server": 3}, {"order": "sequence"}, ("server",)),
    "primary-backup": Hunting(
        _replicate, {"server": 3}, {}, ("server",), 250, last=("s1", ["set", "x", "last"]), last_may_fail=True
    ),  # s1 refuses it if s2 has taken over
    "raft": _SERVED,
    "zab": _SERVED,
    "2pc": Hunting(_write_all, _PARTIES, _RECORD, ("participant", "coordinator"), 300, "coordinator"),
    "3pc": Hunting(_write_all, _PARTIES, _RECORD, ("participant", "coordinator"), 300, "coordinator"),
}


def hunt(protocol: str, seeds: range, plant: str | None = None) -> Iterator[SeedResult]:
    """Run each seed. Raises BadArguments for an unknown protocol, or a planted bug of another one."""
    if protocol not in HUNTING:
        raise BadArguments("", f"no protocol to hunt is called {protocol!r}: expected one of {', '.join(HUNTING)}")
    if plant is not None and plant_of(plant).protocol != protocol:
        raise BadArguments("", f"the planted bug {plant} belongs to {plant_of(plant).protocol}, not to {protocol}")
    for seed in seeds:
        yield SeedResult(seed, run(scenario_of(protocol, seed, plant), plant=plant))


def scenario_of(protocol: str, seed: int, plant: str | None = None) -> Scenario:
    """The scenario of a seed. plant: a planted bug that may need more sites or other faults to show."""
    hunting = HUNTING[protocol]
    bug = plant_of(plant) if plant is not None else None
    sites = {**hunting.sites, **(bug.sites if bug else {})}
    chance: Random = random.Random(f"{seed}/plan")
    prefixes = {"acceptor": "a", "proposer": "p", "server": "s", "participant": "pa", "coordinator": "co"}
    names = [f"{prefixes[kind]}{n}" for kind, count in sites.items() for n in range(1, count + 1)]
    steps: list[tuple[int, Step]] = []
    for number in range(1, hunting.calls + 1):
        target, operation = hunting.call(chance, number, sites)
        step = {"then": "call", "target": target, "op": operation}
        step |= {"client": f"c{target[1:]}"} if hunting.clients else {}
        steps.append((chance.randrange(hunting.calls_within_ms), step))
    called = [at_ms for at_ms, _ in steps]
    faulty = [name for name in names if name.rstrip("0123456789") in {prefixes[kind] for kind in hunting.faulty}]
    for _ in range(between(chance, 2, 7)):
        steps += _fault(chance, chance.choice(called), faulty, names, hunting.faults_ms)
    over_ms = hunting.faults_ms
    if bug is not None and bug.wipes:
        target, at_ms = chance.choice(faulty), between(chance, over_ms // 3, over_ms // 2)
        steps += [(at_ms, {"then": "crash", "target": target}), (at_ms + 1, {"then": "wipe", "target": target})]
        steps.append((at_ms + 2, {"then": "start", "target": target}))
    steps.append((over_ms, {"then": "heal"}))
    steps.append((over_ms, {"then": "loss", "probability": 0.0}))
    kept_down = hunting.may_stay_down is not None and happens(chance, 0.3)
    gone = f"{prefixes[hunting.may_stay_down]}1" if hunting.may_stay_down and kept_down else None
    if gone is not None:
        steps.append((chance.choice(called) + between(chance, 3, 30), {"then": "crash", "target": gone}))
        steps = [step for step in steps if step[1] != {"then": "start", "target": gone}]
    for name in faulty:
        if name == gone:
            continue
        steps += [(over_ms, {"then": "resume", "target": name}), (over_ms, {"then": "start", "target": name})]
    if hunting.last is not None:
        target, operation = hunting.last
        steps.append((2 * over_ms + 100, {"then": "call", "target": target, "op": operation, "as": "last"}))
    steps.sort(key=lambda step: step[0])
    return Scenario(
        id=f"hunt-{protocol}",
        section="hunt",
        protocols=(protocol,),
        title={"en": f"Seed {seed}", "zh": f"种子 {seed}"},
        story={"en": "", "zh": ""},
        seed=seed,
        sites=sites,
        settings=hunting.settings,
        expects=({"reply": "last", "outcome": "ok"},) if hunting.last and not hunting.last_may_fail else (),
        steps=tuple({**step, "when": {"at_ms": at_ms}} for at_ms, step in steps),
        sync_us=(100, 3000),
        delay_us=(100, 6000),
        limit_ms=6000,
        linger_ms=2500 if "decision" in hunting.settings else 500,
        call_timeout_ms=600,
    )


def calls_of(protocol: str, count: int, sites: Mapping[str, int]) -> list[Call]:
    """So many calls, always the same ones."""
    chance: Random = random.Random("calls")
    return [HUNTING[protocol].call(chance, number, sites) for number in range(1, count + 1)]


def _fault(chance: Random, called_ms: int, faulty: list[str], names: list[str], over_ms: int) -> list[tuple[int, Step]]:
    """A fault, and its end, at random times; most begin soon after a call."""
    begin = called_ms + chance.randrange(20) if happens(chance, 0.7) else chance.randrange(over_ms - 50)
    begin = min(begin, over_ms - 50)
    end = begin + between(chance, 1, 40 if happens(chance, 0.6) else over_ms - begin - 1)
    target = chance.choice(faulty)
    what = chance.choice(("crash", "power", "power", "pause", "cut", "one way", "loss"))
    if what in ("crash", "power"):
        return [(begin, {"then": what, "target": target}), (end, {"then": "start", "target": target})]
    if what == "pause":
        return [(begin, {"then": "pause", "target": target}), (end, {"then": "resume", "target": target})]
    if what == "loss":
        return [
            (begin, {"then": "loss", "probability": 0.1 + chance.random() / 2}),
            (end, {"then": "loss", "probability": 0.0}),
        ]
    others = [name for name in names if name != target and happens(chance, 0.5)]
    cut = {"from": [target], "to": others}
    if not others:
        return []
    one_way = {"one_way": True} if what == "one way" else {}
    return [(begin, {"then": "cut", **cut, **one_way}), (end, {"then": "heal", **cut, **one_way})]
