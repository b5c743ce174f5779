"""A follower in raft: it serves once it knows all that was committed. replicas/tables.py has the stages."""

from recipes.core.replicas.follower import Follower as AnyFollower
from recipes.core.replicas.stages import FollowerTable
from recipes.core.replicas.tables import FOLLOWER_MESSAGES
from recipes.core.zxid import start_of


class Follower(AnyFollower):
    """What a server does while `leader_sid` leads its term."""

    table: FollowerTable = FOLLOWER_MESSAGES

    def _may_serve(self, zxid: int) -> bool:
        # The leader has committed an entry of its own term, and so knows of everything that was committed before.
        return zxid > start_of(self._peer.term)
