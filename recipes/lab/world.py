"""A run: sites, links and a script under virtual time. All that happens goes into one list of events.

Nothing here draws by itself: `sources` gives a source of chance per purpose, so that a run with the same scenario,
seed and protocol has the same events, byte for byte.
"""

from collections.abc import Mapping
from typing import Any

from recipes.core.agree.machine import Machine, Message
from recipes.core.errors import BadArguments
from recipes.core.sim.chance import Sources
from recipes.core.sim.timeline import Timeline
from recipes.lab.links import Flight, Links
from recipes.lab.scenario import Scenario
from recipes.lab.script import Script
from recipes.lab.site import Site, size_of

Member = tuple[str, type[Machine]]  # the kind of a site, such as "acceptor", and its machine


class World:
    """One run of a scenario.

    events: what happened. ended: whether the script came to its end and all calls were answered in time.
    waits_for: what the script still waited for when the run stopped, "" if nothing.
    """

    def __init__(self, scenario: Scenario, members: Mapping[str, Member], sources: Sources) -> None:
        self.sources: Sources = sources
        self.settings: Mapping[str, Any] = scenario.settings
        self.timeline: Timeline = Timeline(sources("order"))
        self.events: list[dict[str, Any]] = []
        self.cause: int | None = None
        self.ended: bool = False
        self.waits_for: str = ""
        kinds = dict.fromkeys(kind for kind, _ in members.values())
        self.names: dict[str, tuple[str, ...]] = {
            kind: tuple(name for name, (of, _) in members.items() if of == kind) for kind in kinds
        }
        self.links: Links = Links(
            self.timeline, sources, scenario.delay_us, scenario.delays_us, self._arrived, self.lost
        )
        self.links.loss = scenario.loss
        self.sites: dict[str, Site] = {
            name: Site(self, name, kind, machine, scenario.sync_us_of(name), scenario.clocks_ms.get(name, 0))
            for name, (kind, machine) in members.items()
        }
        self.open_calls: dict[int, str] = {}  # number of each call without an answer -> the site it was made at
        self._scenario = scenario
        self._machines = {name: machine for name, (_, machine) in members.items()}
        self.calls: int = 0
        self._ending = False
        self._over = False
        self._script = Script(scenario.steps, self)

    def run(self, most_events: int | None = None) -> None:
        """Run to the end: a while after the last step and the last answer, or at the limit, or after so many events."""
        for site in self.sites.values():
            site.start()
        self.timeline.at(self._scenario.limit_ms * 1000, self._stop)
        self._script.begin()
        self.look_for_end()
        while not self._over and self.timeline.step():
            self._script.saw_events(len(self.events))
            if most_events is not None and len(self.events) >= most_events:
                self.waits_for = f"its end: it was stopped after {most_events} events"
                return
        if self._script.never_done:
            self.ended, self.waits_for = False, self._script.never_done
        elif not self.ended:
            unanswered = "an answer to " + ", ".join(f"call {number}" for number in self.open_calls)
            self.waits_for = self._script.waits_for or unanswered

    # What happens is told here.

    def record(self, site: str, kind: str, /, **more: Any) -> int:
        """Add an event; returns its number."""
        number = len(self.events)
        event = {"i": number, "t": self.timeline.now_us, "n": site, "k": kind, **more}
        if self.cause is not None:
            event["cause"] = self.cause
        self.events.append(event)
        return number

    def send(self, sender: str, to: str, message: Message) -> None:
        """A site sends a message."""
        role, kind, fields = message
        number = self.record(
            sender, "send", id=len(self.events), to=to, role=role, real=kind, bytes=size_of(message), fields=fields
        )
        flight = Flight(number, sender, to, message)
        self.links.send(flight)
        self._script.saw_message("sent", flight)

    def lost(self, flight: Flight, why: str) -> None:
        """A message will not arrive."""
        self.record(flight.to, "lost", id=flight.id, why=why)

    def saw(self, stage: str, flight: Flight) -> None:
        """A message has got as far as `stage`: the script may wait for it."""
        self._script.saw_message(stage, flight)

    def saw_state(self, site: str) -> None:
        """A site shows something new."""
        self._script.saw_state(site)

    def reply(self, site: str, call: int, outcome: str, value: Any) -> None:
        """A call is answered; only the first answer counts."""
        if self.open_calls.pop(call, None) is None:
            return
        self.record(site, "reply", call=call, outcome=outcome, value=value)
        self._script.saw_reply(call, outcome)
        self.look_for_end()

    def ended_site(self, site: str) -> None:
        """A site is down: nobody will answer its calls."""
        for call in [number for number, at in self.open_calls.items() if at == site]:
            self.reply(site, call, "unknown", "the site went down")

    # What the script does.

    def call(self, site: str, client: str, operation: list[Any], label: str) -> None:
        """A client at this site asks for something. Raises BadArguments if its machine takes no such call."""
        if why := self._machines[site].why_no_call(operation):
            raise BadArguments("", f"a call at {site}: {why}")
        self.calls += 1
        number = self.calls
        self.open_calls[number] = site
        event = self.record(site, "call", call=number, client=client, op=operation, label=label)
        self.timeline.after(self._scenario.call_timeout_ms * 1000, self.reply, site, number, "unknown", "timed out")
        self.sites[site].call(number, operation, event)

    def leader(self) -> str | None:
        """The running site that leads; of several, the one with the newest epoch."""
        leading = [
            site for site in self.sites.values() if site.running and site.shown.get("role") in ("leader", "primary")
        ]
        return max(leading, key=lambda site: site.shown.get("number") or 0).name if leading else None

    def look_for_end(self) -> None:
        """End a while after the last step and the last answer, unless something goes on by then."""
        if not self._ending and not self.open_calls and not self._script.waits_for:
            self._ending = True
            self.timeline.after(self._scenario.linger_ms * 1000, self._end)

    def _end(self) -> None:
        self._ending = False
        if not self.open_calls and not self._script.waits_for:
            self.ended = self._over = True
        else:
            self.look_for_end()

    def _stop(self) -> None:
        self._over = True

    def _arrived(self, flight: Flight) -> None:
        self.sites[flight.to].deliver(flight)
