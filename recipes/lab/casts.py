"""The protocols of the laboratory: which sites they have, which machine each site runs, and what is checked.

The only place where the laboratory names a protocol's code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.core.agree import (
    backup,
    copies,
    multipaxos,
    mutual_exclusion,
    paxos,
    paxos_log,
    preemption,
    threephase,
    twophase,
)
from recipes.core.agree.acceptor import Acceptor
from recipes.core.agree.machine import Machine
from recipes.core.errors import BadArguments

MOST_SITES = 25


@dataclass(frozen=True)
class Part:
    """Sites of one kind. prefix: what their names begin with. machine: None for the servers themselves.

    count: how many there are if nothing is said.
    """

    kind: str
    prefix: str
    machine: type[Machine] | None
    count: int


@dataclass(frozen=True)
class Protocol:
    """A protocol. title: its name for people. parts: its sites. checks: the names of its checks, in order.

    mode: "textbook" for a protocol as books have it, "served" for the code that serves.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    checks: tuple[str, ...]
    mode: str = "textbook"

    @property
    def served(self) -> bool:
        """Whether the sites are the servers themselves."""
        return self.mode == "served"


_COMMIT = ("T1", "T2", "T3", "T4", "T5")
_RAFT = tuple(f"RF{number}" for number in range(1, 11))
_ZAB = ("Z1", "Z2", "Z5", "Z8", "Z9", "Z10", "Z11")
_CLIENTS = ("A1", "A2", "A3", "A4", "A5", "A6", "L1")
_PAXOS = ("P1", "P2", "P3", "P4", "P5", "P6", "P8")


def _commit_parts(participant: type[Machine], coordinator: type[Machine]) -> tuple[Part, ...]:
    """The sites of a commit protocol; acceptors only where the decision is replicated."""
    return (
        Part("participant", "pa", participant, 3),
        Part("coordinator", "co", coordinator, 1),
        Part("acceptor", "a", Acceptor, 0),
    )


_SERVERS = (Part("server", "s", None, 3), Part("observer", "o", None, 0))
PROTOCOLS: Mapping[str, Protocol] = {
    each.name: each
    for each in (
        Protocol("copies", "Copies without agreement", (Part("server", "s", copies.Copy, 3),), ("A2",)),
        Protocol("primary-backup", "Primary-backup", (Part("server", "s", backup.Server, 3),), ("B1", "B2", "B3")),
        Protocol(
            "multi-paxos",
            "Multi-Paxos",
            (Part("server", "s", multipaxos.Server, 3),),
            (*_PAXOS, "P7", "A2", "A4", "A6", "L1"),
        ),
        Protocol(
            "2pc",
            "Two-phase commit",
            _commit_parts(twophase.Participant, twophase.Coordinator),
            _COMMIT,
        ),
        Protocol(
            "3pc",
            "Three-phase commit",
            _commit_parts(threephase.Participant, threephase.Coordinator),
            _COMMIT,
        ),
        Protocol(
            "paxos1",
            "Paxos, first step",
            (Part("acceptor", "a", mutual_exclusion.Acceptor, 1), Part("proposer", "p", mutual_exclusion.Proposer, 2)),
            ("V1", "V2"),
        ),
        Protocol(
            "paxos2",
            "Paxos, second step",
            (Part("acceptor", "a", Acceptor, 1), Part("proposer", "p", preemption.Proposer, 2)),
            ("V1", "V2"),
        ),
        Protocol(
            "paxos",
            "Paxos",
            (
                Part("acceptor", "a", Acceptor, 3),
                Part("proposer", "p", paxos.Proposer, 2),
                Part("learner", "l", paxos.Learner, 0),
            ),
            _PAXOS,
        ),
        Protocol(
            "paxos_log",
            "A Paxos per log entry",
            (Part("server", "s", paxos_log.Server, 3),),
            (*_PAXOS, "P7", "A2", "A4"),
        ),
        Protocol("raft", "Raft", _SERVERS, (*_RAFT, *_CLIENTS), "served"),
        Protocol("zab", "ZAB", _SERVERS, (*_ZAB, *_CLIENTS), "served"),
    )
}


def protocol_of(name: str) -> Protocol:
    """The protocol with this name. Raises BadArguments if there is none."""
    found = PROTOCOLS.get(name)
    if found is None:
        raise BadArguments("", f"no protocol is called {name!r}: expected one of {', '.join(PROTOCOLS)}")
    return found


def members_of(
    protocol: Protocol, counts: Mapping[str, int], replaced: Mapping[type[Any], type[Any]]
) -> dict[str, tuple[str, type[Machine] | None]]:
    """The sites of a run: name to kind and machine. replaced: machines with a planted bug, by the right ones."""
    kinds = [part.kind for part in protocol.parts]
    for kind, count in counts.items():
        if kind not in kinds:
            raise BadArguments("", f"{protocol.name} has no {kind}: expected {', '.join(kinds)}")
        if not isinstance(count, int) or not 0 <= count <= MOST_SITES:
            raise BadArguments("", f"{kind} = {count!r}: expected a number of sites from 0 to {MOST_SITES}")
    return {
        f"{part.prefix}{number}": (part.kind, part.machine and replaced.get(part.machine, part.machine))
        for part in protocol.parts
        for number in range(1, counts.get(part.kind, part.count) + 1)
    }
