"""How a learner's history becomes the leader's.

DIFF sends the entries that the learner lacks, TRUNC takes back entries that are not committed, SNAP sends the whole
tree. A SNAP is always right; DIFF and TRUNC need a learner whose history is known to contain the point they start from.
Source: LearnerHandler.syncFollower.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from recipes.core.errors import invariant
from recipes.core.history import History
from recipes.core.jute.codec import write_buffer
from recipes.core.jute.quorum import COMMIT, DIFF, NEWLEADER, PROPOSAL, SNAP, TRUNC
from recipes.core.replication import SnapshotRequested
from recipes.core.zab.progress import LearnerProgress
from recipes.core.zab.stages import ProgressStage
from recipes.core.zxid import counter_of, epoch_of, start_of

if TYPE_CHECKING:
    from recipes.core.zab.peer import ZabPeer

_SNAP_END = write_buffer(b"BenWasHere")


class SyncPlan(NamedTuple):
    """packet: the type that opens the sync. zxid: where the learner then stands; the entries behind it follow."""

    packet: int
    zxid: int


def plan_sync(
    history: History, committed_zxid: int, learner_zxid: int, *, cautious: bool, keeps_log: bool = False
) -> SyncPlan:
    """What to send to a learner whose log ends at `learner_zxid`.

    committed_zxid: how far the leader's history is committed. cautious: after a TRUNC the learner may keep a snapshot
    that contains what is to be taken back (Apache, ZOOKEEPER-1549). keeps_log: after a SNAP it keeps its log, and at
    its next start applies the entries there behind the snapshot.
    """
    if learner_zxid <= committed_zxid and history.holds(learner_zxid):
        return SyncPlan(DIFF, learner_zxid)
    target = committed_zxid if learner_zxid > committed_zxid else history.before(learner_zxid)
    if target is None or cautious or not history.holds(target):
        return SyncPlan(SNAP, committed_zxid)
    # A log's entries of one epoch are a prefix of what its leader proposed: a log with one of them has all before it.
    # A later epoch of which nothing was committed began with exactly what is committed here. A zxid with counter 0
    # names a snapshot: no log holds it, and an Apache server exits when told to cut what its log does not hold.
    is_logged = counter_of(learner_zxid) != 0
    if epoch_of(target) == epoch_of(learner_zxid) or (keeps_log and is_logged and learner_zxid > committed_zxid):
        return SyncPlan(TRUNC, target)
    return SyncPlan(SNAP, committed_zxid)


class Synchronizer:
    """Brings learners to the leader's history and has its proposals follow. The leader's epoch is on its disk.

    learners: all of them, by sid.
    """

    __slots__ = ("_epoch", "_initial_zxid", "_learners", "_peer")

    def __init__(self, peer: "ZabPeer", epoch: int, learners: Mapping[int, LearnerProgress]) -> None:
        self._peer = peer
        self._learners = learners
        self._epoch = epoch
        self._initial_zxid = peer.history.last_zxid

    def begin(self, learner: LearnerProgress) -> None:
        """Start to sync a learner that has said where its log ends."""
        peer = self._peer
        cautious = not learner.ours and learner.accepted_epoch != epoch_of(learner.last_zxid)
        plan = plan_sync(
            peer.history, peer.committed_zxid, learner.last_zxid, cautious=cautious, keeps_log=not learner.ours
        )
        learner.sync = SNAP if plan.packet == SNAP else DIFF
        if why := self._why_not_now(learner):
            learner.link.close(why)
            return
        if plan.packet == SNAP:
            peer.tell(SnapshotRequested(learner.link.key))
            return
        # A DIFF names where the learner will be when it has everything, a TRUNC where it is to start from.
        learner.send(plan.packet, peer.committed_zxid if plan.packet == DIFF else plan.zxid)
        peer.diffs_sent += plan.packet == DIFF
        self._note(learner, f"a {'DIFF' if plan.packet == DIFF else 'TRUNC'} from 0x{plan.zxid:x}")
        self._send_history(learner, plan.zxid)

    def _why_not_now(self, learner: LearnerProgress) -> str:
        """Why this learner has to come again later; empty if it may be synced now.

        Source: LearnerSyncThrottler.java. A sync ends with the learner's ACK of NEWLEADER.
        """
        settings = self._peer.settings
        key, most = ("Snap", settings.most_snaps) if learner.sync == SNAP else ("Diff", settings.most_diffs)
        under_way = sum(other.sync == learner.sync and not other.counted for other in self._learners.values()) - 1
        if not learner.observer or under_way < most:
            return ""
        given = "the whole tree" if learner.sync == SNAP else "what they lack"
        return f"{under_way} learners are being sent {given}, all that maxConcurrent{key}Syncs allows: come again later"

    def dumped(self, learner: LearnerProgress, zxid: int, chunks: Iterator[bytes]) -> None:
        """Send the tree as it was at `zxid`, perhaps with some later changes."""
        invariant(
            zxid >= self._initial_zxid, f"a SNAP of 0x{zxid:x} without the history up to 0x{self._initial_zxid:x}"
        )
        self._note(learner, f"a SNAP of 0x{zxid:x}")
        learner.send(SNAP, zxid)
        learner.link.send(chunks)
        learner.link.send(_SNAP_END)
        self._send_history(learner, zxid)

    def _note(self, learner: LearnerProgress, way: str) -> None:
        self._peer.note(f"server {learner.sid}, whose log ends at 0x{learner.last_zxid:x}, gets {way}")

    def _send_history(self, learner: LearnerProgress, zxid: int) -> None:
        """Send the entries behind `zxid`, then NEWLEADER; from here on the learner gets all that is new."""
        peer = self._peer
        for entry in peer.history.behind(zxid):
            if entry.zxid <= peer.committed_zxid:
                learner.send(PROPOSAL, entry.zxid, entry.payload)
                learner.send(COMMIT, entry.zxid)
            elif not learner.observer:
                learner.send(PROPOSAL, entry.zxid, entry.payload)
        learner.synced_zxid = max(zxid, peer.committed_zxid)
        learner.enter(ProgressStage.SYNCING)
        learner.send(NEWLEADER, start_of(self._epoch), peer.settings.membership.config_text())
