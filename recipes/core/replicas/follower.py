"""One attempt to follow the leader of a term: connect, match the logs, then take what it sends.

An entry is acknowledged once it is on this server's disk, and applied once it is committed too. The table of each
protocol has what a follower takes in which stage.
"""

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from recipes.core.errors import WireError
from recipes.core.forwarding import Revalidated
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import Ids
from recipes.core.link import Link
from recipes.core.replicas import matching
from recipes.core.replicas import wire as w
from recipes.core.replicas.stages import FollowerStage, FollowerTable, bound, refusal
from recipes.core.replicas.wire import (
    VERSION,
    Append,
    End,
    Hello,
    Message,
    Part,
    Refused,
    SessionAnswer,
    Snapshot,
    SyncAnswered,
)
from recipes.core.zxid import epoch_of

if TYPE_CHECKING:
    from recipes.core.replicas.peer import SharedPeer

_CATCHING_UP: Final = FollowerStage.CATCHING_UP
_ACKNOWLEDGED: Final = (FollowerStage.SERVING, FollowerStage.CATCHING_UP)


class SharedFollower:
    """What a server does while `leader_sid` leads its term."""

    table: FollowerTable
    leader_is_ours: bool = True

    def __init__(self, peer: "SharedPeer", leader_sid: int) -> None:
        self._peer = peer
        self.leader_sid = leader_sid
        self._rows = bound(self, self.table)
        self._enter(FollowerStage.DIALLING)
        self._link: Link[Message] | None = None
        self._dials = False
        self._since_ms = peer.now_ms
        self._matched_zxid = 0  # from MATCHING on: up to here the log is the leader's
        self._round = 0  # the leader's last round of heartbeats that was answered
        self._serves_from: int | None = None  # in CATCHING_UP: what must be applied before clients are served
        self._snapshot = Snapshot(0, 0)
        self._parts: list[bytes] = []  # in INSTALLING
        self._shown_zxid = 0  # the tree that the leader has sent may show changes up to here
        self._syncs: deque[object] = deque()
        self._touches: dict[int, int] = {}

    def _enter(self, stage: FollowerStage) -> None:
        self.stage: FollowerStage = stage
        self._steps: Mapping[type[object], Any] = self._rows[stage]

    # The connection.

    @property
    def connected(self) -> bool:
        """Whether the leader has answered on a connection that is still up."""
        return self._link is not None and self.stage not in (FollowerStage.DIALLING, FollowerStage.GREETING)

    @property
    def deadline_ms(self) -> int:
        """When `tick` is wanted next."""
        return self.quorum_heard_ms() + self._peer.silence_ms

    def quorum_heard_ms(self) -> int:
        """When the leader was last heard from."""
        return self._since_ms if self._link is None else self._link.heard_ms

    def tick(self) -> None:
        """Give up a leader that is silent."""
        peer = self._peer
        if peer.now_ms >= self.deadline_ms:
            peer.look(f"no message came for {peer.silence_ms} ms from server {self.leader_sid}, the leader")

    def dial(self) -> None:
        """Ask for a connection, unless there is one."""
        if self._peer.follower is self and self._link is None and not self._dials:
            self._dials = True
            self._peer.dial(self.leader_sid)

    def dial_failed(self, sid: int) -> None:
        """The leader cannot be reached. If it still leads, it says so again."""
        if sid == self.leader_sid and self._dials:
            self._peer.look(f"server {sid}, the leader, cannot be reached")

    def dialled(self, sid: int) -> Link[Message] | None:
        """The leader's quorum port has taken the connection; None: it is not wanted any more."""
        if sid != self.leader_sid or self._link is not None or not self._dials:
            return None
        peer = self._peer
        self._dials = False
        self._link = peer.new_link(self._receive, self._gone)
        self._link.sid = sid
        self._enter(FollowerStage.GREETING)
        self._introduce()
        return self._link

    def _introduce(self) -> None:
        peer = self._peer
        self._send(peer.dialect.encode_hello(peer.ensemble, peer.settings.sid, peer.term, self._log_end()))

    def _log_end(self) -> int:
        return -1 if self._peer.is_unsure else self._peer.history.last_zxid

    def end(self) -> None:
        """End this attempt: hang up."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _gone(self, link: Link[Message]) -> None:
        if link is self._link:
            leader = f"server {self.leader_sid}, the leader,"
            why = f"{leader} broke the protocol: {link.why_closed}"
            self._peer.look(why if link.why_closed else f"the connection to {leader} is gone")

    def _receive(self, link: Link[Message], message: Message) -> None:
        step = self._steps.get(type(message))
        if step is None:
            raise WireError(refusal(self._peer.dialect, self.stage, message, self._steps))
        step(message)

    def _send(self, data: bytes) -> None:
        if self._link is not None:
            self._link.send(data)

    # Joining.

    def _greeted(self, hello: Hello) -> None:
        peer = self._peer
        if hello.version != VERSION or hello.ensemble != peer.ensemble or hello.sid != self.leader_sid:
            raise WireError(f"a HELLO of server {hello.sid}, version {hello.version}, ensemble {hello.ensemble:x}")
        if hello.term != peer.term:
            self._other_term(hello)
        self._enter(FollowerStage.MATCHING)

    def _other_term(self, hello: Hello) -> None:
        """The leader is in another term."""
        raise WireError(f"a HELLO of term {hello.term}: expected {self._peer.term}")

    def _refused(self, message: Refused) -> None:
        self._peer.note_once(self.leader_sid, f"server {self.leader_sid} does not take this one: {message.why[:300]}")
        raise WireError(message.why[:300])

    def _match(self, append: Append) -> None:
        """Tell the leader whether the logs agree at the entry that it names."""
        peer = self._peer
        self._check_term(append.term)
        if matching.matched(peer.history, peer.committed_zxid, append.prev_zxid) is None:
            hint = matching.hint(peer.history, append.prev_zxid)
            self._send(w.encode_conflict(peer.term, append.prev_zxid, hint))
            return
        self._enter(_CATCHING_UP)
        self._round = -1  # so that it is acknowledged at once
        self._append(append)

    def _begin_snapshot(self, snapshot: Snapshot) -> None:
        self._check_term(snapshot.term)
        if not 0 <= epoch_of(snapshot.zxid) <= snapshot.term:
            raise WireError(f"a snapshot of 0x{snapshot.zxid:x} in term {snapshot.term}")
        self._snapshot = snapshot
        self._parts = []
        self._enter(FollowerStage.INSTALLING)

    def _take_part(self, part: Part) -> None:
        self._parts.append(part.data)

    def _install(self, end: End) -> None:
        body, self._parts = b"".join(self._parts), []
        self._peer.install(self._snapshot.zxid, body)
        self._matched_zxid = self._snapshot.zxid
        self._shown_zxid = end.shown_zxid
        self._enter(_CATCHING_UP)

    # Replication.

    def _append(self, append: Append) -> None:
        """AppendEntries: take what follows an entry that both logs have, and what is committed of it."""
        peer = self._peer
        self._check_term(append.term)
        found = matching.matched(peer.history, peer.committed_zxid, append.prev_zxid)
        if found is None:
            raise WireError(f"entries behind 0x{append.prev_zxid:x}, which was matched and is not here")
        cut_zxid, entries = matching.change(peer.history, found, append.entries)
        for entry in entries:
            if epoch_of(entry.zxid) > peer.term:
                raise WireError(f"entry 0x{entry.zxid:x} in term {peer.term}")
        if cut_zxid is not None:
            peer.cut(cut_zxid)
        for entry in entries:
            peer.append(entry)
        last = append.entries[-1].zxid if append.entries else append.prev_zxid
        self._matched_zxid = max(self._matched_zxid, found, last)
        self._taken()
        self._commit(append.commit_zxid)
        if append.round != self._round:
            self._round = append.round
            self._acknowledge()

    def _taken(self) -> None:
        """The log has more of the leader's than before."""

    def _may_serve(self, zxid: int) -> bool:
        """Whether a leader that says that everything up to `zxid` is committed knows of all that is."""
        raise NotImplementedError

    def _commit(self, zxid: int) -> None:
        """The leader has committed everything up to `zxid`; here, as far as the logs are known to agree."""
        peer = self._peer
        if self._serves_from is None and self._may_serve(zxid):
            self._serves_from = max(zxid, self._shown_zxid)
        zxid = min(zxid, self._matched_zxid)
        if zxid > peer.committed_zxid:
            peer.commit(zxid)
        elif self.stage is _CATCHING_UP:
            self.applied(peer.applied_zxid)

    def applied(self, zxid: int) -> None:
        """Everything up to `zxid` is handed over: serve, if that is enough."""
        if self.stage is _CATCHING_UP and self._serves_from is not None and zxid >= self._serves_from:
            self._enter(FollowerStage.SERVING)
            self._peer.serve()

    def flushed(self, zxid: int) -> None:
        """Acknowledge what is on disk."""
        if self.stage in _ACKNOWLEDGED:
            self._acknowledge()

    def _acknowledge(self) -> None:
        peer = self._peer
        touches, self._touches = self._touches, {}
        durable = self._durable()
        self._send(w.encode_appended(peer.term, self._matched_zxid, durable, self._round, list(touches.items())))

    def _durable(self) -> int:
        """Up to where this server's disk has the leader's log; -1 while it may not be counted.

        A server that may have forgotten a vote does not count: the candidate that has the vote could still be elected
        with it, in a later term, and lack what this server has acknowledged since.
        """
        return -1 if self._peer.abstains else min(self._matched_zxid, self._peer.flushed_zxid)

    def _check_term(self, term: int) -> None:
        if term != self._peer.term:
            raise WireError(f"a message of term {term}: expected {self._peer.term}")

    # Clients.

    def _take_synced(self, message: SyncAnswered) -> None:
        if not self._syncs:
            raise WireError("SYNCED that nobody asked for")
        self._peer.synced(self._syncs.popleft())

    def _take_revalidated(self, answer: SessionAnswer) -> None:
        self._peer.tell(Revalidated(answer.session_id, answer.valid))

    def forward(self, session_id: int, cxid: int, kind: int, body: bytes, ids: Ids) -> int:
        """Send a client's write to the leader; return a zxid that its txn will be behind."""
        self._send(w.encode_forward(session_id, cxid, kind, body, ids))
        return self._peer.history.last_zxid

    def sync(self, token: object, session_id: int, cxid: int, body: bytes, ids: Ids) -> None:
        """Ask the leader for a `sync`; its answers come in the order of the requests."""
        self._syncs.append(token)
        self.forward(session_id, cxid, op.SYNC, body, ids)

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """Report the session to the leader in the next acknowledgement."""
        self._touches[session_id] = timeout_ms

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives."""
        self._send(w.encode_revalidate(session_id, timeout_ms))
