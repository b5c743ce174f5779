"""The network under the servers: the simulator's connections, with the laboratory's delays and faults.

Each direction between two sites has a source of chance of its own, so that message n from one server to another takes
equally long in all runs of a seed. A connection is a stream, as TCP is: a message that is kept back keeps back all
that follows it, and one that is dropped takes its connection with it. Loss makes a message late, as sending it again
does.
"""

from collections.abc import Callable, Iterable, Mapping

from recipes.core.errors import BadArguments
from recipes.core.sim.chance import Random, Sources, between, happens
from recipes.core.sim.network import Network, Side
from recipes.core.sim.timeline import Timeline
from recipes.lab.links import Direction, Flight

CLIENTS = 100  # sites of clients are numbered from here
_TO_CLIENTS_US = 10
_SENT_AGAIN_US = 200_000

Pair = tuple[int, int]


class Wires(Network):
    """All connections.

    numbers: of the sites, by name. loss: the probability of each message to be sent again. deliver_now: finds a message
    by its number and lets it arrive.
    """

    def __init__(
        self,
        timeline: Timeline,
        sources: Sources,
        numbers: Mapping[str, int],
        delay_us: tuple[int, int],
        delays: Mapping[Direction, tuple[int, int]],
    ) -> None:
        super().__init__(timeline, sources("network"), delay_us[1], 0.0)
        self.loss: float = 0.0
        self._sources = sources
        self._numbers = numbers
        self._delay_us = delay_us
        self._delays = {(numbers[one], numbers[other]): delay for (one, other), delay in delays.items()}
        self._chances: dict[Pair, Random] = {}
        self._cut: dict[Pair, None] = {}
        self._held: list[Flight] = []
        self._release: list[Callable[[], None]] = []
        self.deliver_now: Callable[[int], None] = _unknown

    def delay_us(self, direction: tuple[int, int]) -> int:
        """Draw a delay for bytes in this direction."""
        if max(direction) >= CLIENTS:
            return _TO_CLIENTS_US
        chance = self._chances.get(direction)
        if chance is None:
            chance = self._chances[direction] = self._sources(f"net s{direction[0]}>s{direction[1]}")
        delay_us = between(chance, *self._delays.get(direction, self._delay_us))
        again = happens(chance, self.loss)  # drawn for each message, so that the next one has the same delay either way
        return delay_us + _SENT_AGAIN_US if again else delay_us

    def cut(self, directions: Iterable[Direction]) -> None:
        """Nothing gets through in these directions; what is on its way waits, as TCP sends it again."""
        new = [pair for pair in self._pairs(directions) if pair not in self._cut]
        self._cut.update(dict.fromkeys(new))
        self.block(new)

    def heal(self, directions: Iterable[Direction] | None = None) -> None:
        """Let messages through again: in these directions, or in all."""
        pairs = list(self._cut) if directions is None else self._pairs(directions)
        freed = [pair for pair in pairs if pair in self._cut]
        for pair in freed:
            del self._cut[pair]
        self.unblock(freed)

    def hold(self, flight: Flight) -> None:
        """Keep a message back until `release`, and on a connection all that follows it."""
        flight.held = True
        self._held.append(flight)

    def at_release(self, action: Callable[[], None]) -> None:
        """Call `action` at the next `release`."""
        self._release.append(action)

    def release(self) -> None:
        """Let all messages that are kept back go on."""
        held, self._held = self._held, []
        for flight in held:
            flight.held = False
        actions, self._release = self._release, []
        for action in actions:
            action()

    def delay(self, flight: Flight, by_us: int) -> None:
        """Have a message arrive later than it would, and on a connection all that follows it."""
        flight.late_us += by_us

    def duplicate(self, flight: Flight) -> None:
        """Raises BadArguments: a stream has each message once."""
        raise BadArguments("", "duplicate: servers speak over streams, which have each message once")

    def deliver(self, number: int) -> None:
        """Let the message with this number arrive now, and on a connection all that comes before it."""
        self.deliver_now(number)

    def side(self, number: int, site: int) -> Side | None:
        """The open end of a connection at a site."""
        return self._sides.get((number, site))

    def _pairs(self, directions: Iterable[Direction]) -> list[Pair]:
        return [(self._numbers[one], self._numbers[other]) for one, other in directions]


def _unknown(number: int) -> None:
    """Nobody knows any message yet."""
