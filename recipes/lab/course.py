"""The course of a run under virtual time: its events, its calls, and when it ends. All kinds of worlds share it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from recipes.core.sim.chance import Sources
from recipes.core.sim.timeline import Timeline
from recipes.lab.links import Direction, Flight
from recipes.lab.scenario import Scenario
from recipes.lab.script import Script


class Placed(Protocol):
    """One site, as a script sees it.

    shown: what the site last said of itself.
    """

    name: str
    shown: dict[str, Any]

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        ...

    def start(self) -> None:
        """Start, with what is on the disk."""

    def crash(self) -> None:
        """The process ends; its disk keeps all that was written."""

    def cut_power(self, keep: bool | None) -> None:
        """The machine loses power; `keep` says whether its disk keeps what was not synced, None leaves it to chance."""

    def wipe(self) -> None:
        """Replace the disk of a site that is down."""

    def pause(self) -> None:
        """Stand still."""

    def resume(self) -> None:
        """Go on with all that came meanwhile."""

    def change_disk(self, disk: str) -> None:
        """Have a disk that is slow, full, failing at syncs, or well."""

    def move_clock(self, by_ms: int) -> None:
        """Set its clock forward, or back."""

    def fire(self, name: str) -> None:
        """Let a timer run out now."""


class Between(Protocol):
    """What connects the sites, as a script sees it. loss: the probability of each message to be lost."""

    loss: float

    def cut(self, directions: Iterable[Direction]) -> None:
        """Nothing gets through in these directions."""

    def heal(self, directions: Iterable[Direction] | None = None) -> None:
        """Let messages through again: in these directions, or in all."""

    def hold(self, flight: Flight) -> None:
        """Keep a message back until `release`."""

    def release(self) -> None:
        """Let all messages that are kept back go on."""

    def delay(self, flight: Flight, by_us: int) -> None:
        """Have a message arrive later than it would."""

    def duplicate(self, flight: Flight) -> None:
        """Have a message arrive twice. Raises BadArguments where the network never does that."""

    def deliver(self, number: int) -> None:
        """Let the message with this number arrive now; nothing happens if it is not on its way."""


class Course(ABC):
    """One run of a scenario.

    events: what happened. cause: the event that leads to what is recorded next. ended: whether the script came to its
    end and all calls were answered in time. waits_for: what the script still waited for when the run stopped, "" if
    nothing. calls: how many were made.
    """

    names: dict[str, tuple[str, ...]]  # of the sites of each kind

    def __init__(self, scenario: Scenario, sources: Sources) -> None:
        self.sources: Sources = sources
        self.timeline: Timeline = Timeline(sources("order"))
        self.events: list[dict[str, Any]] = []
        self.cause: int | None = None
        self.ended: bool = False
        self.waits_for: str = ""
        self.calls: int = 0
        self.began_us: int = 0  # when the script began
        self.open_calls: dict[int, str] = {}  # number of each call without an answer -> the site it was made at
        self.scenario: Scenario = scenario
        self.script: Script = Script(scenario.steps, self)
        self._ending = False
        self._over = False

    @property
    @abstractmethod
    def sites(self) -> Mapping[str, Placed]:
        """All sites, by name."""

    @property
    @abstractmethod
    def links(self) -> Between:
        """What connects them."""

    def begin(self) -> None:
        """Begin the script; from now on the limit counts."""
        self.began_us = self.timeline.now_us
        self.timeline.after(self.scenario.limit_ms * 1000, self._stop)
        self.script.begin()
        self.look_for_end()

    def play(self, most_events: int | None = None) -> None:
        """Run to the end: a while after the last step and the last answer, or at the limit, or after so many events."""
        while not self._over and self.timeline.step():
            self.script.saw_events(len(self.events))
            if most_events is not None and len(self.events) >= most_events:
                self.waits_for = f"its end: it was stopped after {most_events} events"
                return
        if self.script.never_done:
            self.ended, self.waits_for = False, self.script.never_done
        elif not self.ended:
            unanswered = "an answer to " + ", ".join(f"call {number}" for number in self.open_calls)
            self.waits_for = self.script.waits_for or unanswered

    # What happens is told here.

    def record(self, site: str, kind: str, /, **more: Any) -> int:
        """Add an event; returns its number."""
        number = len(self.events)
        event = {"i": number, "t": self.timeline.now_us, "n": site, "k": kind, **more}
        if self.cause is not None:
            event["cause"] = self.cause
        self.events.append(event)
        return number

    def lost(self, flight: Flight, why: str) -> None:
        """A message will not arrive."""
        self.record(flight.to, "lost", id=flight.id, why=why)

    def saw(self, stage: str, flight: Flight) -> None:
        """A message has got as far as `stage`: the script may wait for it."""
        self.script.saw_message(stage, flight)

    def saw_state(self, site: str) -> None:
        """A site shows something new."""
        self.script.saw_state(site)

    def open_call(self, site: str, client: str, operation: list[Any], label: str) -> tuple[int, int]:
        """A call is made: returns its number and its event."""
        self.calls += 1
        number = self.calls
        self.open_calls[number] = site
        event = self.record(site, "call", call=number, client=client, op=operation, label=label)
        self.timeline.after(self.scenario.call_timeout_ms * 1000, self.reply, site, number, "unknown", "timed out")
        return number, event

    def reply(self, site: str, call: int, outcome: str, value: Any, **more: Any) -> None:
        """A call is answered; only the first answer counts."""
        if self.open_calls.pop(call, None) is None:
            return
        self.record(site, "reply", call=call, outcome=outcome, value=value, **more)
        self.script.saw_reply(call, outcome)
        self.look_for_end()

    def ended_site(self, site: str) -> None:
        """A site is down: nobody will answer its calls."""
        for call in [number for number, at in self.open_calls.items() if at == site]:
            self.reply(site, call, "unknown", "the site went down")

    # What the script does.

    @abstractmethod
    def call(self, site: str, client: str, operation: list[Any], label: str) -> None:
        """A client at this site asks for something. Raises BadArguments if no such call is taken there."""

    @abstractmethod
    def leader(self) -> str | None:
        """The running site that leads; of several, the one with the newest epoch."""

    def look_for_end(self) -> None:
        """End a while after the last step and the last answer, unless something goes on by then."""
        if not self._ending and not self.open_calls and not self.script.waits_for:
            self._ending = True
            self.timeline.after(self.scenario.linger_ms * 1000, self._end)

    def _end(self) -> None:
        self._ending = False
        if not self.open_calls and not self.script.waits_for:
            self.ended = self._over = True
        else:
            self.look_for_end()

    def _stop(self) -> None:
        self._over = True
