"""Connections between sites. In each direction bytes arrive once, in order and cut anywhere; nothing follows the end.

A site is a number: the id of a server or of a client. Each direction between two sites can be blocked by itself.
Blocked bytes arrive later, as TCP retransmits them, unless the connection ends first.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from recipes.core.sim.chance import Random, between, happens
from recipes.core.sim.recorder import Recorder
from recipes.core.sim.timeline import Timeline

_DIAL_TIMEOUT_US = 1_000_000
_NOTICED_AFTER_US = 2_000_000


class Side:
    """One end of a connection. What arrives before it has an owner waits, as a kernel keeps what its process has not
    read yet.

    what: the service that the connection is for.
    """

    __slots__ = (
        "_arrives_us", "_early", "_held", "_inbox", "_lost", "_network", "_receive", "_unread", "closed", "from_peer",
        "number", "peer", "site", "what",
    )  # fmt: skip

    def __init__(self, network: "Network", number: int, site: int, what: str) -> None:
        self._network = network
        self.number: int = number
        self.site: int = site
        self.what: str = what
        self.peer: Side
        self.from_peer: tuple[int, int] = (0, 0)  # direction of arriving bytes: (site of the peer, own site)
        self.closed: bool = False
        self._unread: list[bytes | None] = []  # arrived before anybody owns this end
        self._receive: Callable[[bytes], Any] = self._unread.append
        self._lost: Callable[[], Any] = lambda: self._unread.append(None)
        self._inbox: deque[bytes | None] = deque()  # bytes on their way here; None is the end
        self._arrives_us = 0
        self._held = 0
        self._early = 0  # so many arrivals have come before their time

    def own(self, receive: Callable[[bytes], Any], lost: Callable[[], Any]) -> None:
        """Have `receive` called with bytes that arrive, and `lost` once when the other end, or the network, has ended
        the connection; first for what has arrived already."""
        self._receive, self._lost = receive, lost
        unread, self._unread = self._unread, []
        for data in unread:
            if data is None:
                lost()
            else:
                receive(data)

    def send(self, data: bytes) -> None:
        """Send bytes, unless this end is closed."""
        if not self.closed:
            if self._network.recorder is not None:
                self._network.recorder.sent(self, data)
            self.peer.enqueue(data)

    def close(self) -> None:
        """Close this end; the other end notices after all bytes sent. This end's owner is told nothing."""
        if not self.closed:
            self._end()
            self.peer.enqueue(None)
            self._network.forget(self)

    def vanish(self) -> None:
        """End without notice to the other end; blocked bytes on their way there are lost."""
        self._end()
        self.peer.drop_held()

    def drop_held(self) -> None:
        """Drop the bytes on their way here if this direction is blocked."""
        if not self.closed and self._network.is_blocked(self.from_peer):
            self._inbox.clear()

    # Called by the network.

    def enqueue(self, data: bytes | None) -> None:
        """Send bytes, or the end, on their way here."""
        if not self.closed:
            self._inbox.append(data)
            self._set_out()

    def _set_out(self) -> None:
        network = self._network
        timeline = network.timeline
        self._arrives_us = max(self._arrives_us, timeline.now_us + network.delay_us(self.from_peer))
        timeline.at(self._arrives_us, self._due)

    def _due(self) -> None:
        if self._early:
            self._early -= 1
        else:
            self._arrive()

    def _arrive(self) -> None:
        if self.closed or not self._inbox:
            return
        network, recorder = self._network, self._network.recorder
        if network.is_blocked(self.from_peer) or (recorder is not None and recorder.stops(self)):
            self._held += 1
            return
        data = self._inbox.popleft()
        if data is None:
            self._end()
            network.forget(self)
            self._lost()
        elif len(data) > 1 and network.cuts():
            at = between(network.chance, 1, len(data) - 1)
            self._inbox.appendleft(data[at:])
            self._set_out()
            self._take(data[:at])
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._network.recorder is not None:
            self._network.recorder.arrives(self, data)
        if not self.closed:
            self._receive(data)

    def _end(self) -> None:
        self.closed = True
        if self._network.recorder is not None:
            self._network.recorder.ended(self)

    def resume(self) -> None:
        """Let blocked bytes go on."""
        held, self._held = self._held, 0
        for _ in range(held):
            self._set_out()

    def hasten(self) -> None:
        """Let the next bytes on their way here arrive now, unless they are blocked."""
        if self._held:
            self._held -= 1
        else:
            self._early += 1
        self._arrive()

    def sever(self) -> None:
        """Break the connection: nothing that is on its way here arrives, and the end comes at once."""
        if not self.closed:
            self._inbox.clear()
            self.peer.peer = _NOWHERE
            self._arrives_us = 0
            self.enqueue(None)

    def cut(self) -> None:
        """Break the connection: some of the bytes on their way here arrive, then the end, at once or later."""
        if self.closed:
            return
        chance, inbox = self._network.chance, self._inbox
        while inbox and happens(chance, 0.5):
            inbox.pop()
        if inbox and (last := inbox.pop()) is not None:
            inbox.append(last[: chance.randrange(len(last) + 1)])
        self.peer.peer = _NOWHERE  # whatever is sent from now on is lost
        self._arrives_us += chance.randrange(_NOTICED_AFTER_US) if happens(chance, 0.5) else 0
        self.enqueue(None)


class _Nowhere(Side):
    """The peer of a broken connection: it drops all bytes."""

    def __init__(self) -> None:
        self.closed = True
        self.site = -1

    def enqueue(self, data: bytes | None) -> None:
        """Nothing arrives here."""

    def drop_held(self) -> None:
        """Nothing to drop."""


_NOWHERE = _Nowhere()


class Network:
    """All connections, and the directions that are blocked.

    listener: called with (callee, caller, what) when a connection arrives; returns a function that takes the callee's
        Side, or None to refuse.
    slow: delays are multiplied by a random factor from 1 to this. slowest_us: the longest delay so far.
    recorder: is told what is sent and what arrives.
    """

    def __init__(self, timeline: Timeline, chance: Random, typical_delay_us: int, cut_probability: float) -> None:
        self.timeline = timeline
        self.chance = chance
        self.listener: Callable[[int, int, str], Callable[[Side], None] | None] = _refuse
        self.slow = 1
        self.slowest_us: int = 0
        self.recorder: Recorder | None = None
        self._typical_delay_us = typical_delay_us
        self._cut_probability = cut_probability
        self._blocked: dict[tuple[int, int], int] = {}
        self._sides: dict[tuple[int, int], Side] = {}  # open ends, by number and site, in order of opening
        self._count = 0
        self._freed: list[Callable[[], None]] = []

    def delay_us(self, direction: tuple[int, int]) -> int:
        """Draw a delay for bytes in this direction."""
        delay_us = 20 + self.chance.randrange(self._typical_delay_us)
        if self.slow > 1:
            delay_us = delay_us * (1 + self.chance.randrange(self.slow))
        self.slowest_us = max(self.slowest_us, delay_us)
        return delay_us

    def cuts(self) -> bool:
        """Whether bytes arrive in two parts this time."""
        return self._cut_probability > 0 and self.chance.random() < self._cut_probability

    def is_blocked(self, direction: tuple[int, int]) -> bool:
        """Whether nothing gets through from the first site to the second."""
        return direction in self._blocked

    def block(self, directions: Iterable[tuple[int, int]]) -> None:
        """Block these directions until `unblock` is called as often as `block`."""
        for direction in directions:
            self._blocked[direction] = self._blocked.get(direction, 0) + 1

    def unblock(self, directions: Iterable[tuple[int, int]]) -> None:
        """Take back a `block`; blocked bytes go on."""
        for direction in directions:
            count = self._blocked.get(direction, 0) - 1
            if count > 0:
                self._blocked[direction] = count
            else:
                self._blocked.pop(direction, None)
        for side in list(self._sides.values()):
            if not self.is_blocked(side.from_peer):
                side.resume()
        for action in self._freed:
            action()

    def on_unblock(self, action: Callable[[], None]) -> None:
        """Call `action` after every `unblock`."""
        self._freed.append(action)

    def dial(
        self, caller: int, callee: int, what: str, connected: Callable[[Side], None], failed: Callable[[], None]
    ) -> None:
        """Connect; calls one of the two functions later, even if the caller has ended by then."""
        if self.is_blocked((caller, callee)) or self.is_blocked((callee, caller)):
            self.timeline.after(self.chance.randrange(_DIAL_TIMEOUT_US), failed)
            return
        self.timeline.after(self.delay_us((caller, callee)), self._arrive, caller, callee, what, connected, failed)

    def _arrive(
        self, caller: int, callee: int, what: str, connected: Callable[[Side], None], failed: Callable[[], None]
    ) -> None:
        take = self.listener(callee, caller, what)
        back_us = self.delay_us((callee, caller))
        if take is None:
            self.timeline.after(back_us, failed)
            return
        self._count += 1
        near, far = Side(self, self._count, caller, what), Side(self, self._count, callee, what)
        near.peer, far.peer = far, near
        near.from_peer, far.from_peer = (callee, caller), (caller, callee)
        near._arrives_us = self.timeline.now_us + back_us  # no bytes arrive before the connection is up
        self._sides[self._count, caller], self._sides[self._count, callee] = near, far
        take(far)
        self.timeline.after(back_us, connected, near)

    def forget(self, side: Side) -> None:
        """Remove a closed end."""
        self._sides.pop((side.number, side.site), None)

    def sides_of(self, site: int) -> list[Side]:
        """Every open end at a site."""
        return [side for (_, where), side in self._sides.items() if where == site]

    def streams(self) -> list[tuple[Side, Side]]:
        """Every connection that is open at both ends."""
        return [
            (side, side.peer)
            for side in self._sides.values()
            if side.peer.peer is side and side.site < side.peer.site and not side.peer.closed
        ]

    def reset(self, side: Side) -> None:
        """Break a connection; its ends may notice at different times."""
        other = side.peer
        side.cut()
        other.cut()

    def vanish(self, site: int) -> list[Side]:
        """A site has lost power: drop its ends, and return the other ends, which do not notice for now."""
        orphans = []
        for side in self.sides_of(site):
            side.vanish()
            self.forget(side)
            if not side.peer.closed:
                orphans.append(side.peer)
        return orphans

    def disown(self, orphans: list[Side]) -> None:
        """The site is back and does not know these connections: end them, each after a random delay."""
        for side in orphans:
            if not side.closed:
                self.timeline.after(self.chance.randrange(_NOTICED_AFTER_US), side.enqueue, None)


def _refuse(callee: int, caller: int, what: str) -> None:
    """Refuse every connection."""
