"""What a server counts for operators: plain numbers, added up once per turn, batch or rare event.

A request that is answered in the millisecond in which it came adds to a count only: its latency of 0 is put in when
somebody asks. Source: ServerMetrics.java, ServerStats.java.
"""

from recipes.core.jute import opcodes as op
from recipes.core.summary import Summary

_LATE_S = 0.001  # less counts as 0, as in Java
_SLOW_SYNC_S = 1.0  # Apache's fsync.warningthresholdms
NONE_YET = -1  # a size of which there was none


class Sizes:
    """The sizes of messages in bytes: the last one, the smallest and the largest; NONE_YET before the first."""

    __slots__ = ("largest", "last", "smallest")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all sizes."""
        self.last: int = NONE_YET
        self.smallest: int = NONE_YET
        self.largest: int = NONE_YET

    def add(self, sizes: list[int]) -> None:
        """Take a message or several, in order; at least one."""
        self.last = sizes[-1]
        smallest, largest = (self.last, self.last) if len(sizes) == 1 else (min(sizes), max(sizes))
        if smallest < self.smallest or self.smallest == NONE_YET:
            self.smallest = smallest
        if largest > self.largest:
            self.largest = largest


class Stats:
    """What a server has counted since it started, or since `srst`. Times are in ms.

    updates, stale_replies: writes that clients have sent, and answers that came too late for their connection.
    reads_late, updates_late: latencies of at least 1 ms.
    prepared, commits: txns that this server has made, and applied itself, as leader or alone. proposals_received,
        informs: those that another server has made.
    logged: txns that are on disk.
    fired: by type of event, to how many watchers a change of a znode went.
    """

    __slots__ = (
        "admin_requests", "auth_failed", "batches", "bytes_received", "bytes_sent", "commit_latency", "commits",
        "connections_rejected", "digest_mismatches", "election", "events_sent", "fired", "flush", "flush_s",
        "followed", "fsync", "handshakes", "handshakes_exceeded", "handshakes_failed", "inform_latency",
        "informs", "latency_max_ms",
        "latency_min_ms", "latency_total_ms", "leader_unavailable", "loaded_ms", "loaded_txns", "logged", "looked",
        "observed", "packets_received", "packets_sent", "pauses", "prepared", "proposal_latency", "proposal_sizes",
        "proposals_received", "queue_and_flush", "queue_s", "reads_late", "reply_sizes", "resumed", "revalidated",
        "sessionless", "sessions_expired", "slow_syncs", "snapshots", "snapshots_sent", "stale_replies", "sync_s",
        "syncs", "turned_away", "unavailable", "updates", "updates_late", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.loaded_ms: Summary = Summary()
        self.loaded_txns: Summary = Summary()
        self.fsync: Summary = Summary()
        self.flush: Summary = Summary()
        self.queue_and_flush: Summary = Summary()
        self.batches: Summary = Summary()  # txns that share a sync, where there are several
        self.snapshots: Summary = Summary()
        self.election: Summary = Summary()
        self.unavailable: Summary = Summary()
        self.leader_unavailable: Summary = Summary()
        self.followed: Summary = Summary()  # from an election's end until this server serves as a follower
        self.observed: Summary = Summary()
        self.reads_late: Summary = Summary()
        self.updates_late: Summary = Summary()
        # From making a txn until it is applied, by its leader and by a learner, and until it comes to a learner. The
        # last of those that come together counts for all of them, and what takes less than 1 ms is left out.
        self.commit_latency: Summary = Summary()
        self.inform_latency: Summary = Summary()
        self.proposal_latency: Summary = Summary()
        self.fired: dict[int, Summary] = {
            kind: Summary() for kind in (op.EVENT_CREATED, op.EVENT_DELETED, op.EVENT_DATA, op.EVENT_CHILDREN)
        }
        self.reply_sizes: Sizes = Sizes()
        self.proposal_sizes: Sizes = Sizes()
        self.reset()

    def summaries(self) -> dict[str, Summary]:
        """Each summary by the name that Apache's servers give it."""
        committed = self.commit_latency.completed(self.commits)
        informed = self.inform_latency.completed(self.informs)
        return {
            "dbinittime": self.loaded_ms,
            "startup_txns_loaded": self.loaded_txns,
            "fsynctime": self.fsync.completed(self.syncs, int(self.sync_s * 1000)),
            "sync_processor_queue_flush_time_ms": self.flush.completed(self.syncs, int(self.flush_s * 1000)),
            "sync_processor_queue_and_flush_time_ms": self.queue_and_flush.completed(
                self.syncs, int(self.queue_s * 1000)
            ),
            "sync_processor_batch_size": self.batches.completed(self.written, rest=1),
            "snapshottime": self.snapshots,
            "election_time": self.election,
            "unavailable_time": self.unavailable,
            "leader_unavailable_time": self.leader_unavailable,
            "follower_sync_time": self.followed,
            "observer_sync_time": self.observed,
            "readlatency": self.reads_late.completed(self.packets_received - self.updates),
            "updatelatency": self.updates_late.completed(self.updates),
            "propagation_latency": committed.merged(informed),
            "quorum_ack_latency": committed,
            "commit_propagation_latency": informed,
            "proposal_latency": self.proposal_latency.completed(self.proposals_received),
            "node_created_watch_count": self.fired[op.EVENT_CREATED],
            "node_deleted_watch_count": self.fired[op.EVENT_DELETED],
            "node_changed_watch_count": self.fired[op.EVENT_DATA],
            "node_children_watch_count": self.fired[op.EVENT_CHILDREN],
        }

    def reset(self) -> None:
        """Start all counts anew."""
        self.packets_received: int = 0
        self.packets_sent: int = 0
        self.events_sent: int = 0
        self.latency_max_ms: int = 0
        self.latency_min_ms: int = 0
        self.latency_total_ms: int = 0
        self.auth_failed: int = 0
        self.sessions_expired: int = 0
        self.digest_mismatches: int = 0
        self.updates: int = 0
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self.stale_replies: int = 0
        self.handshakes: int = 0  # of clients, to open a session or resume one
        self.resumed: int = 0
        self.revalidated: int = 0
        self.turned_away: int = 0  # clients that came while this server did not take any
        self.connections_rejected: int = 0  # because of a limit
        self.sessionless: int = 0  # hung up on because they opened no session in time
        self.handshakes_failed: int = 0  # of TLS
        self.handshakes_exceeded: int = 0  # of TLS: given up in favour of others, because there were too many
        self.pauses: int = 0  # how often no more was read from a client until it had its answers
        self.proposals_received: int = 0
        self.commits: int = 0
        self.informs: int = 0
        self.prepared: int = 0
        self.logged: int = 0
        self.written: int = 0  # batches of txns
        self.snapshots_sent: int = 0
        self.syncs: int = 0
        self.sync_s: float = 0.0
        self.flush_s: float = 0.0
        self.queue_s: float = 0.0
        self.slow_syncs: int = 0
        self.admin_requests: int = 0
        self.looked: int = 0
        for summary in (
            self.loaded_ms, self.loaded_txns, self.fsync, self.flush, self.queue_and_flush, self.batches,
            self.snapshots, self.election, self.unavailable, self.leader_unavailable, self.followed, self.observed,
            self.reads_late, self.updates_late, self.commit_latency, self.inform_latency, self.proposal_latency,
            *self.fired.values(),
        ):  # fmt: skip
            summary.reset()
        self.reply_sizes.reset()
        self.proposal_sizes.reset()

    def waited(self, latency_ms: int, is_read: bool) -> None:
        """Count an answer that leaves `latency_ms` after its request came. A latency of 0 may be left out."""
        (self.reads_late if is_read else self.updates_late).add(latency_ms)
        self._count_latency(latency_ms, 1)

    def turn_took(self, latency_ms: int, reads_before: int) -> None:
        """Count a turn that took `latency_ms`, at least 1. reads_before: packets without updates, when it began."""
        reads = self.packets_received - self.updates - reads_before
        if reads > 0:
            self.reads_late.add(latency_ms, reads)
            self._count_latency(latency_ms, reads)

    def loaded(self, txns: int, took_ms: int) -> None:
        """Count the recovery of the data at the start. txns: those that were in the log alone."""
        self.loaded_txns.add(txns)
        self.loaded_ms.add(took_ms)

    def synced(self, sync_s: float, write_and_sync_s: float, all_s: float) -> None:
        """Count a batch, by the time that its sync took, with its writing, and with the wait for both."""
        self.syncs += 1
        self.sync_s += sync_s
        self.flush_s += write_and_sync_s
        self.queue_s += all_s
        if all_s >= _LATE_S:
            self.queue_and_flush.add(int(all_s * 1000))
            if write_and_sync_s >= _LATE_S:
                self.flush.add(int(write_and_sync_s * 1000))
            if sync_s >= _LATE_S:
                self.fsync.add(int(sync_s * 1000))
                self.slow_syncs += sync_s > _SLOW_SYNC_S

    def wrote(self, sizes: list[int]) -> None:
        """Count txns that are on disk with one sync, by their sizes in bytes."""
        self.logged += len(sizes)
        self.written += 1
        if len(sizes) > 1:
            self.batches.add(len(sizes))
            self.proposal_sizes.add(sizes)
        elif sizes[0] != self.proposal_sizes.last:
            self.proposal_sizes.add(sizes)

    def applied(self, txns: int, age_ms: int, is_leader: bool) -> None:
        """Count txns that are applied together. age_ms: since the last of them was made."""
        if is_leader:
            self.commits += txns
        else:
            self.informs += txns
        if age_ms > 0:
            (self.commit_latency if is_leader else self.inform_latency).add(age_ms, txns)

    def fire(self, kinds: list[int]) -> None:
        """Count the watch events of one change, by type."""
        for kind in dict.fromkeys(kinds):
            self.fired[kind].add(kinds.count(kind))

    def _count_latency(self, latency_ms: int, times: int) -> None:
        self.latency_total_ms += latency_ms * times
        if latency_ms > self.latency_max_ms:
            self.latency_max_ms = latency_ms
