from recipes.core.primary_backup.protocol import PRIMARY_BACKUP
from tests.core.replica_suite import EnsembleSuite


class TestPrimaryBackup(EnsembleSuite):
    protocol = PRIMARY_BACKUP
    needs_all = True
