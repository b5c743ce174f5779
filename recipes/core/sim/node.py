"""One server of a simulated ensemble: the shell around a Member, with a simulated disk, clock and network.

Its turns are those of a real server (turn.py). Their effects are simulated, and the Ledger checks them.
"""

from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from typing import Any

from recipes.core.disk.jobs import Job
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.snapshot_writer import SnapshotWriter
from recipes.core.disk.store import Store
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.errors import DiskError
from recipes.core.jute.votes import decode_notification, encode_notification
from recipes.core.member.connection import Connection
from recipes.core.member.member import Member
from recipes.core.outbox import Outbox, PeerLink
from recipes.core.replication import Entry, Replica, ReplicaSettings
from recipes.core.sim.chance import Random
from recipes.core.sim.disk import PowerCut, SimDisk
from recipes.core.sim.flusher import SimFlusher
from recipes.core.sim.network import Side
from recipes.core.sim.rules import Tap
from recipes.core.sim.surroundings import NodeSettings, Surroundings
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree
from recipes.core.turn import Turn

_WALL_MS = 1_700_000_000_000
_FILL_AHEAD_BYTES = 4096
_MOST_YOUNG, _MOST_PACKED = 2, 100  # znodes
_SLICE_MS = 2  # time between two slices of a tree, on disk or on the wire


class Node:
    """One server, through any number of restarts.

    disk: survives restarts; its jobs take `slow_disk` times as long. up: the process runs. paused: the process stands
        still, and input waits. wall_offset_ms, ahead_ms: how far its wall clock and its monotonic clock are ahead.
    """

    def __init__(self, settings: NodeSettings, around: Surroundings, chance: Random, disk: SimDisk) -> None:
        self.settings = settings
        self.sid: int = settings.sid
        self.disk = disk
        self.up: bool = False
        self.paused: bool = False
        self.life: int = 0  # number of starts; actions scheduled in an earlier life are dropped
        self.slow_disk = 1
        self.wall_offset_ms = 0
        self.ahead_ms = 0
        self.peer: Replica
        self.member: Member
        self.turn: Turn
        self.why_down: str = "it was not started yet"
        self._around = around
        self._chance = chance
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    # Its clocks.

    @property
    def now_ms(self) -> int:
        """Its own monotonic clock."""
        return 1000 + self.ahead_ms + self._around.timeline.now_us * self.settings.rate_pm // 1_000_000

    def when_us(self, local_ms: int) -> int:
        """The world's time at which its monotonic clock will show `local_ms`."""
        return -((1000 + self.ahead_ms - local_ms) * 1_000_000 // self.settings.rate_pm)

    def _begin(self) -> None:
        now_ms = self.now_ms
        self.turn.begin(now_ms, _WALL_MS + self.wall_offset_ms + now_ms)

    # Life.

    def start(self) -> None:
        """Recover the disk and run."""
        around, settings = self._around, self.settings
        self.life += 1
        tree = DataTree()
        store = Store(self.disk, self.disk, _FILL_AHEAD_BYTES, settings.protocol)
        try:
            found = store.recover(tree)
        except PowerCut:
            self._end("power")
            return
        except DiskError as error:
            self._end(f"damage: {error}")
            return
        except OSError as error:
            self._end(f"disk: {error}")
            return
        unsure = bool(found.unsure)
        last_zxid = -1 if unsure else found.last_zxid
        around.ledger.recovered(self.sid, last_zxid, tree.last_zxid, found.cells, unsure)
        if found.mismatches:
            around.ledger.differs(self.sid, found.mismatches[0])
        if unsure:
            around.happened("unsure")
        now_ms = self.now_ms
        if settings.protocol is None or settings.membership is None:
            self.peer = Standalone(tree.last_zxid)
        else:
            about = ReplicaSettings(
                self.sid, settings.membership, settings.tick_ms, settings.init_limit, settings.sync_limit
            )
            self.peer = settings.protocol.start(about, found, now_ms)
        wall_ms = _WALL_MS + self.wall_offset_ms + now_ms
        self.member = Member(settings.member, tree, self.peer, now_ms, wall_ms)
        self.member.observe = self._observe
        self.up, self.paused = True, False
        self._waiting = []
        self._turn_due = False
        self._sides: dict[int, Side] = {}  # of clients, by the key of the connection
        self._links: dict[int, tuple[PeerLink, Side, Tap]] = {}
        self._role = ""
        self._shown = (-1, False)
        self._answering = False  # clients may have been answered in this turn
        self._timer_us = -1
        self._flusher = SimFlusher(self, store, around, self._chance, self._after, self._job_done)
        replacements = Replacements(nullcontext())
        self.turn = Turn(
            self.member,
            self.peer,
            WriteQueue(replacements, _FILL_AHEAD_BYTES // 4),
            SnapshotWriter(
                self.disk, settings.snap_count, replacements, randrange=self._chance.randrange,
                clock=count().__next__, log=self.log,  # by this clock each chunk uses up the time limit
            ),
            self,
            tick_ms=settings.tick_ms // 2,
            slice_ms=_SLICE_MS,
        )  # fmt: skip
        if around.recorder is not None:
            around.recorder.started(self.sid, found)
        around.election_links.started(self.sid)
        around.note(self.sid, f"starts at 0x{last_zxid:x}")
        self.take(self._nothing)

    def stop(self, why: str) -> None:
        """End the process; the caller deals with its connections."""
        self.up = self.paused = False
        self.why_down = why
        self._around.election_links.stopped(self.sid)
        self._around.ledger.lost_power(self.sid)

    def _end(self, why: str) -> None:
        self.stop(why)
        self._around.note(self.sid, why)
        self._around.ended(self, why)

    def pause(self) -> None:
        """Stand still."""
        self.paused = True

    def resume(self) -> None:
        """Go on with the input that arrived meanwhile: as in an event loop, sockets in any order, timers last."""
        self.paused = False
        waiting, self._waiting = self._waiting, []
        order: dict[object, float] = {}
        for _, args in waiting:
            order.setdefault(_source(args), self._chance.random())
        waiting.sort(key=lambda item: (item[0] == self._timer, order[_source(item[1])]))
        for action, args in waiting:
            self._do(action, args)

    # Inputs.

    def take(self, action: Callable[..., None], *args: Any) -> None:
        """Input has arrived: call the action, and let a turn follow."""
        if not self.up:
            return
        if self.paused:
            self._waiting.append((action, args))
        else:
            self._do(action, args)

    def _do(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if not self.up:
            return
        self._begin()
        try:
            action(*args)
        except PowerCut:
            self._end("power")
            return
        except (OSError, DiskError) as error:
            self._end(f"disk: {error}")
            return
        if not self._turn_due:
            self._turn_due = True
            delay_us = 1 + self._chance.randrange(self.settings.turn_us)
            self._around.timeline.after(delay_us, self._later, self.life, self._carry_out, ())

    def _later(self, life: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Run an action scheduled in `life`, if the server still is in that life."""
        if life != self.life or not self.up:
            return
        if self.paused:
            self._waiting.append((action, args))
            return
        self._begin()
        try:
            action(*args)
        except PowerCut:
            self._end("power")
        except (OSError, DiskError) as error:
            self._end(f"disk: {error}")

    def _after(self, delay_us: int, action: Callable[..., None], *args: Any) -> None:
        self._around.timeline.after(delay_us, self._later, self.life, action, args)

    def _nothing(self) -> None:
        """Only the turn that follows is wanted."""

    def notified(self, sender: int, data: bytes) -> None:
        """A frame has arrived on the election port."""
        note = decode_notification(data[4:])
        if note is not None:
            self.peer.notified(sender, note)

    # Connections.

    def listen(self, caller: int, what: str) -> Callable[[Side], None] | None:
        """A client or a server connects; see Network.listener."""
        if not self.up:
            return None
        if what == "client":
            return self._take_client
        return self._take_learner if self.peer.listening else None

    def _take_client(self, side: Side) -> None:
        self.take(self._accept_client, side)

    def _accept_client(self, side: Side) -> None:
        connection = self.member.connect((f"10.0.0.{side.peer.site}", 1))
        self._sides[connection.key] = side
        side.own(
            lambda data: self.take(self._from_client, connection, data),
            lambda: self.take(self._client_lost, connection),
        )

    def _from_client(self, connection: Connection, data: bytes) -> None:
        if not connection.closed:
            connection.receive(data)

    def _go_on(self, connection: Connection) -> None:
        if not connection.closed:
            connection.go_on()
            self.turn.carry_out()

    def _client_lost(self, connection: Connection) -> None:
        if self._sides.pop(connection.key, None) is not None:
            connection.lost()

    def _take_learner(self, side: Side) -> None:
        self.take(self._accept_learner, side)

    def _accept_learner(self, side: Side) -> None:
        self._bind(self.peer.accept() if self.peer.listening else None, side)

    def _dial(self, sid: int) -> None:
        life = self.life

        def connected(side: Side) -> None:
            if life == self.life and self.up:
                self.take(self._dialled, sid, side)
            else:
                side.close()

        def failed() -> None:
            if life == self.life:
                self.take(self._dial_failed, sid)

        self._around.network.dial(self.sid, sid, "quorum", connected, failed)

    def _dialled(self, sid: int, side: Side) -> None:
        self._bind(self.peer.dialled(sid), side)

    def _dial_failed(self, sid: int) -> None:
        self.peer.dial_failed(sid)

    def _bind(self, link: PeerLink | None, side: Side) -> None:
        if link is None:
            side.close()
            return
        self._links[link.key] = link, side, self._around.ledger.rules.tap(self.sid)
        side.own(lambda data: self.take(self._from_server, link, data), lambda: self.take(self._link_lost, link))

    def _from_server(self, link: PeerLink, data: bytes) -> None:
        if link.key in self._links:
            link.receive(data)

    def _link_lost(self, link: PeerLink) -> None:
        if self._links.pop(link.key, None) is not None:
            link.lost()

    # The turn.

    def _carry_out(self) -> None:
        self._turn_due = False
        self.turn.carry_out()
        if self._around.recorder is not None:
            self._around.recorder.turned(self.sid)

    def _job_done(self, job: Job) -> None:
        was_full = self.member.disk_full
        self.turn.done(job)
        if self.member.disk_full and not was_full:
            self._around.happened("no space")
        self._carry_out()

    def write(self, job: Job) -> bool:
        """Begin a job of the disk; it finishes later."""
        return self._flusher.write(job)

    def log(self, text: str, is_error: bool) -> None:
        """Note a text for the operator."""
        self._around.note(self.sid, text)

    def _show(self) -> None:
        """Have the Ledger check what clients can see from now on."""
        member, around = self.member, self._around
        tree = member.tree
        serving = member.serving or self._answering
        self._answering = False
        shown = tree.last_zxid, serving
        if self.peer.role != self._role:
            self._role = self.peer.role
            around.happened(f"role {self._role}")
            around.note(self.sid, f"is {self._role} in {self.peer.epoch}")
        if shown != self._shown:
            self._shown = shown
            around.ledger.now_us = around.timeline.now_us
            around.ledger.has_applied(self.sid, tree.last_zxid)
            if serving:
                around.ledger.shows(self.sid, self.peer.epoch, self.peer.leader is not None, tree.digest)
            if self.sid % 2:  # these servers pack znodes at once, the others have too few of them to pack any
                tree.most_young = _MOST_YOUNG
                tree.pack_some(_MOST_PACKED)

    def post(self, outbox: Outbox) -> None:
        """Send the outbox to the other servers."""
        self._show()
        around = self._around
        if outbox.votes:
            around.ledger.rules.votes(self.sid, outbox.votes)
            for sid, note in outbox.votes:
                if self.up:  # a recorder may end it in the middle of a turn
                    around.election_links.send(self.sid, sid, encode_notification(note))
        if outbox.dial is not None and self.up:
            self._dial(outbox.dial)
        for link in outbox.touched:
            self._pump(link)

    def reply(self, connections: list[Connection]) -> None:
        """Send the output of these connections to the clients."""
        self._show()
        for connection in connections:
            side = self._sides.get(connection.key)
            if side is None:
                continue
            if connection.out:
                side.send(b"".join(connection.out))
                connection.out.clear()
            if connection.has_work:
                self._after(1, self._go_on, connection)
            if connection.wants_close:
                del self._sides[connection.key]
                side.close()
                connection.lost()

    def _pump(self, link: PeerLink) -> None:
        """Send a link's output, up to and including the next slice of a dump."""
        bound = self._links.get(link.key)
        if bound is None:
            return
        _, side, tap = bound
        if link.wants_close:
            del self._links[link.key]
            side.close()
            link.lost()
            return
        parts: list[bytes] = []
        done = 0
        for item in link.out:
            if not isinstance(item, bytes):
                chunk = next(item, None)
                if chunk is not None:
                    tap.sent(chunk)
                    parts.append(chunk)
                    self._after(_SLICE_MS * 1000, self._pump, link)
                    break
            else:
                tap.sent(item)
                parts.append(item)
            done += 1
        del link.out[:done]
        if parts:
            side.send(b"".join(parts))

    def wake_at(self, now_ms: int) -> None:
        """Set the timer, unless it is set for an earlier time."""
        when_us = max(self.when_us(now_ms), self._around.timeline.now_us + 1)
        if self._timer_us <= self._around.timeline.now_us or when_us < self._timer_us:
            self._timer_us = when_us
            self._around.timeline.at(when_us, self._later, self.life, self._timer, (when_us,))

    def _timer(self, when_us: int) -> None:
        if when_us != self._timer_us:
            return  # another was set, for an earlier time
        self._timer_us = -1
        self._turn_due = False
        recorder = self._around.recorder
        if recorder is not None:
            recorder.woke(self.sid)
        self.turn.wake()
        if recorder is not None:
            recorder.turned(self.sid)

    def _observe(self, entry: Entry) -> None:
        self._answering = self._answering or self.member.serving
        self._around.ledger.applied(self.sid, entry)


def _source(args: tuple[Any, ...]) -> object:
    """The socket that input came from; None for other actions."""
    return args[0] if args and (isinstance(args[0], Side) or hasattr(args[0], "wants_close")) else None
