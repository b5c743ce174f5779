"""A backup: has every entry on its disk before it says so, and applies it once all have it."""

from recipes.core.replicas.stages import FollowerTable
from recipes.core.replicas.tables import FOLLOWER_MESSAGES
from recipes.core.replicas.whole_log import WholeLogFollower


class Backup(WholeLogFollower):
    """What a server does while `leader_sid` is the primary."""

    table: FollowerTable = FOLLOWER_MESSAGES
