"""Observes what the real client sends and receives, and loses chosen replies.

To lose a reply, the tap breaks the connection just before the reply would arrive.
"""

from collections import deque
from collections.abc import Callable
from struct import Struct

from recipes.core.jute import opcodes as op
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import decode_reply_header, decode_watcher_event

_XID_AND_KIND = Struct(">ii")


class ClientTap:
    """Observes the connections of one process, one after the other.

    connections: how many there were so far.
    kinds: the opcode of each request so far, in order, without pings, auth and setWatches.
    lose: numbers of the requests, from 1, whose replies are to be lost. lose_create: lose the next create2's reply too.
    lost: how many replies were lost.
    sending: called with the number of each request, as it is sent.
    event: called with (type, path) of each watch event that arrives.
    """

    def __init__(self) -> None:
        self.connections: int = 0
        self.kinds: list[int] = []
        self.lose: set[int] = set()
        self.lose_create = False
        self.lost = 0
        self.event: Callable[[int, bytes], None] = _nothing
        self.sending: Callable[[int], None] = _ignore

    def connection(self) -> "ConnectionTap":
        """A tap for a new connection."""
        self.connections += 1
        return ConnectionTap(self)


class ConnectionTap:
    """One connection's part of a ClientTap."""

    __slots__ = ("_greeted", "_greeting_sent", "_out", "_pending", "_replies", "_tap")

    def __init__(self, tap: ClientTap) -> None:
        self._tap = tap
        self._out, self._replies = FrameReader(None), FrameReader(None)
        self._greeting_sent = self._greeted = False
        self._pending: deque[int] = deque()

    def sent(self, data: bytes) -> None:
        """Observe bytes that the client sends."""
        tap = self._tap
        for payload in self._out.feed(data):
            if not self._greeting_sent:
                self._greeting_sent = True
                continue
            xid, kind = _XID_AND_KIND.unpack_from(payload)
            if xid > 0:
                tap.kinds.append(kind)
                self._pending.append(len(tap.kinds))
                tap.sending(len(tap.kinds))
                if tap.lose_create and kind == op.CREATE2:
                    tap.lose_create = False
                    tap.lose.add(len(tap.kinds))

    def received(self, data: bytes) -> tuple[bytes, bool]:
        """The whole frames of `data` that get through, and whether the connection breaks behind them."""
        tap = self._tap
        passed: list[bytes] = []
        for payload in self._replies.feed(data):
            if not self._greeted:
                self._greeted = True
            else:
                header, at = decode_reply_header(payload)
                if header.xid == op.NOTIFICATION_XID:
                    event, _ = decode_watcher_event(payload, at)
                    tap.event(event.type, event.path)
                elif header.xid > 0 and self._pending:
                    number = self._pending.popleft()
                    if number in tap.lose:
                        tap.lose.discard(number)
                        tap.lost += 1
                        return b"".join(passed), True
            passed.append(frame(payload))
        return b"".join(passed), False


def _nothing(kind: int, path: bytes) -> None:
    """Ignore an event."""


def _ignore(number: int) -> None:
    """Ignore a request."""
