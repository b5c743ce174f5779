from recipes.core.primary_backup.backup import Backup
from recipes.core.primary_backup.primary import Primary
from recipes.core.primary_backup.wire import PRIMARY_BACKUP_MESSAGES
from recipes.core.replicas.tables import FOLLOWER_MESSAGES, FOLLOWER_MOVES, PROGRESS_MESSAGES, PROGRESS_MOVES
from tests.core.replicas.tables import Table


def test_every_step_is_a_method_and_every_stage_is_reached():
    Table(PRIMARY_BACKUP_MESSAGES, Backup, FOLLOWER_MESSAGES, FOLLOWER_MOVES).check_whole()
    Table(PRIMARY_BACKUP_MESSAGES, Primary, PROGRESS_MESSAGES, PROGRESS_MOVES).check_whole()
