"""The plan of a run, drawn up front: its servers, its clients' operations and its faults, each with its time.

A plan is plain lists, so that a failing one can be shrunk; see hunt.py. Each seed has only some kinds of faults: under
all of them at once, the ensemble gets so little done that few bugs would show.
"""

from collections.abc import Sequence
from typing import NamedTuple

from recipes.core.sim.chance import Random, Sources, between, happens
from recipes.core.sim.clients import KINDS, Operation

_S = 1_000_000  # µs
LEADER = 0  # as a target: the leader at that time

FAULTS = (
    "kill", "power cut", "power cut of all", "rot", "failing sync", "full disk", "slow disk", "pause", "partition",
    "one-way partition", "bridge", "isolation", "clog", "delay", "reset", "reset of votes", "clock jump", "wipe",
)  # fmt: skip
_AT_THE_LEADER = ("pause", "isolation", "slow disk")
_RARE = ("power cut of all", "rot", "wipe", "failing sync", "full disk")
FAULTS_ALONE = (  # the most important ones are listed more than once
    "power cut", "power cut", "power cut", "kill", "failing sync", "full disk", "full disk", "slow disk", "pause",
    "isolation", "delay", "reset", "clock jump",
)  # fmt: skip


class Fault(NamedTuple):
    """A fault. target: a server's id, or LEADER. for_us: its duration. amount: its meaning depends on the kind."""

    at_us: int
    kind: str
    target: int
    for_us: int
    amount: int


class Plan(NamedTuple):
    """A whole run. Times are in the unit in their name; init_limit and sync_limit are in ticks.

    rates_pm: the speed of each server's clock, in thousandths.
    alone: the one voter is a standalone server, without a replication protocol.
    in_order: a torn write is cut at one place, not sector by sector.
    end_us: when the faults end and the ensemble must recover.
    container_check_ms, container_never_used_ms: see MemberConfig. As they are, no container is removed in a run.
    """

    voters: int
    observers: int
    clients: int
    tick_ms: int
    init_limit: int
    sync_limit: int
    timeout_ms: int
    delay_us: int
    cut_probability: float
    flush_us: int
    snap_count: int
    in_order: bool
    rates_pm: tuple[int, ...]
    operations: list[Operation]
    faults: list[Fault]
    end_us: int
    alone: bool = False
    container_check_ms: int = 60_000
    container_never_used_ms: int = 0


def draw_plan(
    sources: Sources,
    voters: int = 3,
    observers: int = 0,
    operations: int = 250,
    kinds: Sequence[str] = (),
    alone: bool = False,
) -> Plan:
    """Draw a plan for these numbers of servers and client operations.

    kinds: the kinds of faults; empty: a random selection. alone: one standalone server in place of an ensemble.
    """
    chance = sources("plan")
    clients = between(chance, 3, 6)
    length_us = between(chance, 8, 20) * _S
    tick_ms = chance.choice((50, 100, 100, 200))
    servers = 1 if alone else voters + observers
    drifts = happens(chance, 0.5)
    return Plan(
        voters=1 if alone else voters,
        observers=0 if alone else observers,
        clients=clients,
        tick_ms=tick_ms,
        init_limit=between(chance, 5, 10),
        sync_limit=between(chance, 3, 6),
        timeout_ms=_draw_timeout(chance, sources("sessions"), tick_ms),
        delay_us=chance.choice((300, 1000, 1000, 3000, 10_000)),
        cut_probability=chance.choice((0.0, 0.05, 0.3)),
        flush_us=chance.choice((200, 1000, 5000)),
        snap_count=chance.choice((10, 30, 100, 1000)),
        in_order=happens(chance, 0.5),
        rates_pm=tuple(between(chance, 960, 1040) if drifts else 1000 for _ in range(servers)),
        operations=_draw_operations(sources("operations"), clients, operations, length_us),
        faults=_draw_faults(sources("faults"), servers, length_us, kinds, FAULTS_ALONE if alone else FAULTS),
        end_us=length_us,
        alone=alone,
    )


def _draw_timeout(chance: Random, of_its_own: Random, tick_ms: int) -> int:
    """A session timeout; in a quarter of the plans the shortest one allowed."""
    timeout_ms = max(4 * tick_ms, between(chance, 500, 4000))
    return 2 * tick_ms if happens(of_its_own, 0.25) else timeout_ms


def _draw_operations(chance: Random, clients: int, count: int, length_us: int) -> list[Operation]:
    keys = between(chance, 1, 4)
    found = [Operation(200_000, 0, "create", -1, 0, False)]
    at_us = 300_000
    gap_us = max(1, (length_us - at_us) // count)
    for number in range(1, count):
        # Some come in bursts, so that several requests are under way at once.
        at_us += chance.randrange(2 * gap_us) if chance.randrange(4) else 0
        kind = chance.choice(KINDS)
        if kind in ("leave", "close") and not happens(chance, 0.3):
            kind = "set"
        found.append(
            Operation(at_us, chance.randrange(clients), kind, chance.randrange(keys), number, chance.randrange(2) == 0)
        )
    return found


def _draw_faults(
    chance: Random, servers: int, length_us: int, kinds: Sequence[str], possible: Sequence[str]
) -> list[Fault]:
    kinds = kinds or [kind for kind in possible if happens(chance, 0.25 if kind in _RARE else 0.4)]
    if not kinds:
        return []
    found = []
    gap_us = between(chance, 300, 3000) * 1000
    at_us = 500_000 + chance.randrange(gap_us)
    while at_us < length_us:
        kind = chance.choice(kinds)
        target = LEADER if happens(chance, 0.7 if kind in _AT_THE_LEADER else 0.3) else 1 + chance.randrange(servers)
        for_us = (20_000 + chance.randrange(500_000)) << chance.randrange(4)
        found.append(Fault(at_us, kind, target, for_us, chance.randrange(1 << 16)))
        at_us += 1000 + chance.randrange(2 * gap_us)
    return found
