"""Messages on their way between sites: each arrives once and in order, or is lost.

Each direction between two sites has a source of chance of its own, so that a protocol that sends more messages
somewhere does not change the delays elsewhere: the n-th message from 1 to 2 takes equally long in all runs of a seed.
"""

from collections.abc import Callable, Iterable, Mapping

from recipes.core.agree.machine import Message
from recipes.core.sim.chance import Random, Sources, between, happens
from recipes.core.sim.timeline import Timeline

Direction = tuple[str, str]


class Flight:
    """One message on its way.

    id: the number of its `send` event. held: it waits for `release`. late_us: it arrives so much later than it would.
    copies: how often it arrives. why_lost: set when it will not arrive.
    """

    __slots__ = ("copies", "held", "id", "late_us", "message", "sender", "to", "waiting", "why_lost")

    def __init__(self, number: int, sender: str, to: str, message: Message) -> None:
        self.id: int = number
        self.sender: str = sender
        self.to: str = to
        self.message: Message = message
        self.held: bool = False
        self.late_us: int = 0
        self.copies: int = 1
        self.waiting: bool = False
        self.why_lost: str | None = None


class Links:
    """All directions between sites.

    delay_us: the shortest and the longest delay; of single directions in `delays`. loss: the probability of each
    message to be lost. arrived, lost: called with each flight at its end.
    """

    def __init__(
        self,
        timeline: Timeline,
        sources: Sources,
        delay_us: tuple[int, int],
        delays: Mapping[Direction, tuple[int, int]],
        arrived: Callable[[Flight], None],
        lost: Callable[[Flight, str], None],
    ) -> None:
        self.loss: float = 0.0
        self.held: list[Flight] = []
        self._timeline = timeline
        self._sources = sources
        self._delay_us = delay_us
        self._delays = delays
        self._arrived = arrived
        self._lost = lost
        self._chances: dict[Direction, Random] = {}
        self._last_us: dict[Direction, int] = {}
        self._cut: dict[Direction, None] = {}
        self._flying: dict[int, Flight] = {}  # by number: what has not arrived yet

    def send(self, flight: Flight) -> None:
        """Send a message on its way, unless its direction is cut."""
        direction = (flight.sender, flight.to)
        chance = self._chances.get(direction)
        if chance is None:
            chance = self._chances[direction] = self._sources(f"net {direction[0]}>{direction[1]}")
        low, high = self._delays.get(direction, self._delay_us)
        delay_us = between(chance, low, high)
        lost = happens(chance, self.loss)  # drawn for each message, so that the next one has the same delay either way
        arrives_us = max(self._timeline.now_us + delay_us, self._last_us.get(direction, 0))
        self._last_us[direction] = arrives_us
        if direction in self._cut:
            flight.why_lost = "cut"
        elif lost:
            flight.why_lost = "loss"
        self._flying[flight.id] = flight
        self._timeline.at(arrives_us, self._arrive, flight)

    def cut(self, directions: Iterable[Direction]) -> None:
        """Nothing gets through in these directions; messages on their way are lost too."""
        self._cut.update(dict.fromkeys(directions))

    def heal(self, directions: Iterable[Direction] | None = None) -> None:
        """Let messages through again: in these directions, or in all."""
        for each in list(self._cut) if directions is None else directions:
            self._cut.pop(each, None)

    def is_cut(self, direction: Direction) -> bool:
        """Whether nothing gets through in this direction."""
        return direction in self._cut

    def hold(self, flight: Flight) -> None:
        """Keep a message back until `release`; later ones overtake it."""
        flight.held = True
        self.held.append(flight)

    def release(self) -> None:
        """Let all messages that are kept back go on."""
        held, self.held = self.held, []
        for flight in held:
            flight.held = False
            if flight.waiting:
                self._timeline.after(0, self._arrive, flight)

    def delay(self, flight: Flight, by_us: int) -> None:
        """Have a message arrive later than it would; later ones overtake it."""
        flight.late_us += by_us

    def duplicate(self, flight: Flight) -> None:
        """Have a message arrive twice, one right after the other."""
        flight.copies += 1

    def deliver(self, number: int) -> None:
        """Let the message with this number arrive now, also one that would be lost; it overtakes others.

        Nothing happens if it is not on its way.
        """
        flight = self._flying.get(number)
        if flight is not None:
            flight.held, flight.late_us, flight.why_lost = False, 0, None
            self._arrive(flight)

    def _arrive(self, flight: Flight) -> None:
        if flight.id not in self._flying:
            return  # it was delivered before its time
        if flight.held:
            flight.waiting = True
            return
        if flight.late_us:
            late_us, flight.late_us = flight.late_us, 0
            self._timeline.after(late_us, self._arrive, flight)
            return
        flight.copies -= 1
        if flight.copies:
            self._timeline.after(0, self._arrive, flight)
        else:
            del self._flying[flight.id]
        if flight.why_lost is not None:
            self._lost(flight, flight.why_lost)
        elif (flight.sender, flight.to) in self._cut:
            self._lost(flight, "cut")
        else:
            self._arrived(flight)
