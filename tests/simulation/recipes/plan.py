"""What a run of recipes is to go through: servers and their faults, the steps of processes, and their faults."""

from typing import NamedTuple

from recipes.core.sim.chance import between, happens
from recipes.core.sim.plan import Fault, Plan, draw_plan
from recipes.core.sim.process_faults import PROCESS_FAULTS

SERVER_FAULTS = (
    "kill", "power cut", "power cut of all", "slow disk", "pause", "partition", "one-way partition", "isolation",
    "clog", "delay", "reset", "failing sync", "full disk",
)  # fmt: skip
STEPS = 220  # in each run
HOLDER = -1  # as a target: a process that holds something at that time


class Step(NamedTuple):
    """Something a process is to do. key: which of a few paths; for_us: how long what it gets is held.

    limit_us: how long after its beginning it is cancelled; how: by a "scope", by its "task", or not at all.
    """

    at_us: int
    process: int
    kind: str
    key: int
    number: int
    for_us: int
    limit_us: int
    how: str


class RecipePlan(NamedTuple):
    """A whole run. rates_pm: how fast each process's clock goes, in thousandths.

    bounded: no two clocks differ in rate by more than 5 %, so that a client knows of the end of its session in time.
    """

    servers: Plan
    rates_pm: tuple[int, ...]
    bounded: bool
    steps: list[Step]
    faults: list[Fault]


def draw_recipe_plan(sources, kinds, voters=3, steps=STEPS, faults=None) -> RecipePlan:
    """kinds: what steps there are. faults: the only kinds of fault there may be; any of them without it."""
    chance = sources("recipe plan")
    only = None if faults is None else [kind for kind in faults if kind in SERVER_FAULTS]
    server_kinds = [kind for kind in SERVER_FAULTS if happens(chance, 0.25)] if only is None else only
    servers = draw_plan(sources, voters, 0, 1, server_kinds or ("reset of votes",))
    bounded = happens(chance, 0.85)
    drifts = happens(chance, 0.5)
    length_us = between(chance, 6, 10) * 1_000_000
    servers = servers._replace(
        clients=0,
        operations=[],
        tick_ms=min(servers.tick_ms, 100),
        timeout_ms=between(chance, 600, 3000),
        delay_us=min(servers.delay_us, 3000),
        # By 2 % each at the most, so that two of them differ by less than 5 %.
        rates_pm=tuple(1000 + (rate - 1000) // 2 for rate in servers.rates_pm),
        faults=[fault for fault in servers.faults if fault.at_us < length_us] if server_kinds else [],
        end_us=length_us,
        **draw_containers(sources("containers")),
    )
    processes = between(chance, 3, 5)
    if not bounded:
        rates = tuple(between(chance, 500, 2000) for _ in range(processes))
    else:
        rates = tuple(between(chance, 980, 1020) if drifts else 1000 for _ in range(processes))
    return RecipePlan(
        servers, rates, bounded,
        _draw_steps(sources("steps"), processes, kinds, steps, length_us),
        _draw_faults(sources("client faults"), processes, length_us, faults),
    )  # fmt: skip


def draw_containers(chance):
    """When servers remove empty containers: in half of the runs at once, or nearly, and in some also unused ones."""
    if happens(chance, 0.5):
        return {}
    return {
        "container_check_ms": chance.choice((1, 50, 300)),
        # A container is made and used in two requests, of a few ms each.
        "container_never_used_ms": chance.choice((0, 0, 1, 20)),
    }


def _draw_steps(chance, processes, kinds, count, length_us):
    keys = between(chance, 1, 3)
    found = []
    at_us = 700_000
    gap_us = (length_us - at_us) // count
    for number in range(count):
        at_us += chance.randrange(2 * gap_us) if chance.randrange(3) else 0
        how = chance.choice(("", "", "", "scope", "task"))
        # Many limits fall into the first moments, where requests are under way.
        limit_us = chance.randrange(5_000 if chance.randrange(2) else 400_000) if how else -1
        for_us = chance.randrange(20_000) << (2 * chance.randrange(3) if chance.randrange(4) == 0 else 0)
        if chance.randrange(25) == 0:  # long enough for a session to end meanwhile
            for_us = 300_000 + chance.randrange(3_000_000)
        kind = chance.choice(kinds)
        if chance.randrange(40) == 0:
            kind = "close"
        found.append(
            Step(
                at_us, chance.randrange(processes), kind, chance.randrange(keys), number, for_us,
                limit_us, how,
            )
        )  # fmt: skip
    return found


def _draw_faults(chance, processes, length_us, kinds):
    if kinds is None:
        kinds = [kind for kind in PROCESS_FAULTS if happens(chance, 0.4)]
    kinds = [kind for kind in kinds if kind in PROCESS_FAULTS]
    found = []
    if not kinds:
        return found
    gap_us = between(chance, 200, 1200) * 1000
    at_us = 800_000 + chance.randrange(gap_us)
    while at_us < length_us:
        for_us = (10_000 + chance.randrange(400_000)) << chance.randrange(3)
        target = HOLDER if happens(chance, 0.6) else chance.randrange(processes)
        found.append(Fault(at_us, chance.choice(kinds), target, for_us, chance.randrange(1 << 16)))
        at_us += 1000 + chance.randrange(2 * gap_us)
    return found
