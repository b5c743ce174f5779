"""Connections to a port between servers that have not said yet which server they are from."""

from collections.abc import Callable
from typing import Final, Protocol

MOST_FROM_SERVERS: Final = 128
MOST_FROM_ELSEWHERE: Final = 64


class Stranger(Protocol):
    """A connection without an introduction."""

    def hang_up(self) -> None:
        """Close now."""


class Strangers:
    """A limit on their number: the oldest gives way to a new one. A server of the ensemble introduces itself at once.

    Connections from the addresses of the ensemble's servers have places of their own.

    is_server: whether an address is one of those.
    """

    def __init__(self, is_server: Callable[[str], bool]) -> None:
        self._is_server = is_server
        self._near: dict[Stranger, None] = {}  # the oldest first
        self._far: dict[Stranger, None] = {}

    def meet(self, stranger: Stranger, address: object) -> None:
        """A connection is new. address: the other end's, as a socket has it."""
        near = isinstance(address, tuple) and self._is_server(str(address[0]))
        there, most = (self._near, MOST_FROM_SERVERS) if near else (self._far, MOST_FROM_ELSEWHERE)
        if len(there) >= most:
            oldest = next(iter(there))
            del there[oldest]
            oldest.hang_up()
        there[stranger] = None

    def know(self, stranger: Stranger) -> None:
        """A connection has introduced itself, or is closed. To say so twice does no harm."""
        self._near.pop(stranger, None)
        self._far.pop(stranger, None)
