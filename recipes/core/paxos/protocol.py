"""Multi-Paxos as one of the protocols that a simulated server can run."""

from typing import Final

from recipes.core.paxos.numbers import FIRST_VALUES, settle_numbers
from recipes.core.paxos.peer import PaxosPeer
from recipes.core.paxos.wire import PAXOS_MESSAGES
from recipes.core.replication import ReplicationProtocol

PAXOS: Final = ReplicationProtocol(
    name=PAXOS_MESSAGES.protocol,
    cells=FIRST_VALUES,
    settle=settle_numbers,
    logged_counts=False,
    start=PaxosPeer,
)
