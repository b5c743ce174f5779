"""Observes what servers send to each other in frames, for the rules of their protocol."""

from struct import Struct
from typing import Any, Protocol

from recipes.core.errors import WireError
from recipes.core.replicas import wire as w
from recipes.core.replicas.wire import Dialect
from recipes.core.sim.rules import Tap

_LENGTH = Struct(">i")


class Hearer(Protocol):
    """The rules that judge what a server sends."""

    def says(self, sid: int, message: Any) -> None:
        """A server sends a message."""


class FrameTap(Tap):
    """Observes what one server sends over one connection of the quorum port.

    counts: name of a type of message -> how often it was sent.
    """

    __slots__ = ("_counts", "_dialect", "_rules", "_sid")

    def __init__(self, rules: Hearer, dialect: Dialect, sid: int, counts: dict[str, int]) -> None:
        self._rules = rules
        self._dialect = dialect
        self._sid = sid
        self._counts = counts

    def sent(self, data: bytes) -> None:
        """Look at bytes that the server sends: whole frames."""
        at = 0
        while at < len(data):
            length = _LENGTH.unpack_from(data, at)[0]
            payload = data[at + 4 : at + 4 + length]
            at += 4 + length
            name = self._dialect.message_name(payload[0])
            self._counts[name] = self._counts.get(name, 0) + 1
            if payload[0] in (w.PART, w.END):
                continue
            try:
                message = self._dialect.decode(payload)
            except WireError:
                continue  # a planted bug; its receiver says so
            self._rules.says(self._sid, message)
