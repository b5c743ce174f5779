"""What only the member that makes the txns does: prepare them, track sessions, end silent sessions.

Source: PrepRequestProcessor.java, SessionTrackerImpl.java, ContainerManager.java.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from recipes.core.errors import WireError
from recipes.core.forwarding import Forwarded, Revalidate, SessionsTouched
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import read_int
from recipes.core.member.costs import LARGE_MULTI_BYTES, MAKING_UNITS, write_units
from recipes.core.replication import Entry, Leadership
from recipes.core.tree.acl import UNCHECKED
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import DataTree
from recipes.core.tree.znode import ttl_of
from recipes.core.zxid import start_of

if TYPE_CHECKING:
    from recipes.core.member.config import MemberConfig

# The writes that a client may send, to a learner too. Only the leader itself makes DELETE_CONTAINER.
WRITES: Final = frozenset(
    (op.SET_DATA, op.CREATE, op.CREATE2, op.DELETE, op.MULTI, op.CREATE_CONTAINER, op.CREATE_TTL, op.SET_ACL,
     op.RECONFIG, op.CLOSE_SESSION)
)  # fmt: skip
_FORWARDED: Final = WRITES | {op.CREATE_SESSION, op.CHECK}
_NO_OPERATION: Final = 0
# These are prepared in slices, if they are large.
SLICED_WRITES: Final = frozenset((op.MULTI, op.CLOSE_SESSION))
_MOST_EXPIRED: Final = 100  # sessions whose end is proposed in one turn
_MOST_FORGOTTEN: Final = 2000  # znodes of ended sessions in one turn
_MOST_LOOKED_AT: Final = 2000  # containers and znodes with a TTL in one turn
_MOST_REMOVED: int = 200  # of these in one turn


class Leading:
    """Begins when a leader is established, or a standalone server starts, and ends with the leadership.

    epoch: of the txns made. Their zxids start at its first one, or behind the tree's last zxid if that is in the epoch.
    """

    def __init__(self, config: "MemberConfig", tree: DataTree, leadership: Leadership, epoch: int, now_ms: int) -> None:
        self._config = config
        self._tree = tree
        self._leadership = leadership
        self.tracker: SessionTracker = SessionTracker(config.tick_ms)
        for session_id, timeout_ms in tree.sessions.items():
            self.tracker.add(session_id, timeout_ms, now_ms)
        # An ephemeral znode without its session belongs to a session that ended: let it end once more.
        for session_id in tree.ephemerals:
            if session_id not in tree.sessions:
                self.tracker.add(session_id, config.min_session_timeout_ms, now_ms)
        self.preparer: Preparer = Preparer(
            tree,
            self.tracker,
            extended_types=config.extended_types,
            enforce_quota=config.enforce_quota,
            max_txn_bytes=2 * config.max_frame_bytes,
        )
        self.preparer.last_zxid = max(tree.last_zxid, start_of(epoch))
        self._removed = self.preparer.pending.removed
        self._next_container_check_ms = now_ms + config.container_check_ms
        self._removing: Iterator[None] | None = None  # looks for containers and old znodes, a slice at a time
        self._expiring = False  # more sessions than one turn ends are overdue
        # While a large txn is made in slices, everything that must come behind it waits, with its units.
        self._making: Generator[int, None, Entry] | None = None
        self._behind: deque[tuple[int, Callable[[int], None]]] = deque()
        self._pace = MAKING_UNITS  # units of these in the next turn
        # Make a request's txn and hand it to the replica. Replaced while others wait, so that it costs no look.
        self.propose: Callable[[Request, int], None] = self._propose

    def _propose(self, request: Request, wall_ms: int) -> None:
        self._leadership.propose(self.preparer.prepare(request, wall_ms))

    def propose_in_slices(self, request: Request, wall_ms: int) -> None:
        """The same for one of SLICED_WRITES: a large one may take several turns."""
        if request.op == op.MULTI:
            is_large = len(request.body) > LARGE_MULTI_BYTES
        else:
            is_large = len(self._tree.ephemerals.get(request.session_id, ())) > self._config.many_ephemerals
        if not is_large:
            self.propose(request, wall_ms)
        elif self._making is not None or self._behind:
            self._wait(0, partial(self._begin_to_make, request), request)
        else:
            self._begin_to_make(request, wall_ms)
            self._make(MAKING_UNITS)

    def in_order(self, step: Callable[[int], None], wall_ms: int) -> None:
        """Take the step, with the wall clock, once everything before it is proposed."""
        if self._making is None and not self._behind:
            step(wall_ms)
        else:
            self._behind.append((0, step))

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        if self._making is not None or self._removing is not None or self._expiring:
            return True
        return bool(self._behind or self._removed)

    def work(self, now_ms: int, wall_ms: int) -> int:
        """Go on with what takes several turns. Return how many sessions ended."""
        left = self._pace
        while left > 0 and (self._making is not None or self._behind):
            if self._making is not None:
                left = self._make(min(left, MAKING_UNITS))
            else:
                units, step = self._behind.popleft()
                left -= units
                step(wall_ms)
        if self._making is not None:
            self._pace = MAKING_UNITS
        elif self._behind:
            # Clients that are answered ask again, behind these: at the same pace the queue might never end.
            self._pace += self._pace // 2
        else:
            self._pace = MAKING_UNITS
            self.propose = self._propose
        if self._removed:
            self.preparer.pending.forget_some(_MOST_FORGOTTEN)
        if self._removing is not None and next(self._removing, self) is self:
            self._removing = None
        return self._expire(now_ms, wall_ms) if self._expiring else 0

    def _begin_to_make(self, request: Request, wall_ms: int) -> None:
        self._making = self.preparer.prepare_in_slices(request, wall_ms)
        self.propose = self._propose_later

    def _make(self, left: int) -> int:
        """Do slices of the txn for so many units. Return how many of these are left."""
        making = self._making
        try:
            while making is not None and left > 0:
                left -= next(making)
        except StopIteration as stop:
            self._making = None
            if not self._behind:
                self.propose = self._propose
            self._leadership.propose(stop.value)
        return left

    def _propose_later(self, request: Request, wall_ms: int) -> None:
        units = write_units(self._tree, request.op, request.session_id, len(request.body))
        self._wait(units, partial(self._propose, request), request)

    def _wait(self, units: int, step: Callable[[int], None], request: Request) -> None:
        request.zxid = self.preparer.last_zxid + 1  # a lower bound, by which it is told from older requests
        self._behind.append((units, step))

    def applied(self, zxid: int) -> None:
        """The tree has everything up to `zxid`."""
        self.preparer.applied(zxid)

    def ended(self, session_id: int) -> None:
        """The closing of a session was applied."""
        self.tracker.remove(session_id)

    def tick(self, now_ms: int, wall_ms: int) -> int:
        """End overdue sessions; remove containers and znodes past their TTL. Return how many sessions ended."""
        ended = self._expire(now_ms, wall_ms)
        if now_ms >= self._next_container_check_ms:
            self._next_container_check_ms = now_ms + self._config.container_check_ms
            self._removing = self._remove_due(wall_ms)
            if next(self._removing, self) is self:
                self._removing = None
        return ended

    def _expire(self, now_ms: int, wall_ms: int) -> int:
        expired, ended, left = self.tracker.expired(now_ms, _MOST_EXPIRED), 0, MAKING_UNITS
        for session_id in expired:
            if left <= 0:
                break
            left -= write_units(self._tree, op.CLOSE_SESSION, session_id, 0)
            self.propose_in_slices(Request(session_id, 0, op.CLOSE_SESSION, b"", link=None), wall_ms)
            ended += 1
        self._expiring = ended < len(expired) or ended == _MOST_EXPIRED
        self.tracker.overdue(expired[ended:])
        return ended

    # What learners forward.

    def receive(self, event: SessionsTouched | Revalidate, now_ms: int) -> None:
        """Carry out what a learner has sent."""
        if isinstance(event, SessionsTouched):
            for session_id, _ in event.sessions:
                self.tracker.touch(session_id, now_ms)
        else:
            valid = self.revalidate(event.session_id, event.timeout_ms, event.link, now_ms)
            self._leadership.answer_revalidate(event.link, event.session_id, valid)

    def take_request(self, event: Forwarded, now_ms: int, wall_ms: int) -> None:
        """Carry out a request that a learner has forwarded."""
        link, session_id, cxid, kind, body, ids = event
        if kind not in _FORWARDED:
            if kind == op.SYNC:
                self.in_order(lambda _: self._leadership.sync_learner(link), wall_ms)
                return
            kind = _NO_OPERATION
        if kind == op.CREATE_SESSION:
            try:
                timeout_ms, end = read_int(body, 0)
            except WireError:
                return  # it cannot have come from a client
            body = body[:end]
            self.tracker.add(session_id, timeout_ms, now_ms, link)
        else:
            self.tracker.touch(session_id, now_ms)
        if self._config.skip_acl:
            ids += UNCHECKED
        request = Request(session_id, cxid, kind, body, ids, None, 0, link)
        if kind in SLICED_WRITES:
            self.propose_in_slices(request, wall_ms)
        else:
            self.propose(request, wall_ms)

    def revalidate(self, session_id: int, timeout_ms: int, link: int, now_ms: int) -> bool:
        """Whether a session lives; if so, its client is connected over `link` from here on (0: to this server)."""
        if session_id not in self.tracker or self.tracker.is_closing(session_id):
            return False
        self.tracker.add(session_id, timeout_ms, now_ms, link)
        return True

    def _remove_due(self, wall_ms: int) -> Iterator[None]:
        """Propose the removal of empty containers, used or old, and of childless znodes past their TTL, in slices."""
        tree, patience_ms = self._tree, self._config.container_never_used_ms
        left, looked, removed = self._config.container_max_per_check, 0, 0
        for path in [*tree.containers, *tree.ttls]:
            if looked == _MOST_LOOKED_AT or removed == _MOST_REMOVED:
                looked = removed = 0
                yield
            looked += 1
            node = tree.find(path)
            if node is None or node.children is not None:
                continue
            if path in tree.containers:
                is_due = node.cversion > 0 or 0 < patience_ms < wall_ms - node.mtime
            else:
                ttl_ms = ttl_of(node.owner)
                is_due = ttl_ms is not None and wall_ms - node.mtime > ttl_ms
            if is_due and left > 0:
                left -= 1
                removed += 1
                self.propose(Request(0, 0, op.DELETE_CONTAINER, path), wall_ms)
