"""Makes the events of a trace from what a Recorder of the simulator is told."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recipes.core.agree.machine import Message
from recipes.core.disk.jobs import Batch, Job, OperationJob
from recipes.core.jute.votes import decode_notification
from recipes.core.replication import Recovered
from recipes.core.sim.network import Side
from recipes.lab.links import Flight
from recipes.lab.served.describe import timers
from recipes.lab.served.protocol import ServedProtocol, Talk
from recipes.lab.served.text import txn_text
from recipes.lab.served.writes import Writes

if TYPE_CHECKING:
    from recipes.lab.served.world import ServedWorld

_TIMER = -1  # the timer's event is made once something comes of it

Pair = tuple[int, int]


class _Chunk:
    """Bytes on their way, and the messages that they complete."""

    __slots__ = ("flights", "left")

    def __init__(self, size: int, flights: list[Flight]) -> None:
        self.left = size
        self.flights = flights


class Disk:
    """What one server has written, as far as the tracer has heard of it."""

    def __init__(self) -> None:
        self.writes: Writes = Writes()
        self.numbers: dict[int, int] = {}  # id of a job under way -> the number of its last write
        self.begins: dict[int, int] = {}  # id of a job under way -> the event of the begin of its sync


class Tracer:
    """A Recorder. Each turn's messages, writes and changes of state have as their cause the last input before it."""

    def __init__(self, world: "ServedWorld", protocol: ServedProtocol) -> None:
        self._world = world
        self._protocol = protocol
        self._talks: dict[Pair, Talk] = {}  # by number of the connection and sender
        self._chunks: dict[Pair, deque[_Chunk]] = {}  # by number of the connection and receiver
        self._notes: dict[Pair, deque[Flight]] = {}  # by sender and receiver
        self._kept: dict[int, Callable[[], None]] = {}  # by number of a notification that is kept back: lets it arrive
        self._causes: dict[int, int | None] = {}
        self._replies: dict[int, int | None] = {}  # by client
        self._handled: dict[int, list[Flight]] = {}  # arrived since the last turn
        self._timers: dict[int, dict[str, int]] = {}  # by server: when it acts by itself, on its clock
        self.disks: dict[int, Disk] = {}

    # Streams.

    def sent(self, side: Side, data: bytes) -> None:
        """Bytes leave over this end of a connection."""
        if side.what != "quorum":
            self._answers(side)
            return
        sender, receiver = side.from_peer[1], side.from_peer[0]
        talk = self._talks.setdefault((side.number, sender), self._protocol.talk(txn_text))
        flights: list[Flight] = []
        chunk = _Chunk(len(data), flights)
        said = talk.hear(data)
        if side.peer.site == receiver:
            self._chunks.setdefault((side.number, receiver), deque()).append(chunk)
        size = len(data) // max(1, len(said))
        for message in said:
            flight = self._send(sender, receiver, message, size)
            flights.append(flight)
            if side.peer.site != receiver:
                self._world.lost(flight, "the connection is gone")
            self._world.saw("sent", flight)

    def stops(self, side: Side) -> bool:
        """Whether the next bytes that would arrive at this end wait."""
        chunks = self._chunks.get((side.number, side.site))
        if not chunks:
            return False
        flights = chunks[0].flights
        if any(flight.why_lost for flight in flights):
            side.peer.sever()
            side.sever()
            return False
        for flight in flights:
            if flight.late_us:
                late_us, flight.late_us, flight.held, flight.waiting = flight.late_us, 0, True, True
                self._world.timeline.after(late_us, self._go_on, flight, side)
        held = [flight for flight in flights if flight.held]
        for flight in held:
            if not flight.waiting:
                flight.waiting = True
                self._world.wires.at_release(side.resume)
        return bool(held)

    def _go_on(self, flight: Flight, side: Side) -> None:
        """A message that was delayed has waited long enough; what follows it has waited with it."""
        if flight.held:
            flight.held = False
            side.hasten()
            side.resume()

    def deliver(self, number: int) -> None:
        """Let a message arrive now, and all that was sent before it the same way."""
        if number in self._kept:
            self._kept.pop(number)()
        for (connection, receiver), chunks in list(self._chunks.items()):
            side = self._world.wires.side(connection, receiver)
            place = _place([chunk.flights for chunk in chunks], number)
            if side is not None and place is not None:
                for chunk in list(chunks)[: place + 1]:
                    _let_go(chunk.flights)
                    side.hasten()
        for (sender, receiver), notes in list(self._notes.items()):
            place = _place([[flight] for flight in notes], number)
            for flight in list(notes)[: 0 if place is None else place + 1]:
                _let_go([flight])
                self._world.hasten_note(sender, receiver)

    def arrives(self, side: Side, data: bytes) -> None:
        """Bytes arrive at this end."""
        chunks = self._chunks.get((side.number, side.site))
        left = len(data)
        while chunks and left > 0:
            chunk = chunks[0]
            taken = min(left, chunk.left)
            chunk.left -= taken
            left -= taken
            if chunk.left:
                break
            chunks.popleft()
            for flight in chunk.flights:
                self._deliver(side.site, flight)

    def ended(self, side: Side) -> None:
        """Nothing arrives at this end any more."""
        for chunk in self._chunks.pop((side.number, side.site), ()):
            for flight in chunk.flights:
                self._world.lost(flight, flight.why_lost or self._world.why_gone(side.site))

    def _answers(self, side: Side) -> None:
        """A server says something to a client, or a client to a server."""
        sid, client = side.from_peer[1], side.from_peer[0]
        if sid in self.disks:
            self._as_caused(sid)
            self._replies[client] = self._world.cause
            self._world.cause = None

    def reply_cause(self, client: int) -> int | None:
        """What led a server to what it last sent to this client."""
        return self._replies.get(client)

    # Notifications.

    def note_sent(self, sender: int, receiver: int, frame: bytes) -> None:
        """A notification leaves."""
        flight = self._send(sender, receiver, self._said(frame), len(frame))
        self._notes.setdefault((sender, receiver), deque()).append(flight)
        self._world.saw("sent", flight)

    def _said(self, frame: bytes) -> Message:
        note = decode_notification(frame[4:])
        return Message("vote", "NOTIFICATION", {}) if note is None else self._protocol.notification(note)

    def note_arrives(self, sender: int, receiver: int, frame: bytes) -> bool:
        """A notification arrives."""
        flight = self._notes[sender, receiver].popleft()
        if flight.why_lost:
            self._world.lost(flight, flight.why_lost)
            return False
        if flight.held or flight.late_us:
            self._keep(flight, lambda: self._late(flight, receiver, sender, frame))
            return False
        self._deliver(receiver, flight)
        return True

    def _keep(self, flight: Flight, action: Callable[[], None]) -> None:
        """Keep a notification back: until the release, or as long as it is delayed, or until it is delivered."""

        def end() -> None:
            if self._kept.pop(flight.id, None) is not None:
                action()

        self._kept[flight.id] = action
        if flight.held:
            self._world.wires.at_release(end)
        else:
            self._world.timeline.after(flight.late_us, end)

    def _late(self, flight: Flight, receiver: int, sender: int, frame: bytes) -> None:
        self._deliver(receiver, flight)
        self._world.notify(receiver, sender, frame)

    def notes_lost(self, sender: int, receiver: int, kept: int) -> None:
        """Notifications on their way are lost."""
        notes = self._notes.get((sender, receiver), deque())
        while len(notes) > kept:
            self._world.lost(notes.popleft(), "a newer one takes its place" if kept else "the connection is gone")

    # Servers.

    def started(self, sid: int, found: Recovered) -> None:
        """A server starts, with what its disk has."""
        disk = self.disks.setdefault(sid, Disk())
        disk.numbers, disk.begins = {}, {}
        self._causes[sid] = None
        self._handled[sid] = []
        self._timers[sid] = {}
        world = self._world
        world.cause = None
        event = world.record(world.name_of(sid), "start", stored=disk.writes.stored(found))
        self._causes[sid] = event

    def begins(self, sid: int, job: Job) -> None:
        """A job of a server's disk is begun."""
        world, disk = self._world, self.disks[sid]
        name = world.name_of(sid)
        self._as_caused(sid)
        if isinstance(job, Batch | OperationJob):
            for fields in disk.writes.of(job.entries if isinstance(job, Batch) else [job.operation]):
                world.record(name, "write", **fields)
        else:
            world.cause = None
            return
        disk.numbers[id(job)] = disk.writes.count
        disk.begins[id(job)] = world.record(name, "fsync", at="begin", number=disk.writes.count)
        world.cause = None

    def done(self, sid: int, job: Job) -> None:
        """The job is done."""
        disk = self.disks[sid]
        number = disk.numbers.pop(id(job), None)
        if number is None:
            return
        world = self._world
        world.cause = disk.begins.pop(id(job))
        self._causes[sid] = world.record(world.name_of(sid), "fsync", at="end", number=number)
        world.cause = None

    def called(self, sid: int, event: int | None) -> None:
        """A client's request is about to arrive, or what a step does to this server."""
        self._causes[sid] = event

    def woke(self, sid: int) -> None:
        """A server's timer has run out."""
        self._causes[sid] = _TIMER

    def turned(self, sid: int) -> None:
        """A turn of a server is over."""
        self._show(sid)
        self._note_timers(sid)
        handled, self._handled[sid] = self._handled.get(sid, []), []
        for flight in handled:
            self._world.saw("handled", flight)

    def _show(self, sid: int) -> None:
        world = self._world
        site = world.site_of(sid)
        shown = world.describe(sid)
        if shown is None or shown == site.shown:
            return
        gone = dict.fromkeys(site.shown.keys() - shown.keys())
        changed = {name: value for name, value in shown.items() if site.shown.get(name) != value}
        site.shown = shown
        self._as_caused(sid)
        world.record(site.name, "state", **dict(sorted((gone | changed).items())))
        world.cause = None
        world.saw_state(site.name)

    def _note_timers(self, sid: int) -> None:
        """The last input says what it has changed in the time at which this server will act by itself."""
        node, event = self._world.site_of(sid).node, self._causes.get(sid)
        if not node.up or event is None or event == _TIMER:
            return  # a timer that ran out and led to nothing has no event
        now, before = timers(node), self._timers.get(sid, {})
        if now != before:
            due_us = {name: node.when_us(at_ms) for name, at_ms in now.items()}
            changed = {**dict.fromkeys(before.keys() - now.keys()), **due_us}
            self._world.events[event].setdefault("timers", {}).update(changed)
            self._timers[sid] = now

    # Inside.

    def _send(self, sender: int, receiver: int, message: Message, size: int) -> Flight:
        world = self._world
        self._as_caused(sender)
        role, kind, fields = message
        number = world.record(
            world.name_of(sender), "send", id=len(world.events), to=world.name_of(receiver), role=role, real=kind,
            bytes=size, fields=fields,
        )  # fmt: skip
        world.cause = None
        return Flight(number, world.name_of(sender), world.name_of(receiver), message)

    def _deliver(self, sid: int, flight: Flight) -> None:
        world = self._world
        world.cause = None
        self._causes[sid] = world.record(flight.to, "deliver", id=flight.id)
        self._handled.setdefault(sid, []).append(flight)
        world.saw("arrives", flight)

    def _as_caused(self, sid: int) -> None:
        """What is recorded next comes of this server's last input."""
        world = self._world
        world.cause = None
        if self._causes.get(sid) == _TIMER:
            self._causes[sid] = world.record(world.name_of(sid), "timer", name="tick")
        world.cause = self._causes.get(sid)


def _place(flights: Sequence[Sequence[Flight]], number: int) -> int | None:
    """Where a message is among those on their way; None if it is not."""
    return next((place for place, each in enumerate(flights) if any(flight.id == number for flight in each)), None)


def _let_go(flights: Sequence[Flight]) -> None:
    """Nothing keeps these messages back, or loses them."""
    for flight in flights:
        flight.held, flight.late_us, flight.why_lost = False, 0, None
