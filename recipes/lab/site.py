"""One site of a run: a machine, its disk, its timers, and what can happen to them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recipes.core.agree.machine import Machine, Message, Place
from recipes.lab.journal import Journal
from recipes.lab.links import Flight
from recipes.lab.steps import WELL

if TYPE_CHECKING:
    from recipes.lab.world import World

SLOWER = 20  # times: a sync of a disk that is slow


class Site:
    """A machine that runs, stands still or is down.

    clock_ms: how far its clock is ahead of true time. shown: what the machine last said of itself.
    """

    def __init__(
        self, world: "World", name: str, kind: str, machine: type[Machine], sync_us: tuple[int, int], clock_ms: int
    ) -> None:
        self.name: str = name
        self.kind: str = kind
        self.clock_ms: int = clock_ms
        self.shown: dict[str, Any] = {}
        self.running: bool = False
        self.paused: bool = False
        self._world = world
        self._machine_class = machine
        self._machine: Machine
        self._sync_us = sync_us
        self._journal = Journal(world.sources(f"disk {name}"))
        self._sync_chance = world.sources(f"sync {name}")
        self._chance = world.sources(f"machine {name}")
        self._life = 0  # rises at each end, so that timers and syncs of an earlier life are ignored
        self._timers: dict[str, int] = {}
        self._timer_count = 0
        self._input = 0  # the event of what its machine gets next, or is dealing with
        self._disk = WELL
        self._unsynced: list[int] = []
        self._unsynced_cause: int | None = None  # what led to the first of them
        self._syncing = False
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    # What happens to it.

    def start(self) -> None:
        """Start, with what is on the disk."""
        if self.running:
            return
        stored = self._journal.stored()
        world = self._world
        place = Place(self.name, world.names, world.settings, stored, self._chance.randrange)
        self._machine = self._machine_class(place)
        self.running = True
        self._timers, self._unsynced, self._syncing, self._backlog = {}, [], False, []
        self.shown = {}
        self._input = world.record(self.name, "start", stored=stored)
        self._turn(self._machine.start)

    def crash(self) -> None:
        """The process ends; its disk keeps all that was written."""
        self._end("crash")
        self._journal.restart(power=False)

    def cut_power(self, keep: bool | None) -> None:
        """The machine loses power; `keep` says whether its disk keeps what was not synced, None leaves it to chance."""
        self._end("power")
        self._journal.restart(power=True, keep=keep)

    def wipe(self) -> None:
        """Replace the disk of a site that is down."""
        self._journal.wipe()
        self._world.record(self.name, "fault", what="wipe")

    def change_disk(self, disk: str) -> None:
        """Have a disk that is slow, full, failing at the next sync, or well. No machine can go on without its disk: a
        process whose write or sync fails ends."""
        self._disk = disk
        self._world.record(self.name, "heal" if disk == WELL else "fault", what=f"disk {disk}")

    def move_clock(self, by_ms: int) -> None:
        """Set its clock forward, or back."""
        self.clock_ms += by_ms
        self._world.record(self.name, "fault", what="clock")

    def pause(self) -> None:
        """Stand still."""
        if self.running and not self.paused:
            self.paused = True
            self._world.record(self.name, "pause")

    def resume(self) -> None:
        """Go on with all that came meanwhile."""
        if self.paused:
            self.paused = False
            self._input = self._world.record(self.name, "resume")
            backlog, self._backlog = self._backlog, []
            for action, arguments in backlog:
                self._turn(action, *arguments)

    def _end(self, how: str) -> None:
        if not self.running:
            return
        self.running = False
        self.paused = False
        self._life += 1
        self._world.record(self.name, how)
        self._world.ended_site(self.name)

    # Inputs of its machine.

    def deliver(self, flight: Flight) -> None:
        """A message has arrived."""
        world = self._world
        if not self.running:
            world.lost(flight, "down")
            return
        event = self._input = world.record(self.name, "deliver", id=flight.id)
        world.saw("arrives", flight)
        if self.running:
            self._turn(self._machine.receive, flight.sender, flight.message, cause=event)
            world.saw("handled", flight)

    def call(self, number: int, operation: list[Any], cause: int) -> None:
        """A client asks for something."""
        if self.running:
            self._input = cause
            self._turn(self._machine.call, number, operation, cause=cause)
        else:
            self._world.reply(self.name, number, "fail", "down")

    def fire(self, name: str) -> None:
        """Let a timer run out now."""
        self._timer(name, None, self._life)

    def _timer(self, name: str, count: int | None, life: int) -> None:
        if life != self._life or not self.running or (count is not None and self._timers.get(name) != count):
            return
        self._timers.pop(name, None)
        event = self._input = self._world.record(self.name, "timer", name=name)
        self._turn(self._machine.timer, name, cause=event)

    # Outputs of its machine.

    def _turn(self, action: Callable[..., None], *arguments: Any, cause: int | None = None) -> None:
        """Give the machine an input, and carry out what it decides."""
        if self.paused:
            self._backlog.append((action, arguments))
            return
        if not self.running:
            return
        world, life = self._world, self._life
        world.cause = cause
        self._machine.now_ms = world.timeline.now_us // 1000 + self.clock_ms
        action(*arguments)
        effects = self._machine.take()
        if effects.writes and self._disk == "full":
            self.crash()
            world.cause = None
            return
        for write in effects.writes:
            size = self._journal.append(write)
            world.record(self.name, "write", number=write.number, what=write.key, value=write.value, bytes=size)
            if write.sync:
                if not self._unsynced:
                    self._unsynced_cause = cause
                self._unsynced.append(write.number)
        for timer in effects.timers:
            self._set(timer.name, timer.delay_ms)
        state = self._machine.describe()
        shown = {name: value for name, value in zip(state._fields, state[:-1], strict=False) if value is not None}
        shown.update(state.details)
        if shown != self.shown:
            gone = dict.fromkeys(self.shown.keys() - shown.keys())
            changed = {name: value for name, value in shown.items() if self.shown.get(name) != value}
            self.shown = shown
            world.record(self.name, "state", **dict(sorted((gone | changed).items())))
            world.saw_state(self.name)
        for to, message in effects.messages:
            if self._life != life:
                break  # it ended while it was sending: the rest never left
            world.send(self.name, to, message)
        for reply in effects.replies:
            if self._life == life:
                world.reply(self.name, reply.call, reply.outcome, reply.value)
        world.cause = None
        if self._unsynced and not self._syncing and self._life == life:
            self._begin_sync()

    def _set(self, name: str, delay_ms: int | None) -> None:
        """Set a timer, or end one if there is no delay; the event that led to this says when it runs out."""
        timeline = self._world.timeline
        if delay_ms is not None or name in self._timers:
            due_us = None if delay_ms is None else timeline.now_us + delay_ms * 1000
            self._world.events[self._input].setdefault("timers", {})[name] = due_us
        if delay_ms is None:
            self._timers.pop(name, None)
            return
        self._timer_count += 1
        self._timers[name] = self._timer_count
        timeline.after(delay_ms * 1000, self._timer, name, self._timer_count, self._life)

    def _begin_sync(self) -> None:
        self._syncing = True
        numbers, self._unsynced = self._unsynced, []
        low, high = self._sync_us
        self._world.cause = self._unsynced_cause
        begin = self._world.record(self.name, "fsync", at="begin", number=numbers[-1])
        self._world.cause = None
        delay_us = (low + self._sync_chance.randrange(high - low + 1)) * (SLOWER if self._disk == "slow" else 1)
        self._world.timeline.after(delay_us, self._synced, numbers, begin, self._life)

    def _synced(self, numbers: list[int], begin: int, life: int) -> None:
        if life != self._life:
            return
        if self._disk == "failing":
            self.crash()
            return
        self._journal.sync()
        self._world.cause = begin
        event = self._input = self._world.record(self.name, "fsync", at="end", number=numbers[-1])
        self._syncing = False
        self._turn(self._machine.flushed, numbers[-1], cause=event)
        if self._unsynced and not self._syncing and self.running:
            self._begin_sync()


def size_of(message: Message) -> int:
    """About how many bytes a message takes."""
    return len(message.kind) + sum(len(name) + len(str(value)) for name, value in message.fields.items())
