from recipes.core.copies.protocol import COPIES
from tests.core.replica_suite import EnsembleSuite


class TestCopies(EnsembleSuite):
    protocol = COPIES
    needs_all = True
