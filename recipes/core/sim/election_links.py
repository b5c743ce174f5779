"""Simulated connections of the election port: a new message replaces one that still waits to be sent.

A new connection sends the last message of each side again, in case the old connection lost it.
Source: QuorumCnxManager.java.
"""

from collections import deque
from collections.abc import Callable

from recipes.core.sim.chance import Random, between
from recipes.core.sim.network import Network
from recipes.core.sim.recorder import Recorder
from recipes.core.sim.timeline import Timeline

_RETRY_US = 300_000
Pair = tuple[int, int]


class _Direction:
    __slots__ = ("arrives_us", "last", "travelling", "waiting")

    def __init__(self) -> None:
        self.last: bytes | None = None
        self.waiting: bytes | None = None  # until there is a connection
        self.travelling: deque[bytes] = deque()
        self.arrives_us = 0


class ElectionLinks:
    """Carries notifications between servers that run.

    deliver(receiver, sender, frame): called for each notification that arrives. retry_us: the longest time until a
        connection is tried again. recorder: is told what is sent and what arrives.
    """

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        chance: Random,
        deliver: Callable[[int, int, bytes], None],
        retry_us: int = _RETRY_US,
    ) -> None:
        self.recorder: Recorder | None = None
        self._retry_us = retry_us
        self._timeline = timeline
        self._network = network
        self._chance = chance
        self._deliver = deliver
        self._running: dict[int, None] = {}
        self._up: dict[Pair, int] = {}  # pair of ids, the smaller first -> number of the connection
        self._directions: dict[Pair, _Direction] = {}  # by sender and receiver
        self._count = 0

    def started(self, sid: int) -> None:
        """A server runs: the others connect to it, and it to them."""
        for other in self._running:
            self._connect_later(min(sid, other), max(sid, other))
        self._running[sid] = None

    def stopped(self, sid: int) -> None:
        """A server has stopped: its connections and its unsent messages are gone."""
        self._running.pop(sid, None)
        for pair in list(self._up):
            if sid in pair:
                del self._up[pair]
        for sender, receiver in list(self._directions):
            if sender == sid:
                self._drop(sender, receiver)
                del self._directions[sender, receiver]
            elif receiver == sid:
                self._drop(sender, receiver)

    def reset(self, first: int, second: int) -> None:
        """The connection of two servers breaks; they connect again."""
        pair = min(first, second), max(first, second)
        if self._up.pop(pair, None) is not None:
            for direction in (pair, pair[::-1]):
                self._drop(*direction)
            self._connect_later(*pair)

    def send(self, sender: int, receiver: int, message: bytes) -> None:
        """Send a notification; it replaces one that still waits for the connection."""
        direction = self._direction(sender, receiver)
        direction.last = message
        if (min(sender, receiver), max(sender, receiver)) in self._up:
            self._set_out(sender, receiver, direction, message)
        else:
            direction.waiting = message

    def hasten(self, sender: int, receiver: int) -> None:
        """Let the oldest notification on its way in this direction arrive now."""
        self._arrive(sender, receiver, self._up.get((min(sender, receiver), max(sender, receiver)), 0))

    def _direction(self, sender: int, receiver: int) -> _Direction:
        return self._directions.setdefault((sender, receiver), _Direction())

    def _drop(self, sender: int, receiver: int, kept: int = 0) -> None:
        """Lose the messages on their way, but for the newest `kept`."""
        travelling = self._direction(sender, receiver).travelling
        while len(travelling) > kept:
            travelling.popleft()
        if self.recorder is not None:
            self.recorder.notes_lost(sender, receiver, kept)

    def _connect_later(self, low: int, high: int) -> None:
        self._timeline.after(between(self._chance, 100, self._retry_us), self._connect, low, high)

    def _connect(self, low: int, high: int) -> None:
        if low not in self._running or high not in self._running or (low, high) in self._up:
            return
        if self._network.is_blocked((low, high)) or self._network.is_blocked((high, low)):
            self._connect_later(low, high)
            return
        self._count += 1
        self._up[low, high] = self._count
        for sender, receiver in ((low, high), (high, low)):
            direction = self._direction(sender, receiver)
            self._drop(sender, receiver)
            message, direction.waiting = direction.waiting or direction.last, None
            if message is not None:
                self._set_out(sender, receiver, direction, message)

    def _set_out(self, sender: int, receiver: int, direction: _Direction, message: bytes) -> None:
        direction.travelling.append(message)
        if self.recorder is not None:
            self.recorder.note_sent(sender, receiver, message)
        when_us = self._timeline.now_us + self._network.delay_us((sender, receiver))
        direction.arrives_us = max(direction.arrives_us, when_us)
        number = self._up[min(sender, receiver), max(sender, receiver)]
        self._timeline.at(direction.arrives_us, self._arrive, sender, receiver, number)

    def _arrive(self, sender: int, receiver: int, number: int) -> None:
        if self._up.get((min(sender, receiver), max(sender, receiver))) != number:
            return
        direction = self._direction(sender, receiver)
        if not direction.travelling:
            return
        if self._network.is_blocked((sender, receiver)):
            # Try again until the direction is free; keep only the newest message.
            self._drop(sender, receiver, kept=1)
            self._timeline.after(between(self._chance, 1000, self._retry_us), self._arrive, sender, receiver, number)
            return
        frame = direction.travelling.popleft()
        if self.recorder is None or self.recorder.note_arrives(sender, receiver, frame):
            self._deliver(receiver, sender, frame)
