from recipes.core.raft.protocol import RAFT
from tests.core.replica_suite import EnsembleSuite


class TestRaft(EnsembleSuite):
    protocol = RAFT
