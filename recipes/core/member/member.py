"""One server, as pure code: bytes, ticks and "it is on disk" in; bytes and writes out.

A shell (the real one or the simulator's) owns the sockets, the clock and the disk; turn.py drives both. Per turn it
calls `begin_turn`, passes inputs in, puts `take_writes` on disk, calls `flushed`, and has the connections in
`take_touched` sent. No write is answered before it is in `flushed`: the reply is made when the Replica commits it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final

from recipes.core.codes import SESSION_MOVED
from recipes.core.disk.snapshot import dump_tree
from recipes.core.errors import invariant
from recipes.core.forwarding import Forwarded, Revalidated
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import Ids
from recipes.core.jute.requests import is_whole_multi
from recipes.core.jute.txns import Txn
from recipes.core.member.admin import four_letter
from recipes.core.member.commits import Commits
from recipes.core.member.config import MemberConfig
from recipes.core.member.connection import Connection
from recipes.core.member.costs import TURN_UNITS
from recipes.core.member.facts import Facts
from recipes.core.member.handshakes import Handshakes
from recipes.core.member.leading import SLICED_WRITES, Leading
from recipes.core.member.leaving import Leaving
from recipes.core.member.read_only import ReadOnly, ReadOnlyConnection
from recipes.core.member.stats import Stats
from recipes.core.member.store_memory import StoreMemory
from recipes.core.replication import (
    Entry,
    Event,
    Operation,
    Replica,
    RoleChanged,
    SecretShared,
    SnapshotRequested,
    Synced,
    Write,
)
from recipes.core.tree.acl import UNCHECKED, permits, shared
from recipes.core.tree.request import Request
from recipes.core.tree.session_end import SessionEnd
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import Applied, DataTree
from recipes.core.zxid import counter_of, epoch_of

_COMPARED_EVERY: Final = 128  # txns; the last one is compared too, at the next tick
_MOST_COUNTED: Final = 5000  # znodes below a quota in one turn


class Member:
    """One server of any role: connections, sessions, tree, and a Replica that orders the txns.

    tree: as recovered from the disk. replica: starts from the same zxid.
    now_ms, wall_ms: a clock that never goes back, and the wall clock.
    """

    def __init__(self, config: MemberConfig, tree: DataTree, replica: Replica, now_ms: int, wall_ms: int) -> None:
        self.config = config
        self.stats: Stats = Stats()
        self.now_ms: int = now_ms
        self.wall_ms: int = wall_ms
        self.started_ms = now_ms
        self.connections: dict[int, Connection] = {}
        self.disk_full: bool = False
        self.serving: bool = False
        self.facts: Facts = Facts()  # the shell replaces it with one that knows more
        self.observe: Callable[[Entry], None] | None = None  # called before an entry is applied, by a simulation
        self.session_secret: bytes | None = config.session_secret
        self.trace_mask = 306  # kept for operators who set it; nothing is traced
        self._replica = replica
        self.memory: StoreMemory = StoreMemory(config.store_limit_bytes)
        self.leading: Leading | None = None
        self._waiting: deque[Request] = deque()  # made here, not yet committed; in the order of their txns
        self._writes: list[Write] = []
        self._touched: list[Connection] = []
        self.late: OrderedDict[Connection, None] = OrderedDict()  # with work for which a turn had no time
        self.unread: set[Connection] = set()  # whose clients do not read fast enough: the shell says so
        self._next_key = 0
        self._last_applied: Entry | None = None
        self._counted_zxid: int = 0  # up to here txns are counted for operators
        self.units_left: int = TURN_UNITS
        self._turn_units = config.turn_units
        self.handshakes: Handshakes = Handshakes(self, replica)
        self.read_only: ReadOnly = ReadOnly(self, replica)
        self._use(tree)
        if replica.serving:
            self._change_role(True)

    @property
    def role(self) -> str:
        """standalone, leader, follower, observer, looking or read-only."""
        return "read-only" if self.read_only.serving else self._replica.role

    @property
    def takes_clients(self) -> bool:
        """Whether a client that wants to write can open a session here."""
        return self.serving and (self.config.leader_serves or self.role != "leader")

    @property
    def answers(self) -> bool:
        """Whether this server serves clients, if only readers: else it knows little that operators ask about."""
        return self.serving or self.read_only.serving

    def hangs_up_ms(self, connection: Connection) -> int:
        """The time up to which this connection may stay silent from now on, to the tick."""
        tick_ms = self.config.tick_ms
        silent_ms = connection.timeout_ms or self.config.max_session_timeout_ms
        return -(-(self.now_ms + silent_ms) // tick_ms) * tick_ms

    @property
    def outstanding(self) -> int:
        """Requests accepted and not yet answered."""
        return len(self._waiting)

    @property
    def tracker(self) -> SessionTracker:
        """The sessions that this server tracks: all of them as leader, its own in read-only mode, else none."""
        return self.leading.tracker if self.leading is not None else self.read_only.tracker

    # What the shell calls.

    def begin_turn(self, now_ms: int, wall_ms: int) -> None:
        """Set the time, once per turn."""
        self.now_ms = now_ms
        self.wall_ms = wall_ms
        self.units_left = TURN_UNITS
        self.commits.left = self._turn_units

    def connect(self, address: tuple[str, int], ids: Ids = (), secure: bool = False) -> Connection:
        """A client has connected from `address` (host, port). ids: the identities that its certificate proves.

        A client on a Unix socket has no host: no ACL entry with an address matches it.
        """
        self._next_key += 1
        ip = ((b"ip", address[0].encode()),) if address[0] else ()
        kind = ReadOnlyConnection if self.read_only.serving else Connection
        ids = ip + ids + (UNCHECKED if self.config.skip_acl else ())
        connection = kind(self, self._next_key, address, ids, secure)
        self.connections[connection.key] = connection
        return connection

    def tick(self) -> None:
        """Do what is due: end sessions that were not heard from, remove containers and znodes past their TTL."""
        if self.leading is not None and not self.disk_full:
            self.stats.sessions_expired += self.leading.tick(self.now_ms, self.wall_ms)
        self.read_only.tick()
        if self._last_applied is not None and self.serving:
            self._compare(self._last_applied)
            self.count_commits()
            self._last_applied = None  # it may have many thousands of parts

    def stalled(self, by_ms: int) -> None:
        """This server has stood still for so long, and could hear from nobody: no session ends for that."""
        self.tracker.extend(by_ms)

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do, so that the next turn should come soon."""
        commits = self.commits
        if self.late or commits.behind or commits.gone or self._leaving.waiting or self.tree.quotas.counting:
            return True
        return self.leading is not None and self.leading.has_work and not self.disk_full

    def work(self) -> None:
        """Go on with what takes several turns. Others' requests come between these."""
        self.commits.go_on()
        if self.leading is not None and self.leading.has_work and not self.disk_full:
            self.stats.sessions_expired += self.leading.work(self.now_ms, self.wall_ms)
        self._leaving.go_on()
        late = self.late
        for _ in range(len(late)):
            if self.units_left <= 0:
                break
            connection, _ = late.popitem(last=False)
            if connection in self.unread:
                continue  # it goes on once its client reads
            connection.go_on()
            if connection.has_work:
                late[connection] = None
            self.touch(connection)  # so that the shell reads from it again
        if self.tree.quotas.counting:
            self.tree.quotas.count_some(self.tree.nodes, _MOST_COUNTED)

    def no_space(self, full: bool) -> None:
        """The disk has no room for more txns, or has it again. Meanwhile reads go on and no session expires."""
        if self.disk_full and not full and self.leading is not None:
            self.leading.tracker.rearm(self.now_ms)
        self.disk_full = full
        self._replica.no_space(full)

    def measure_memory(self) -> str | None:
        """Measure the store. While it is full a leader refuses what adds to it. What an operator must know, if any."""
        memory, leading = self.memory, self.leading
        used_bytes = self.tree.memory_bytes() + self._replica.remember(memory.most_remembered_bytes)
        if leading is not None:
            used_bytes += leading.preparer.pending.under_way_bytes()
        memory.measured(used_bytes)
        if leading is not None:
            leading.preparer.store_is_full = memory.full
        return memory.say(leading is not None)

    def take_writes(self) -> list[Write]:
        """What to put on disk in this order; then call `flushed` with the last entry's zxid, `written` for the rest."""
        self._advance()
        self.read_only.end_turn()
        writes, self._writes = self._writes, []
        return writes

    def count_writes(self, writes: list[Write]) -> None:
        """Count for operators what `take_writes` has given."""
        stats, last = self.stats, writes[-1]
        if self.leading is not None:
            stats.prepared += len(writes)
        elif self.serving and type(last) is Entry and last.txn is not None:
            stats.proposals_received += len(writes)
            if self.wall_ms > last.txn[3]:
                stats.proposal_latency.add(self.wall_ms - last.txn[3], len(writes))

    def count_commits(self) -> None:
        """Count for operators what was applied in this turn, if anything was. Zxids of one epoch have no gaps."""
        entry, before = self._last_applied, self._counted_zxid
        if entry is None or entry.txn is None or entry.zxid == before:
            return
        zxid, txn = entry.zxid, entry.txn
        self._counted_zxid = zxid
        count = zxid - before if epoch_of(zxid) == epoch_of(before) else counter_of(zxid)
        if self.serving and count > 0:
            self.stats.applied(count, self.wall_ms - txn[3], self.leading is not None)

    def flushed(self, zxid: int) -> None:
        """Every entry up to `zxid` is on disk."""
        self._replica.flushed(zxid)
        self._advance()

    def written(self, operation: Operation, tree: DataTree | None) -> None:
        """The operation is on disk. tree: the new tree, where the operation has replaced it."""
        if tree is not None:
            self._use(tree)
        self._replica.written(operation, tree.last_zxid if tree is not None else 0)
        self._advance()

    def take_touched(self) -> list[Connection]:
        """Connections with something to send, or to be closed, since the last call."""
        touched, self._touched = self._touched, []
        for connection in touched:
            connection.touched = False
            count = len(connection.out)
            connection.packets_out += count
            connection.last_answer_ms = self.now_ms
            self.stats.packets_sent += count
            self.stats.events_sent += connection.events
            connection.events = 0
        return touched

    # What connections call.

    def touch(self, connection: Connection) -> None:
        """The connection has something for the shell."""
        if not connection.touched and not connection.closed:
            connection.touched = True
            self._touched.append(connection)

    def postpone(self, connection: Connection) -> None:
        """The connection has work for which this turn has no time: it goes on in `work`, as soon as there is time."""
        self.late[connection] = None

    def keep_session_alive(self, connection: Connection) -> None:
        """The connection's session is alive."""
        learner = self._replica.learner
        if learner is not None:
            learner.touch(connection.session_id, connection.timeout_ms)
        else:
            self.tracker.touch(connection.session_id, self.now_ms)

    def in_touch(self, timeout_ms: int) -> bool:
        """Whether a session of this timeout whose client this server hears from is sure to live on."""
        return self._replica.in_touch(timeout_ms)

    def submit(self, request: Request) -> bool:
        """Take a write; False when it cannot be taken: there is no room on the disk, or no leader to send it to."""
        learner = self._replica.learner
        if self.disk_full or not self.serving:
            return False
        if request.op in SLICED_WRITES:
            is_foreign = learner is not None and not learner.leader_is_ours
            if is_foreign and request.op == op.MULTI and not is_whole_multi(request.body):
                return False  # Apache's leader never answers it; this server's later writes would wait for the answer
            if self.leading is not None:
                self._waiting.append(request)
                self.leading.propose_in_slices(request, self.wall_ms)
                return True
        self._waiting.append(request)
        if self.leading is not None:
            self.leading.propose(request, self.wall_ms)
        elif learner is not None:
            ids = shared(request.ids)
            request.zxid = 1 + learner.forward(request.session_id, request.cxid, request.op, request.body, ids)
        return True

    def sync(self, request: Request) -> None:
        """Complete the request once everything committed by now is applied."""
        if self.leading is not None:
            self.leading.in_order(lambda _: self._sync(request), self.wall_ms)
        else:
            self._sync(request)

    def _sync(self, request: Request) -> None:
        self._replica.sync(request, request.session_id, request.cxid, request.body, shared(request.ids))

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self.connections.pop(connection.key, None)
        self.late.pop(connection, None)
        self.unread.discard(connection)
        self.handshakes.forget(connection)
        self._leaving.add(connection)
        if self.units_left > 0:
            self.units_left -= self._leaving.go_on()

    def four_letter(self, word: bytes) -> bytes | Iterator[bytes] | None:
        """The answer to a four-letter word, in pieces if it may be long, or None when it is not one."""
        return four_letter(self, word)

    # What the replica decides.

    def _advance(self) -> None:
        """Collect writes, apply commits and handle events, until the Replica has no more."""
        while True:
            ready = self._replica.take_ready()
            if ready.writes:
                self._writes += ready.writes
            if ready.commits:
                self.commits.add(ready.commits)
            if not ready.events:
                return
            for event in ready.events:
                self._handle(event)

    # What the commits call, in their order.

    def applied(self, last: Entry) -> None:
        """The tree has everything up to this entry."""
        self._last_applied = last
        if self.leading is not None:
            self.leading.applied(last.zxid)

    def synced(self, sync: Synced) -> None:
        """Everything that was committed when this sync came in is applied."""
        if isinstance(sync.token, Request):
            self._complete(sync.token, (0, None, None, None))

    def commit(self, entry: Entry, txn: Txn, end: SessionEnd | None = None) -> None:
        """Apply an entry and answer its request. end: of the session that it closes, if it was looked for before."""
        tree = self.tree
        if self.observe is not None:
            self.observe(entry)
        applied = tree.apply(txn, entry.digest, end)
        if entry.claimed is not None and not txn[2] % _COMPARED_EVERY:
            self._compare(entry)
        if tree.fired:
            self._deliver_fired()
        session_id, cxid, zxid, _, kind, _ = txn
        # If this txn comes from a request of this server, that is the first in `_waiting`: txns come back in order.
        # Session and cxid alone do not identify the request: its client may have used the cxid before, on another
        # server, and the txn that closes an expired session has the cxid 0.
        request, waiting = None, self._waiting
        if waiting:
            first = waiting[0]
            if first.cxid == cxid and first.session_id == session_id and first.zxid <= zxid:
                if kind != op.CLOSE_SESSION or first.op == op.CLOSE_SESSION:
                    request = waiting.popleft()
                    request.zxid = zxid
        elif kind != op.CLOSE_SESSION:
            return
        closes = request is not None and request.op == op.CLOSE_SESSION and applied[0] != SESSION_MOVED
        if closes or kind == op.CLOSE_SESSION:
            self._end_session(session_id, applied, request)
        elif request is not None:
            self._complete(request, applied)

    def _end_session(self, session_id: int, applied: Applied, request: Request | None) -> None:
        if self.leading is not None and applied[0] == 0:
            self.leading.ended(session_id)
        connection = self.handshakes.by_session.get(session_id)
        self.handshakes.ended(session_id)
        if request is not None and isinstance(request.origin, Connection):
            request.origin.complete(request, applied)
            request.origin.close()
        if connection is not None:
            connection.close()

    def _compare(self, entry: Entry) -> None:
        """Compare the tree's digest with the leader's. Until clients are served, a snapshot may show later txns."""
        if entry.claimed is not None and entry.claimed != self.tree.digest and self.serving:
            self.stats.digest_mismatches += 1
            entry.claimed = None  # once is enough

    def _complete(self, request: Request, applied: Applied) -> None:
        connection = request.origin
        if not isinstance(connection, Connection):
            return
        if request.op != op.CREATE_SESSION:
            connection.complete(request, applied)
        elif not connection.wants_close:
            self.handshakes.attach(connection, request.session_id)

    def _deliver_fired(self) -> None:
        """Send the fired events to the watchers, if they may read the znode."""
        fired, self.tree.fired = self.tree.fired, []
        self.stats.fire([kind for _, kind, _, _ in fired])
        for watcher, kind, path, acl in fired:
            if isinstance(watcher, Connection) and not watcher.wants_close and permits(acl, op.READ, watcher.ids):
                watcher.notify(kind, path)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Forwarded):  # by far the most frequent one
            if self.leading is not None:
                self.leading.take_request(event, self.now_ms, self.wall_ms)
        elif isinstance(event, RoleChanged):
            self.commits.finish()
            self._change_role(event.serving)
        elif isinstance(event, Revalidated):
            self.handshakes.revalidated(event.session_id, event.valid)
        elif isinstance(event, SecretShared):
            self.session_secret = event.secret
        elif isinstance(event, SnapshotRequested):
            if self._replica.leader is not None:  # it leads already, but may not serve yet
                self.stats.snapshots_sent += 1
                self.commits.finish()
                self._replica.leader.dumped(event.link, self.tree.last_zxid, dump_tree(self.tree))
        elif self.leading is not None:  # else a learner sent it before this leadership ended
            self.leading.receive(event, self.now_ms)

    def _change_role(self, serving: bool) -> None:
        """Start or stop serving. At a stop connections are closed and requests dropped; sessions live on."""
        leader = self._replica.leader
        invariant(not serving or not self.config.shares_secret or self.session_secret, "no session secret was shared")
        self.serving = serving
        self.read_only.role_changed(serving)
        self.leading = None
        if not serving:
            for connection in list(self.connections.values()):
                connection.close()
            self._waiting.clear()
            self.handshakes.clear()
        elif leader is not None:
            self.leading = Leading(self.config, self.tree, leader, self._replica.epoch, self.now_ms)
            self.leading.preparer.store_is_full = self.memory.full

    def _use(self, tree: DataTree) -> None:
        self.read_only.leave()  # the new tree may show what is not committed yet
        self.tree = tree
        self.commits: Commits = Commits(self)
        self._counted_zxid = tree.last_zxid
        self._last_applied = None
        self._leaving: Leaving = Leaving(tree.watches)
        tree.watches.most, tree.watches.most_bytes = self.config.max_watches, self.config.max_watched_bytes
        if self.config.ensemble:
            tree.show_servers(self.config.ensemble, self.wall_ms)
