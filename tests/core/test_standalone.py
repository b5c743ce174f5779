"""A server alone is a Replica like the others."""

from recipes.core.replication import ReplicationProtocol
from recipes.core.standalone import Standalone
from tests.core.replica_suite import ReplicaSuite

ALONE = ReplicationProtocol(
    "standalone", {}, lambda cells, *_: cells, True, lambda settings, found, now_ms: Standalone(found.last_zxid)
)


class TestStandalone(ReplicaSuite):
    protocol = ALONE
    size = 1
