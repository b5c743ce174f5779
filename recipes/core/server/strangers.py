"""Connections that have not said yet who they are from: not all of a TLS handshake has come, or no introduction."""

from collections.abc import Callable
from typing import Final, Protocol

MOST_FROM_SERVERS: Final = 128
MOST_FROM_ELSEWHERE: Final = 64


class Stranger(Protocol):
    """A connection without an introduction."""

    def hang_up(self) -> None:
        """Close now."""


class Strangers:
    """A limit on their number: the oldest gives way to a new one. Whoever means well introduces himself at once.

    crowded: called with the socket address of one that has to go, and with their number.
    most: how many there may be; 0: any number.
    is_server: whether an address is that of a server of the ensemble. Connections from there have places of their own.
    """

    def __init__(
        self,
        crowded: Callable[[object, int], None],
        most: int | None = None,
        is_server: Callable[[str], bool] | None = None,
    ) -> None:
        self._crowded = crowded
        self._most = most
        self._is_server = is_server
        self._near: dict[Stranger, object] = {}  # the oldest first, each with its address
        self._far: dict[Stranger, object] = {}

    def __len__(self) -> int:
        return len(self._near) + len(self._far)

    def meet(self, stranger: Stranger, address: object) -> None:
        """A connection is new. address: the other end's, as a socket has it."""
        near = self._is_server is not None and isinstance(address, tuple) and self._is_server(str(address[0]))
        there, most = (self._near, MOST_FROM_SERVERS) if near else (self._far, MOST_FROM_ELSEWHERE)
        most = most if self._most is None else self._most
        if 0 < most <= len(there):
            oldest = next(iter(there))
            from_where = there.pop(oldest)
            oldest.hang_up()
            self._crowded(from_where, most)
        there[stranger] = address

    def know(self, stranger: Stranger) -> None:
        """A connection has introduced itself, or is closed. To say so twice does no harm."""
        self._near.pop(stranger, None)
        self._far.pop(stranger, None)
