"""How a learner's history becomes the leader's: by what it lacks, by taking back what nobody committed, or whole.

Source: LearnerHandler.syncFollower. A SNAP is always right; the others are taken where the learner's history is known
to have the point they start from.
"""

from typing import NamedTuple

from recipes.core.jute.quorum import DIFF, SNAP, TRUNC
from recipes.core.zab.history import History


class Plan(NamedTuple):
    """packet: the type that opens the sync. zxid: where the learner then stands; the entries behind it follow."""

    packet: int
    zxid: int


def plan_sync(history: History, committed_zxid: int, learner_zxid: int, *, cautious: bool) -> Plan:
    """What to send to a learner whose log ends at `learner_zxid`.

    committed_zxid: of the leader's history, what is committed. cautious: the learner may keep a snapshot over a TRUNC
    that has what is to be taken back (Apache, ZOOKEEPER-1549).
    """
    if learner_zxid <= committed_zxid and history.holds(learner_zxid):
        return Plan(DIFF, learner_zxid)
    # Within one epoch entries are a prefix of what its leader proposed: a log that has one of them has all before it.
    target = committed_zxid if learner_zxid > committed_zxid else history.before(learner_zxid)
    if target is not None and history.holds(target) and not cautious and target >> 32 == learner_zxid >> 32:
        return Plan(TRUNC, target)
    return Plan(SNAP, committed_zxid)
