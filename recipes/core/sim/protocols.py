"""The replication protocols that can be simulated. The simulator names a protocol nowhere else."""

from collections.abc import Callable
from typing import NamedTuple

from recipes.core.paxos.protocol import PAXOS
from recipes.core.primary_backup.protocol import PRIMARY_BACKUP
from recipes.core.protocols import find_protocol
from recipes.core.replication import ReplicationProtocol
from recipes.core.sim.checks import Ledger
from recipes.core.sim.paxos_rules import PaxosRules
from recipes.core.sim.primary_backup_rules import PrimaryBackupRules
from recipes.core.sim.raft_rules import RaftRules
from recipes.core.sim.rules import Rules
from recipes.core.sim.zab_rules import ZabRules


class SimulatedProtocol(NamedTuple):
    """A protocol, and what the simulator checks of it. rules(ledger, packets, states): the last two are counts."""

    protocol: ReplicationProtocol
    rules: Callable[[Ledger, dict[str, int], dict[str, int]], Rules]


_RULES: dict[str, Callable[[Ledger, dict[str, int], dict[str, int]], Rules]] = {"zab": ZabRules, "raft": RaftRules}
# Those that no server runs: only here and in the laboratory.
_SIMULATED = {
    "multi-paxos": SimulatedProtocol(PAXOS, PaxosRules),
    "primary-backup": SimulatedProtocol(PRIMARY_BACKUP, PrimaryBackupRules),
}


def find_simulated(name: str) -> SimulatedProtocol:
    """The protocol of this name."""
    return _SIMULATED.get(name) or SimulatedProtocol(find_protocol(name), _RULES[name])
