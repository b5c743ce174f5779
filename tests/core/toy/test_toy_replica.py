from tests.core.replica_suite import EnsembleSuite
from tests.core.toy.replica import TOY


class TestToy(EnsembleSuite):
    protocol = TOY
