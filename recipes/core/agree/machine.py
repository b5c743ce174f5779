"""What all protocols of this room are made of: a site as a pure state machine.

Inputs are method calls: `start`, `receive`, `timer`, `call`, `flushed`. Outputs come from `take`: writes, timers,
messages and replies. A machine has no clock, no disk and no source of chance of its own: `Place` brings them, and
whoever drives the machine sets `now_ms` before each input.

Nothing leaves before its reason is on disk: `write` takes what is to be done then, and `flushed` does it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from recipes.core.errors import invariant


class Message(NamedTuple):
    """A message between two sites.

    role: what it is for, in words that all protocols share, such as "prepare" or "ack".
    kind: its name in its own protocol.
    fields: its content, made of what JSON can hold. Nobody changes it.
    """

    role: str
    kind: str
    fields: Mapping[str, Any]


class Write(NamedTuple):
    """A value to store under a key; None removes the key.

    number: rises by one with each write of a machine. sync: False for a value that a crash may take back: no sync is
    made for it alone.
    """

    number: int
    key: str
    value: Any
    sync: bool = True


class Timer(NamedTuple):
    """Call `timer(name)` after `delay_ms`, in place of an earlier timer of that name; None stops that one."""

    name: str
    delay_ms: int | None


class Reply(NamedTuple):
    """The answer to a call. outcome: "ok", or "fail" with the reason in `value`."""

    call: int
    outcome: str
    value: Any


class Effects(NamedTuple):
    """All that a machine wants done since it was last asked."""

    writes: list[Write]
    timers: list[Timer]
    messages: list[tuple[str, Message]]
    replies: list[Reply]


class State(NamedTuple):
    """What a site says of itself, for people and for figures; no check relies on it alone.

    role: such as "leader" or "acceptor". number: its epoch, ballot or fence. leader: the site it takes for the leader.
    last, committed, applied: the ends of its log. details: whatever else is worth seeing, by name.
    """

    role: str
    number: Any = None
    leader: str | None = None
    last: int | None = None
    committed: int | None = None
    applied: int | None = None
    details: tuple[tuple[str, Any], ...] = ()


class Place(NamedTuple):
    """Where a machine runs.

    me: the name of its site. sites: the names of all sites of each kind, such as "acceptor". settings: of the protocol.
    stored: what its disk holds, by key. below: a random number from 0 to its argument less one.
    """

    me: str
    sites: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, Any]
    stored: Mapping[str, Any]
    below: Callable[[int], int]


class Machine(ABC):
    """A site. Subclasses name the method for each kind of message in `HANDLERS`, and in
    `CALLS` the operations that `call` takes, with the numbers of arguments that each may have.

    now_ms: this site's clock, set before each input.
    """

    HANDLERS: ClassVar[Mapping[str, str]] = {}
    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {}

    def __init__(self, place: Place) -> None:
        self.place = place
        self.me: str = place.me
        self.now_ms: int = 0
        self.stored: dict[str, Any] = dict(place.stored)  # what the disk will hold once all writes are done
        self._written = 0
        self._then: dict[int, Callable[[], None]] = {}
        self._effects = Effects([], [], [], [])
        self._handlers: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
            kind: getattr(self, method) for kind, method in self.HANDLERS.items()
        }

    # Inputs.

    def start(self) -> None:  # noqa: B027 - some have nothing to do
        """The site has started, perhaps again: `place.stored` is all it remembers."""

    def receive(self, sender: str, message: Message) -> None:
        """A message has arrived."""
        invariant(message.kind in self._handlers, f"{self.me}: no row for {message.kind}")
        self._handlers[message.kind](sender, message.fields)

    def timer(self, name: str) -> None:  # noqa: B027 - some set none
        """A timer that was set has run out."""

    def call(self, number: int, operation: list[Any]) -> None:
        """A client asks for something that `CALLS` has; each call is answered at most once."""
        invariant(False, f"{self.me} takes no calls")

    def flushed(self, number: int) -> None:
        """All writes up to this one are on disk."""
        for each in [write for write in self._then if write <= number]:
            self._then.pop(each)()

    # Outputs.

    def take(self) -> Effects:
        """What is to be done now, each thing once."""
        taken, self._effects = self._effects, Effects([], [], [], [])
        return taken

    @abstractmethod
    def describe(self) -> State:
        """What there is to see of this site."""

    @classmethod
    def why_no_call(cls, operation: list[Any]) -> str:
        """Why `call` does not take this operation; empty if it does."""
        name = operation[0] if operation else None
        if isinstance(name, str) and len(operation) - 1 in cls.CALLS.get(name, ()):
            return ""
        if not cls.CALLS:
            return f"{operation!r}: this kind of site takes no calls"
        known = (f"{name} {' or '.join(map(str, counts))}" for name, counts in cls.CALLS.items())
        return f"{operation!r}: expected one of these, with so many arguments: {', '.join(known)}"

    # For subclasses.

    def setting(self, name: str, default: Any) -> Any:
        """A setting of the protocol."""
        return self.place.settings.get(name, default)

    def write(self, key: str, value: Any, then: Callable[[], None] | None = None) -> None:
        """Store a value; `then` is called when it is on disk. Without `then` nothing waits for it: it may be lost."""
        self._written += 1
        if value is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = value
        self._effects.writes.append(Write(self._written, key, value, then is not None))
        if then is not None:
            self._then[self._written] = then

    def send(self, to: str, role: str, kind: str, /, **fields: Any) -> None:
        """Send a message to another site."""
        self._effects.messages.append((to, Message(role, kind, fields)))

    def set_timer(self, name: str, delay_ms: int | None) -> None:
        """Set a timer, or stop it with None."""
        self._effects.timers.append(Timer(name, delay_ms))

    def reply(self, call: int, outcome: str, value: Any) -> None:
        """Answer a call."""
        self._effects.replies.append(Reply(call, outcome, value))
