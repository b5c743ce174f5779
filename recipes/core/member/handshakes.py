"""Handshakes: how a client gets its session at this server, and which connection has it from then on.

A new session is a txn, so that all servers know it. A client that comes with a session names its password, and the
leader says whether that session lives. Source: ZooKeeperServer.processConnectRequest, Learner.validateSession.
"""

from typing import TYPE_CHECKING

from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int
from recipes.core.jute.records import ConnectRequest
from recipes.core.member.connection import Connection
from recipes.core.replication import Replica
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import SessionIds, password_matches, session_password

if TYPE_CHECKING:
    from recipes.core.member.member import Member


class Handshakes:
    """A member's connections by their sessions. ids: makes the ids of new sessions."""

    def __init__(self, member: "Member", replica: Replica) -> None:
        self.by_session: dict[int, Connection] = {}
        self.ids: SessionIds = SessionIds(member.wall_ms, member.config.server_id)
        self._member = member
        self._replica = replica
        self._revalidating: dict[int, Connection] = {}  # by the session of which the leader has not spoken yet

    def open_session(self, connection: Connection, asked: ConnectRequest) -> None:
        """Carry out a handshake: open a new session or resume one."""
        member = self._member
        config, reads_only = member.config, member.read_only.serving
        # A client that has seen a later zxid than this server has must not see older data.
        member.stats.handshakes += 1
        if not (member.takes_clients or reads_only) or asked.last_zxid > member.tree.last_zxid:
            member.stats.turned_away += not (member.takes_clients or reads_only)
            connection.close()
            return
        member.stats.resumed += asked.session_id != 0
        connection.timeout_ms = min(max(asked.timeout_ms, config.min_session_timeout_ms), config.max_session_timeout_ms)
        if reads_only:
            member.read_only.open_session(connection, asked)
        elif asked.session_id == 0:
            self._create(connection)
        elif not password_matches(asked.session_id, asked.password, member.session_secret):
            connection.refused("wrong password for the session that it asks for")
        elif member.leading is not None:
            valid = member.leading.revalidate(asked.session_id, connection.timeout_ms, 0, member.now_ms)
            self._resume(connection, asked.session_id, valid)
        elif self._replica.learner is not None:
            # The client has given up its other connections to this server. What waits in them, behind a `sync` perhaps,
            # must not go to the leader any more: behind this question the leader would take it for the client's next
            # requests, though the client may go on elsewhere meanwhile.
            for before in (self._revalidating.get(asked.session_id), self.by_session.get(asked.session_id)):
                if before is not None:
                    before.close()
            self._revalidating[asked.session_id] = connection
            member.stats.revalidated += 1
            self._replica.learner.revalidate(asked.session_id, connection.timeout_ms)

    def revalidated(self, session_id: int, valid: bool) -> None:
        """The leader says whether a session lives."""
        connection = self._revalidating.pop(session_id, None)
        if connection is not None and not connection.wants_close:
            self._resume(connection, session_id, valid)

    def attach(self, connection: Connection, session_id: int) -> None:
        """The session is this connection's, in place of an older one's."""
        older = self.by_session.get(session_id)
        if older is not None:
            older.close()
        self.by_session[session_id] = connection
        password = session_password(session_id, self._member.session_secret)
        connection.opened(session_id, connection.timeout_ms, password)

    def ended(self, session_id: int) -> None:
        """The session is over: refuse the client that asks for it. The leader may have allowed it before that."""
        returning = self._revalidating.pop(session_id, None)
        if returning is not None:
            returning.refused()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        if self.by_session.get(connection.session_id) is connection:
            del self.by_session[connection.session_id]

    def clear(self) -> None:
        """Drop the handshakes under way: there is no leader to answer them."""
        self._revalidating.clear()

    def _create(self, connection: Connection) -> None:
        member, timeout_ms = self._member, connection.timeout_ms
        session_id = self.ids.next()
        request = Request(session_id, 0, op.CREATE_SESSION, pack_int(timeout_ms), (), connection, member.now_ms)
        if member.leading is not None and not member.disk_full:
            member.leading.tracker.add(session_id, timeout_ms, member.now_ms, 0)
        if not member.submit(request):
            connection.close()

    def _resume(self, connection: Connection, session_id: int, valid: bool) -> None:
        if valid:
            self.attach(connection, session_id)
        else:
            connection.refused()
