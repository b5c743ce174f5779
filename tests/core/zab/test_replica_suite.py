from recipes.core.zab.protocol import ZAB
from tests.core.replica_suite import EnsembleSuite


class TestZab(EnsembleSuite):
    protocol = ZAB
