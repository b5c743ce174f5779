"""Leader and follower where all of a leader's log counts, not its own entries alone, once enough servers have it.

The leader's HELLO says where its log ended when it began to lead. Until enough servers have it up to there, more may be
committed than the leader knows of: nobody is served, and the followers are told of nothing.
"""

from typing import TYPE_CHECKING

from recipes.core.replicas.follower import SharedFollower
from recipes.core.replicas.leader import SharedLeader
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.wire import Hello

if TYPE_CHECKING:
    from recipes.core.replicas.peer import SharedPeer


class WholeLogLeader(SharedLeader):
    """A leader that commits what it began with by counting."""

    def __init__(self, peer: "SharedPeer") -> None:
        super().__init__(peer)
        self._initial_zxid: int | None = None  # where the log ended that it began with; None before it has that log
        self._known = False  # enough servers have all of it

    def _take_log(self) -> None:
        """Begin with the log as it is now."""
        self._initial_zxid = self._peer.history.last_zxid

    def _say_hello(self, progress: Progress) -> None:
        peer = self._peer
        initial_zxid = 0 if self._initial_zxid is None else self._initial_zxid
        progress.link.send(peer.dialect.encode_hello(peer.ensemble, peer.settings.sid, self.term, initial_zxid))

    def _known_zxid(self) -> int:
        return self._peer.committed_zxid if self._known else -1

    def _commit_what_a_quorum_has(self) -> None:
        """Commit what enough servers have, once that is all that this leader began with, and its own disk has it, too.

        The followers serve once they know that it is committed. Before this server serves it would drop the requests
        that they then forward.
        """
        peer = self._peer
        zxid = self._held()
        if self._initial_zxid is not None and min(zxid, peer.flushed_zxid) >= self._initial_zxid:
            self._known = True
            if zxid > peer.committed_zxid:
                peer.commit(zxid)
            elif not peer.serving:
                self.applied(peer.applied_zxid)
        self._answer_syncs()

    def applied(self, zxid: int) -> None:
        """Everything up to `zxid` is handed over: serve, once that is all that this leader began with."""
        if self._known and self._initial_zxid is not None and zxid >= self._initial_zxid and self._peer.leader is self:
            self._peer.serve()


class WholeLogFollower(SharedFollower):
    """A follower of such a leader."""

    def __init__(self, peer: "SharedPeer", leader_sid: int) -> None:
        super().__init__(peer, leader_sid)
        self._initial_zxid = 0  # where the leader's log ended when it began to lead

    def _greeted(self, hello: Hello) -> None:
        super()._greeted(hello)
        self._initial_zxid = hello.last_zxid

    def _may_serve(self, zxid: int) -> bool:
        return zxid >= self._initial_zxid
