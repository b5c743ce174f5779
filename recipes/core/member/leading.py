"""What only the member that makes the txns does: prepare them, track sessions, end silent sessions.

Source: PrepRequestProcessor.java, SessionTrackerImpl.java, ContainerManager.java.
"""

from typing import TYPE_CHECKING, Final

from recipes.core.errors import WireError
from recipes.core.forwarding import Forwarded, Revalidate, SessionsTouched
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import read_int
from recipes.core.replication import Leadership
from recipes.core.tree.acl import UNCHECKED
from recipes.core.tree.prepare import Preparer, Request
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
        self._next_container_check_ms = now_ms + config.container_check_ms

    def propose(self, request: Request, wall_ms: int) -> None:
        """Make a request's txn and hand it to the replica."""
        self._leadership.propose(self.preparer.prepare(request, wall_ms))

    def applied(self, zxid: int) -> None:
        """The tree has everything up to `zxid`."""
        self.preparer.applied(zxid)

    def ended(self, session_id: int) -> None:
        """The closing of a session was applied."""
        self.tracker.remove(session_id)

    def tick(self, now_ms: int, wall_ms: int) -> int:
        """End overdue sessions; remove containers and znodes past their TTL. Return how many sessions ended."""
        expired = self.tracker.expired(now_ms)
        for session_id in expired:
            self.propose(Request(session_id, 0, op.CLOSE_SESSION, b"", link=None), wall_ms)
        if now_ms >= self._next_container_check_ms:
            self._next_container_check_ms = now_ms + self._config.container_check_ms
            self._check_containers(wall_ms)
        return len(expired)

    # What learners forward.

    def receive(self, event: Forwarded | SessionsTouched | Revalidate, now_ms: int, wall_ms: int) -> None:
        """Carry out what a learner has sent."""
        if isinstance(event, SessionsTouched):
            for session_id, _ in event.sessions:
                self.tracker.touch(session_id, now_ms)
        elif isinstance(event, Revalidate):
            valid = self.revalidate(event.session_id, event.timeout_ms, event.link, now_ms)
            self._leadership.answer_revalidate(event.link, event.session_id, valid)
        elif event.kind == op.SYNC:
            self._leadership.sync_learner(event.link)
        else:
            self._take_request(event, now_ms, wall_ms)

    def _take_request(self, event: Forwarded, now_ms: int, wall_ms: int) -> None:
        kind, body = event.kind if event.kind in _FORWARDED else _NO_OPERATION, event.body
        if kind == op.CREATE_SESSION:
            try:
                timeout_ms, end = read_int(body, 0)
            except WireError:
                return  # it cannot have come from a client
            body = body[:end]
            self.tracker.add(event.session_id, timeout_ms, now_ms, event.link)
        else:
            self.tracker.touch(event.session_id, now_ms)
        ids = event.ids + UNCHECKED if self._config.skip_acl else event.ids
        request = Request(event.session_id, event.cxid, kind, body, ids, link=event.link)
        self.propose(request, wall_ms)

    def revalidate(self, session_id: int, timeout_ms: int, link: int, now_ms: int) -> bool:
        """Whether a session lives; if so, its client is connected over `link` from here on (0: to this server)."""
        if session_id not in self.tracker or self.tracker.is_closing(session_id):
            return False
        self.tracker.add(session_id, timeout_ms, now_ms, link)
        return True

    def _check_containers(self, wall_ms: int) -> None:
        """Propose the removal of empty containers, used or old, and of childless znodes past their TTL."""
        tree, patience_ms = self._tree, self._config.container_never_used_ms
        due = []
        for path in tree.containers:
            node = tree.nodes[path]
            if not node.children and (node.cversion > 0 or 0 < patience_ms < wall_ms - node.mtime):
                due.append(path)
        for path in tree.ttls:
            node = tree.nodes[path]
            ttl_ms = ttl_of(node.owner)
            if ttl_ms is not None and not node.children and wall_ms - node.mtime > ttl_ms:
                due.append(path)
        for path in due[: self._config.container_max_per_check]:
            self.propose(Request(0, 0, op.DELETE_CONTAINER, path), wall_ms)
