"""A run of small machines: sites, links and a script under virtual time. All that happens goes into one list of events.

Nothing here draws by itself: `sources` gives a source of chance per purpose, so that a run with the same scenario,
seed and protocol has the same events, byte for byte.
"""

from collections.abc import Mapping
from typing import Any

from recipes.core.agree.machine import Machine, Message
from recipes.core.errors import BadArguments
from recipes.core.sim.chance import Sources
from recipes.lab.course import Course
from recipes.lab.links import Flight, Links
from recipes.lab.scenario import Scenario
from recipes.lab.site import Site, size_of

Member = tuple[str, type[Machine]]  # the kind of a site, such as "acceptor", and its machine


class World(Course):
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, members: Mapping[str, Member], sources: Sources) -> None:
        super().__init__(scenario, sources)
        self.settings: Mapping[str, Any] = scenario.settings
        kinds = dict.fromkeys(kind for kind, _ in members.values())
        self.names: dict[str, tuple[str, ...]] = {
            kind: tuple(name for name, (of, _) in members.items() if of == kind) for kind in kinds
        }
        self._links = Links(self.timeline, sources, scenario.delay_us, scenario.delays_us, self._arrived, self.lost)
        self._links.loss = scenario.loss
        self._sites: dict[str, Site] = {
            name: Site(self, name, kind, machine, scenario.sync_us_of(name), scenario.clocks_ms.get(name, 0))
            for name, (kind, machine) in members.items()
        }
        self._machines = {name: machine for name, (_, machine) in members.items()}

    @property
    def links(self) -> Links:
        """What connects the sites."""
        return self._links

    @property
    def sites(self) -> Mapping[str, Site]:
        """All sites, by name."""
        return self._sites

    def run(self, most_events: int | None = None) -> None:
        """Run to the end, or for so many events."""
        for site in self._sites.values():
            site.start()
        self.begin()
        self.play(most_events)

    def send(self, sender: str, to: str, message: Message) -> None:
        """A site sends a message."""
        role, kind, fields = message
        number = self.record(
            sender, "send", id=len(self.events), to=to, role=role, real=kind, bytes=size_of(message), fields=fields
        )
        flight = Flight(number, sender, to, message)
        self.links.send(flight)
        self.saw("sent", flight)

    # What the script does.

    def call(self, site: str, client: str, operation: list[Any], label: str) -> None:
        """A client at this site asks for something. Raises BadArguments if its machine takes no such call."""
        if why := self._machines[site].why_no_call(operation):
            raise BadArguments("", f"a call at {site}: {why}")
        number, event = self.open_call(site, client, operation, label)
        self._sites[site].call(number, operation, event)

    def leader(self) -> str | None:
        """The running site that leads; of several, the one with the newest epoch."""
        leading = [
            site for site in self._sites.values() if site.running and site.shown.get("role") in ("leader", "primary")
        ]
        return max(leading, key=lambda site: site.shown.get("number") or 0).name if leading else None

    def _arrived(self, flight: Flight) -> None:
        self._sites[flight.to].deliver(flight)
