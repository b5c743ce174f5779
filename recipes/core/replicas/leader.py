"""One leadership: bring followers to this server's log, count disks, commit.

The table of each protocol has what a follower may send in which stage. Each protocol says what may be counted.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recipes.core.errors import WireError
from recipes.core.forwarding import Forwarded, Revalidate, SessionsTouched
from recipes.core.link import Link, make_room
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.matching import next_probe
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.read_index import ReadIndex
from recipes.core.replicas.stages import ProgressStage, ProgressTable, bound, refusal
from recipes.core.replicas.wire import VERSION, Appended, AskSession, Conflict, Forward, Hello, Message
from recipes.core.replication import Entry, SnapshotRequested
from recipes.core.zxid import LAST_COUNTER, counter_of

if TYPE_CHECKING:
    from recipes.core.replicas.peer import SharedPeer


class SharedLeader:
    """What a server does while it leads its term."""

    table: ProgressTable
    connected: bool = True
    checks_quorum: bool = True  # it steps down when it hears from no quorum
    skips_terms: bool = True  # a whole term per answer, when it looks for where two logs agree

    def __init__(self, peer: "SharedPeer") -> None:
        self._peer = peer
        settings = peer.settings
        self._membership = settings.membership
        self.term: int = peer.term
        self._rows = bound(self, self.table)
        self._links: dict[int, Progress] = {}  # by key of the link
        self._by_sid: dict[int, Progress] = {}  # those that have said who they are
        self._heard_ms = dict.fromkeys(settings.membership.voters, peer.now_ms)
        self._began_ms = self._linked_ms = peer.now_ms
        self._round = 1
        self._round_turn = -1  # the turn in which this round began: nobody can have answered it before
        self._read_index = ReadIndex(settings.sid, settings.membership)
        self._proposed: deque[tuple[int, int]] = deque()  # (time, last zxid then), for syncLimit ticks
        self._next_beat_ms = peer.now_ms

    def _announce(self) -> None:
        """Tell the servers that are not connected that this one leads."""
        for sid in self._membership.servers:
            if sid != self._peer.settings.sid and sid not in self._by_sid:
                self._peer.say(sid, Ballot(Kind.LEADS, self.term))

    # Connections and time.

    @property
    def deadline_ms(self) -> int:
        """When `tick` is wanted next."""
        return self._next_beat_ms

    def accept(self) -> Link[Message] | None:
        """A server has connected."""
        make_room(progress.link for progress in self._links.values())
        link = self._peer.new_link(self._receive, self._gone)
        self._links[link.key] = Progress(link, self._rows)
        return link

    def joined(self) -> list[Progress]:
        """The followers and observers whose logs are this server's."""
        return [progress for progress in self._by_sid.values() if progress.counts]

    @property
    def pending_syncs(self) -> int:
        """How many `sync`s are not answered yet."""
        return len(self._read_index)

    def tick(self) -> None:
        """Twice a tick: ask all followers for a sign of life, drop the silent, and see whether a quorum is left."""
        peer, settings = self._peer, self._peer.settings
        if peer.now_ms < self._next_beat_ms:
            return
        self._next_beat_ms = peer.now_ms + settings.tick_ms // 2
        self._drop_silent()
        if peer.leader is not self:
            return
        if why := self._why_end():
            peer.look(why)
            return
        self._round += 1
        self._announce()

    def _why_end(self) -> str:
        """Why this server cannot go on leading; empty if it can."""
        peer, settings = self._peer, self._peer.settings
        linked = {settings.sid, *(progress.sid for progress in self._by_sid.values())}
        if self._membership.is_quorum(linked):
            self._linked_ms = peer.now_ms
        if self.checks_quorum:
            patience_ms = settings.tick_ms if peer.serving else settings.tick_ms * settings.init_limit
            if peer.now_ms - self.quorum_heard_ms() > peer.silence_ms:
                return f"a quorum was silent for {peer.silence_ms} ms"
            if peer.now_ms - self._linked_ms > patience_ms:
                return "no quorum is connected"
        if not peer.serving and peer.now_ms - self._began_ms > settings.tick_ms * settings.init_limit:
            return "no quorum has joined in time"
        return ""

    def _drop_silent(self) -> None:
        peer, limit_ms = self._peer, self._peer.silence_ms
        late_zxid = 0  # proposed so long ago that it must be on disk by now
        while self._proposed and self._proposed[0][0] <= peer.now_ms - limit_ms:
            late_zxid = self._proposed.popleft()[1]
        noted_zxid = self._proposed[-1][1] if self._proposed else 0
        if peer.history.last_zxid > noted_zxid:
            self._proposed.append((peer.now_ms, peer.history.last_zxid))
        if peer.flushed_zxid < late_zxid:  # it applies nothing, and its clients would read old data
            peer.look("this server's own disk is too slow to lead")
            return
        for progress in list(self._links.values()):
            link = progress.link
            heard_ms = link.since_ms if progress.sid == -1 else link.heard_ms
            if progress.joined and progress.durable_zxid < late_zxid:
                link.close(f"it has not stored 0x{late_zxid:x} within {limit_ms} ms")
            elif peer.now_ms - heard_ms > limit_ms:
                link.close(f"it was silent for {limit_ms} ms")

    def quorum_heard_ms(self) -> int:
        """The latest time since which every server of some quorum was heard from."""
        heard = self._heard_ms
        for progress in self._by_sid.values():
            if progress.sid in heard and self._is_heard(progress):
                heard[progress.sid] = max(heard[progress.sid], progress.link.heard_ms)
        return self._membership.committed(heard | {self._peer.settings.sid: self._peer.now_ms})

    def _is_heard(self, progress: Progress) -> bool:
        """Whether what comes over this connection is a sign of life of the server that it names."""
        return True

    def end(self) -> None:
        """End this leadership: hang up on all followers."""
        followers = list(self._links.values())
        self._links.clear()
        self._by_sid.clear()
        for progress in followers:
            progress.link.close()

    def _gone(self, link: Link[Message]) -> None:
        progress = self._links.pop(link.key, None)
        if progress is not None and self._by_sid.get(progress.sid) is progress:
            self.quorum_heard_ms()  # keeps when it was last heard from
            del self._by_sid[progress.sid]

    def _receive(self, link: Link[Message], message: Message) -> None:
        progress = self._links[link.key]
        if progress.stage is ProgressStage.REFUSED:
            return  # it may not have read yet that it is refused
        step = progress.steps.get(type(message))
        if step is None:
            raise WireError(refusal(self._peer.dialect, progress.stage, message, progress.steps))
        step(progress, message)

    # Joining.

    def _introduce(self, progress: Progress, hello: Hello) -> None:
        peer, sid = self._peer, hello.sid
        why = self._why_not(hello) or progress.link.why_not(sid)
        if why:
            self._refuse(progress, sid, why)
            return
        if hello.term > self.term:
            peer.adopt(hello.term, f"server {sid} is in term {hello.term}")
            return
        progress.link.sid = sid
        older = self._by_sid.get(sid)
        if older is not None:
            if self._keeps(older, progress, hello):
                return
            older.link.close("it has made a new connection")
        self._joins(progress, hello)

    def _refuse(self, progress: Progress, sid: int, why: str) -> None:
        progress.link.send(w.encode_refused(why))
        progress.enter(ProgressStage.REFUSED)
        self._peer.note_once(sid, f"server {sid} is refused: {why}")

    def _keeps(self, older: Progress, progress: Progress, hello: Hello) -> bool:
        """Whether a follower's older connection is kept for now, where the same server has made another one."""
        return False

    def _joins(self, progress: Progress, hello: Hello) -> None:
        self._by_sid[progress.sid] = progress
        self._peer.heard_term(progress.sid, hello.term)
        self._take_in(progress, hello)

    def _take_in(self, progress: Progress, hello: Hello) -> None:
        """Answer a follower, and look for where its log agrees with this one."""
        self._say_hello(progress)
        if hello.last_zxid == -1:
            self._send_tree(progress)
        else:
            last_zxid = self._peer.history.last_zxid
            self._probe(progress, self._peer.history.floor(hello.last_zxid) if self.skips_terms else last_zxid)

    def _say_hello(self, progress: Progress) -> None:
        peer = self._peer
        hello = peer.dialect.encode_hello(peer.ensemble, peer.settings.sid, self.term, peer.history.last_zxid)
        progress.link.send(hello)

    def _why_not(self, hello: Hello) -> str:
        """Why a server is not taken; empty if it is."""
        peer = self._peer
        if hello.version != VERSION:
            return f"it speaks version {hello.version} of {peer.dialect.protocol}, this server {VERSION}"
        if hello.ensemble != peer.ensemble:
            return "the two have different lists of servers: give all servers the same server.N lines"
        if hello.sid not in self._membership.servers or hello.sid == peer.settings.sid:
            return f"server {hello.sid} is not one of the others in this ensemble"
        if not 0 <= hello.term <= peer.most_term:
            return f"it is in term {hello.term}: expected {peer.most_term} at most"
        return ""

    def _probe(self, progress: Progress, zxid: int | None) -> None:
        if zxid is None:
            self._send_tree(progress)
        else:
            progress.probe(zxid)
            self._flush(progress)

    def _back_off(self, progress: Progress, conflict: Conflict) -> None:
        """The follower's log does not have the entry that was guessed: guess an earlier one."""
        if conflict.prev_zxid != progress.sent_zxid:
            return  # the answer to an earlier guess
        zxid = next_probe(self._peer.history, conflict.prev_zxid, conflict.hint_zxid, by_term=self.skips_terms)
        self._probe(progress, zxid)

    def _matched(self, progress: Progress, appended: Appended) -> None:
        """Both logs have an entry: from there on the follower gets everything."""
        if not self._peer.history.holds(appended.matched_zxid):
            self._send_tree(progress)
            return
        if appended.durable_zxid < self._peer.history.last_zxid and self._is_crowded(progress, gets_tree=False):
            return
        progress.replicate(appended.matched_zxid, self._peer.history.last_zxid)
        self._acknowledged(progress, appended)

    def _is_crowded(self, progress: Progress, *, gets_tree: bool) -> bool:
        """Whether this follower, an observer, has to come again later: so many others are being brought to this log."""
        settings, sid = self._peer.settings, progress.sid
        key, most = ("Snap", settings.most_snaps) if gets_tree else ("Diff", settings.most_diffs)
        under_way = sum(
            other is not progress and other.joining and other.gets_tree == gets_tree for other in self._by_sid.values()
        )
        if sid in self._membership.voters or under_way < most:
            return False
        given = "the whole tree" if gets_tree else "what they lack"
        self._refuse(
            progress,
            sid,
            f"{under_way} servers are being sent {given}, all that maxConcurrent{key}Syncs allows: come again later",
        )
        return True

    def _send_tree(self, progress: Progress) -> None:
        if self._is_crowded(progress, gets_tree=True):
            return
        progress.gets_tree = True
        progress.enter(ProgressStage.DUMPING)
        self._peer.tell(SnapshotRequested(progress.link.key))

    def dumped(self, link: int, zxid: int, chunks: Iterator[bytes]) -> None:
        """Answer a SnapshotRequested: the tree as it was at `zxid`, perhaps with some later changes."""
        progress = self._links.get(link)
        if progress is None:
            return
        self._peer.note(f"server {progress.sid} gets a snapshot of 0x{zxid:x}")
        progress.link.send(w.encode_snapshot(self.term, zxid))
        progress.link.send(w.encode_parts(chunks, lambda: self._peer.applied_zxid))
        progress.replicate(zxid, self._peer.history.last_zxid)

    def _pass_over(self, progress: Progress, message: Message) -> None:
        """Ignore an answer to what was sent before the tree."""

    # Replication.

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""
        peer = self._peer
        if peer.leader is not self:
            return  # it ended in this turn
        if counter_of(entry.zxid) > LAST_COUNTER:
            peer.look("the term has no zxids left")
            return
        peer.append(entry)

    def flush(self) -> None:
        """Send every follower what is new in this turn."""
        made: dict[int, bytes] = {}
        peer, last_zxid = self._peer, self._last_to_send()
        for progress in self._by_sid.values():
            progress.flush(self.term, peer.history, last_zxid, self._known_zxid(), self._round, made)

    def _flush(self, progress: Progress) -> None:
        peer = self._peer
        progress.flush(self.term, peer.history, self._last_to_send(), self._known_zxid(), self._round)

    def _last_to_send(self) -> int:
        """Followers get nothing behind this yet."""
        return self._peer.history.last_zxid

    def _known_zxid(self) -> int:
        """What the followers are told: everything up to here is committed."""
        return self._peer.committed_zxid

    def flushed(self, zxid: int) -> None:
        """This server has everything up to `zxid` on disk."""
        self._commit_what_a_quorum_has()

    def _acknowledged(self, progress: Progress, appended: Appended) -> None:
        if appended.term != self.term:
            raise WireError(f"APPENDED of term {appended.term}: expected {self.term}")
        if max(appended.matched_zxid, appended.durable_zxid) > self._peer.history.last_zxid:
            raise WireError(
                f"APPENDED 0x{appended.durable_zxid:x} of what was never sent: the last is "
                f"0x{self._peer.history.last_zxid:x}"
            )
        progress.round = max(progress.round, appended.round)
        if appended.touches:
            self._peer.tell(SessionsTouched(appended.touches))
        if appended.durable_zxid > progress.durable_zxid:
            progress.stored(appended.durable_zxid)
            self._commit_what_a_quorum_has()
        else:
            self._answer_syncs()

    def _held(self) -> int:
        """Up to where a quorum of disks has this server's log; -1: none has."""
        peer = self._peer
        held = {progress.sid: progress.durable_zxid for progress in self._by_sid.values() if progress.counts}
        return self._membership.committed(held | {peer.settings.sid: peer.flushed_zxid})

    def _commit_what_a_quorum_has(self) -> None:
        """Commit what enough disks have, as far as it may be counted; then `_answer_syncs`."""
        raise NotImplementedError

    def applied(self, zxid: int) -> None:
        """Everything up to `zxid` is handed over: serve, once that is enough."""
        raise NotImplementedError

    # What followers ask on behalf of their clients.

    def _take_request(self, progress: Progress, request: Forward) -> None:
        self._peer.tell(Forwarded(progress.link.key, *request))

    def _take_revalidate(self, progress: Progress, asked: AskSession) -> None:
        self._peer.tell(Revalidate(progress.link.key, asked.session_id, asked.timeout_ms))

    def sync_learner(self, link: int) -> None:
        """A follower asks for a `sync`, after everything that it has forwarded before."""
        self.sync(link, None)

    def sync(self, link: int | None, token: object) -> None:
        """Answer once all that is proposed by now is committed. link: of the follower that asks; None: the Member."""
        peer = self._peer
        if self._round_turn != peer.turn:
            self._round_turn = peer.turn
            self._round += 1
        self._read_index.ask(peer.history.last_zxid, self._round, link, token)
        self._answer_syncs()

    def _answer_syncs(self) -> None:
        rounds = ((progress.sid, progress.round) for progress in self._by_sid.values() if progress.counts)
        self._read_index.answer(self._peer.committed_zxid, rounds, self._reply_sync)

    def _reply_sync(self, link: int | None, token: object) -> None:
        if link is None:
            self._peer.synced(token)
        elif link in self._links:
            self._send(self._links[link], w.encode_synced())

    def answer_revalidate(self, link: int, session_id: int, valid: bool) -> None:
        """Answer a Revalidate; its follower may be gone."""
        progress = self._links.get(link)
        if progress is not None:
            self._send(progress, w.encode_revalidated(session_id, valid))

    def _send(self, progress: Progress, data: bytes) -> None:
        """Send a message behind everything that is proposed and committed by now."""
        self._flush(progress)
        progress.link.send(data)
