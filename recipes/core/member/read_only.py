"""Read-only mode: how a member without a leader serves clients that have connected with `read_only`.

It shows the tree that it last served, which has committed txns only; its log may also have txns that never were.
So a server does not take part if it has not served since it started, or if its tree was replaced or has changed since.
Its read-only sessions are local: no other server and no log knows them, and they end once it has found a leader.
Source: ReadOnlyZooKeeperServer.java, ReadOnlyRequestProcessor.java, QuorumPeer.java.
"""

from typing import TYPE_CHECKING, Final

from recipes.core.codes import NOT_READ_ONLY
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import ConnectRequest, ConnectResponse, Ids
from recipes.core.member.connection import Connection
from recipes.core.member.leading import WRITES
from recipes.core.member.reads import SLICED_READS
from recipes.core.replication import Replica
from recipes.core.tree.sessions import SessionTracker, password_matches
from recipes.core.tree.tree import DataTree

if TYPE_CHECKING:
    from recipes.core.member.member import Member

_PATIENCE_MS: Final = 2000  # an election takes less
_REFUSED: Final = (WRITES - {op.CLOSE_SESSION}) | {op.SYNC, op.CHECK}


class ReadOnly:
    """Whether a member is in read-only mode, and its read-only sessions.

    enabled: whether its settings allow the mode. serving: whether it is in it. tracker: the sessions.
    """

    def __init__(self, member: "Member", replica: Replica) -> None:
        config = member.config
        self.enabled: bool = config.read_only_mode
        self.serving: bool = False
        self.tracker: SessionTracker = SessionTracker(config.tick_ms)
        self._member = member
        self._replica = replica
        self._own = range(0)  # the session ids given out since it became read-only
        self._serves_all = False
        self._served: tuple[DataTree, int] | None = None  # the tree it last served from, and its zxid when that ended
        self._looking_since_ms: int | None = None

    def role_changed(self, serving: bool) -> None:
        """The member begins to serve all clients, or stops."""
        self.leave()
        self._looking_since_ms = None if serving else self._member.now_ms
        if self._serves_all:
            self._served = self._member.tree, self._member.tree.last_zxid
        self._serves_all = serving

    def tick(self) -> None:
        """Enter the mode when it is time; end the sessions that were not heard from."""
        member = self._member
        if not self.enabled:
            return
        if not self._is_looking():
            self._looking_since_ms = None
        elif self._looking_since_ms is None:
            self._looking_since_ms = member.now_ms
        elif member.now_ms - self._looking_since_ms >= max(_PATIENCE_MS, member.config.tick_ms):
            # The tree may have changed: a leader applies its own history before it is established, which may fail.
            unchanged = self._served == (member.tree, member.tree.last_zxid) and not member.commits.behind
            self.serving = self._served is not None and unchanged
        for session_id in self.tracker.expired(member.now_ms):
            member.stats.sessions_expired += 1
            self.end(session_id)

    def end_turn(self) -> None:
        """Leave the mode once a leader is found, before the election has any other effect."""
        if self.serving and not self._is_looking():
            self.leave()

    def leave(self) -> None:
        """Leave the mode: hang up on its clients, and forget their sessions."""
        if self.serving:
            self.serving = False
            self.tracker = SessionTracker(self._member.config.tick_ms)
            self._own = range(0)
            for connection in list(self._member.connections.values()):
                connection.close()

    def open_session(self, connection: Connection, asked: ConnectRequest) -> None:
        """Carry out the handshake. Close the connection of a session that other servers may know: it may live on."""
        session_id, secret = asked.session_id, self._member.session_secret
        if not isinstance(connection, ReadOnlyConnection) or not asked.read_only:
            connection.close()
        elif session_id == 0:
            session_id = self._member.handshakes.ids.next()
            self._own = range(self._own.start or session_id, session_id + 1)
            self._attach(connection, session_id)
        elif session_id not in self._own:
            connection.close()
        elif session_id in self.tracker and password_matches(session_id, asked.password, secret):
            self._attach(connection, session_id)
        else:
            connection.refused()

    def end(self, session_id: int) -> None:
        """The session is over."""
        self.tracker.remove(session_id)
        connection = self._member.handshakes.by_session.get(session_id)
        if connection is not None:
            connection.close()

    def _is_looking(self) -> bool:
        replica = self._replica
        return replica.role == "looking" and replica.leader is None and replica.learner is None

    def _attach(self, connection: Connection, session_id: int) -> None:
        member = self._member
        self.tracker.add(session_id, connection.timeout_ms, member.now_ms)
        member.handshakes.attach(connection, session_id)


class ReadOnlyConnection(Connection):
    """A connection made in read-only mode; it ends with the mode."""

    __slots__ = ()

    def _send_handshake(self, response: ConnectResponse) -> None:
        super()._send_handshake(response._replace(read_only=True))

    def _take(self, xid: int, kind: int, body: bytes, ids: Ids) -> None:
        """Answer a read, refuse everything else."""
        zxid = self._member.tree.last_zxid
        if kind == op.CLOSE_SESSION:
            self._reply(xid, zxid, 0)
            self._member.read_only.end(self.session_id)
        elif kind in _REFUSED:
            self._reply(xid, zxid, NOT_READ_ONLY)
        elif kind in SLICED_READS:
            self._begin(self._answer_in_slices(xid, kind, body, ids))
        else:
            self._answer(xid, kind, body, ids)
