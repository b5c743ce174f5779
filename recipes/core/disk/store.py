"""All durable effects of a server, in the order of the calls.

Entries are appended. The other operations first make every entry before them durable, and are durable themselves when
they return. Source: FileTxnSnapLog, QuorumPeer.writeLongToFile.
"""

from recipes.core.disk import replace
from recipes.core.disk.cells import write_cell
from recipes.core.disk.disk import Disk
from recipes.core.disk.recovery import Trust, load_until, recover, recover_member
from recipes.core.disk.snapshot import read_snapshot, seal_body, snapshot_name
from recipes.core.disk.txnlog import TxnLog
from recipes.core.errors import invariant
from recipes.core.replication import Cell, Entry, InstallSnapshot, Operation, Recovered, ReplicationProtocol, Truncate
from recipes.core.tree.tree import DataTree


class Store:
    """The data directory of one server.

    snapshots, logs: the directories, which may be the same one; cells are beside the snapshots.
    fill_ahead_bytes: how much of the log is filled with zeros ahead of need.
    protocol: of a member of an ensemble. None: a standalone server, without cells, which refuses a damaged log.
    trust: what may be missing.
    """

    def __init__(
        self,
        snapshots: Disk,
        logs: Disk,
        fill_ahead_bytes: int,
        protocol: ReplicationProtocol | None = None,
        trust: Trust | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._logs = logs
        self._log = TxnLog(logs, fill_ahead_bytes)
        self._protocol = protocol
        self._trust = trust or Trust()

    def recover(self, tree: DataTree) -> Recovered:
        """Fill the tree from the files. Raises DiskError if the server must not start on them."""
        if self._protocol is None:
            return recover(self._snapshots, self._logs, tree, self._trust)
        return recover_member(self._snapshots, self._logs, tree, self._protocol, self._trust)

    def append(self, entries: list[Entry]) -> None:
        """Write a batch behind the last one. Not durable before `sync`."""
        self._log.append(entries)

    def sync(self) -> None:
        """Return once everything appended is durable."""
        self._log.sync()

    def reserve(self) -> bool:
        """Reserve space for coming batches; False when the disk has none."""
        return self._log.reserve()

    def roll(self) -> None:
        """Let the next batch start a new file."""
        self._log.roll()

    def close(self) -> None:
        """Make everything durable and close the file."""
        self._log.close()

    def carry_out(self, operation: Operation) -> DataTree | None:
        """Do one operation durably; return the new tree if the operation replaces the old one.

        After a crash at any moment `recover` finds the state before the operation or the one after it. If log and
        snapshots do not allow a Truncate, the server gives up its whole history: the tree is empty, with a last zxid of
        -1, until a snapshot is installed. Raises OSError when the disk fails or is full, and DiskError, before it
        changes anything, for a snapshot that cannot be read.
        """
        if isinstance(operation, Cell):
            self._log.sync()
            write_cell(self._snapshots, operation.name, operation.value)
            return None
        self._log.roll()
        if isinstance(operation, Truncate):
            return self._truncate(operation.zxid)
        return self._install(operation)

    def _truncate(self, zxid: int) -> DataTree | None:
        if self._protocol is not None and not self._protocol.logged_counts:
            replace.truncate(self._snapshots, self._logs, zxid)  # the tree has nothing that could be taken back
            return None
        tree = load_until(self._snapshots, self._logs, zxid)
        if tree is not None:
            replace.truncate(self._snapshots, self._logs, zxid)
            return tree
        replace.give_up(self._snapshots)
        tree = DataTree()
        tree.last_zxid = -1
        return tree

    def _install(self, operation: InstallSnapshot) -> DataTree:
        zxid = operation.zxid
        invariant(zxid >= 0, "a snapshot has a zxid")
        data = seal_body(operation.body)
        tree = DataTree()
        read_snapshot(snapshot_name(zxid), data, tree)
        tree.last_zxid = zxid
        replace.install(self._snapshots, self._logs, zxid, data)
        return tree
