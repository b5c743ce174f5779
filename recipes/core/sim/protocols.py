"""The replication protocols that can be simulated. The simulator names a protocol nowhere else."""

from collections.abc import Callable
from typing import NamedTuple

from recipes.core.paxos.protocol import PAXOS
from recipes.core.primary_backup.protocol import PRIMARY_BACKUP
from recipes.core.raft.protocol import RAFT
from recipes.core.replication import ReplicationProtocol
from recipes.core.sim.checks import Ledger
from recipes.core.sim.paxos_rules import PaxosRules
from recipes.core.sim.primary_backup_rules import PrimaryBackupRules
from recipes.core.sim.raft_rules import RaftRules
from recipes.core.sim.rules import Rules
from recipes.core.sim.zab_rules import ZabRules
from recipes.core.zab.protocol import ZAB


class SimulatedProtocol(NamedTuple):
    """A protocol, and what the simulator checks of it. rules(ledger, packets, states): the last two are counts."""

    protocol: ReplicationProtocol
    rules: Callable[[Ledger, dict[str, int], dict[str, int]], Rules]


# The last two run on no server: only here and, as small machines, in the laboratory.
_SIMULATED = {
    each.protocol.name: each
    for each in (
        SimulatedProtocol(ZAB, ZabRules),
        SimulatedProtocol(RAFT, RaftRules),
        SimulatedProtocol(PAXOS, PaxosRules),
        SimulatedProtocol(PRIMARY_BACKUP, PrimaryBackupRules),
    )
}


def find_simulated(name: str) -> SimulatedProtocol:
    """The protocol of this name. Raises ValueError if there is none."""
    if name not in _SIMULATED:
        raise ValueError(f"protocol {name!r}: expected one of {', '.join(_SIMULATED)}")
    return _SIMULATED[name]
