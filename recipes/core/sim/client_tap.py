"""Reads along what the real client sends and gets; loses the replies it is told to lose.

A reply is lost as it is in life: the connection breaks just before it comes.
"""

from collections import deque
from collections.abc import Callable
from struct import Struct

from recipes.core.jute import opcodes as op
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import decode_reply_header, decode_watcher_event

_XID_AND_KIND = Struct(">ii")


class ClientTap:
    """What goes over the connections of one process, one after the other.

    kinds: the opcode of each request so far, in order; pings and what restores a connection are not counted.
    lose: numbers of requests, from 1, of which the reply is lost; lose_create: so is that of the next create.
    lost: how many were.
    event: called with each watch event that comes in: (type, path).
    """

    def __init__(self) -> None:
        self.kinds: list[int] = []
        self.lose: set[int] = set()
        self.lose_create = False
        self.lost = 0
        self.event: Callable[[int, bytes], None] = _nothing

    def connection(self) -> "ConnectionTap":
        """The tap of one more connection."""
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
        """The client sends this."""
        tap = self._tap
        for payload in self._out.feed(data):
            if not self._greeting_sent:
                self._greeting_sent = True
                continue
            xid, kind = _XID_AND_KIND.unpack_from(payload)
            if xid > 0:
                tap.kinds.append(kind)
                self._pending.append(len(tap.kinds))
                if tap.lose_create and kind == op.CREATE2:
                    tap.lose_create = False
                    tap.lose.add(len(tap.kinds))

    def received(self, data: bytes) -> tuple[bytes, bool]:
        """What of `data` gets through, as whole frames, and whether the connection breaks behind that."""
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
    """An event nobody waits for."""
