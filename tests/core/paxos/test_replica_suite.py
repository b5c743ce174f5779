from recipes.core.paxos.protocol import PAXOS
from tests.core.replica_suite import EnsembleSuite


class TestPaxos(EnsembleSuite):
    protocol = PAXOS
