"""What one real server does, as a part of a trace: `recipes lab stitch` joins the parts of all members.

The lines are those of a trace (lab/trace.py), with the same kinds of events, roles and names of messages. One server
alone cannot know which message of another one it has got. So a `send` and a `deliver` have what finds the two again:
`link`, a number of this server for the connection, or 0 for the election port, and `sum`, a checksum of all that went
the same way over the connection until then, or of the one message on the election port. Times are of the server's own
clock. Two more kinds: `gone`, a connection has ended; `end`, the trace has, with `why`, and `down` if the server has
too. The first line of each start of the server is a header; a server that is started again goes on in its file.

Nobody sees here what clients ask for. What they store is left out: see `outline`.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final
from zlib import crc32

from recipes.core.agree.machine import Message
from recipes.core.errors import WireError
from recipes.core.jute.votes import Notification, encode_notification
from recipes.core.quorum import Membership
from recipes.core.replication import Entry, Operation, Recovered, ReplicaSettings, Write
from recipes.core.tree.tree import DataTree
from recipes.lab.served.describe import describe
from recipes.lab.served.protocol import ServedProtocol, Talk
from recipes.lab.served.text import entry_text, outline
from recipes.lab.served.writes import Writes
from recipes.lab.trace import Event

PART_VERSION: Final = "recipes-trace-part/1"
MOST_HELD_BYTES: Final = 64 << 20  # of one message, such as a tree, that is on its way
_ENDS_BYTES = 200  # room for the last line
_BY_CLIENTS = {"forward": (), "replicate": ("forward",)}  # roles -> the roles of messages that can lead to them, too
_line = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def site_name(membership: Membership, sid: int) -> str:
    """The name of a server's lane; empty if it is no member."""
    server = membership.servers.get(sid)
    return "" if server is None else f"{'o' if server.observer else 's'}{sid}"


class Stream:
    """What goes one way over a connection, message by message. misread: why it cannot be read any more."""

    def __init__(self, talk: Talk) -> None:
        self.misread: WireError | None = None
        self._talk = talk
        self._held = 0
        self._sum = 0

    def hear(self, data: bytes) -> list[tuple[Message, int]]:
        """The messages that these bytes complete, each with the checksum up to it."""
        if self.misread is not None:
            return []
        self._held += len(data)
        if self._held > MOST_HELD_BYTES:
            raise OverflowError(f"a message has more than {MOST_HELD_BYTES >> 20} MiB")
        try:
            messages = self._talk.hear(data)
        except WireError as error:
            self.misread = error
            return []
        if messages:
            self._held = 0
        return [(message, self._add(message)) for message in messages]

    def _add(self, message: Message) -> int:
        self._sum = sum_of(message, self._sum)
        return self._sum


def sum_of(message: Message, before: int = 0) -> int:
    """A checksum of a message, and of those before it."""
    return crc32(_line(message).encode("utf-8", "surrogatepass"), before)


class Part:
    """Writes what one server does.

    clock_us: of this server; never goes back. write: takes whole lines; raises OSError. room_bytes: for all lines.
    warn: is told once, if the trace ends before the server does. tree: the server's, once there is one.
    ended: nothing is written any more.
    """

    def __init__(
        self,
        protocol: ServedProtocol,
        clock_us: Callable[[], int],
        write: Callable[[bytes], None],
        room_bytes: int,
        warn: Callable[[str], None],
        commit: str | None = None,
    ) -> None:
        self.tree: Callable[[], DataTree] | None = None
        self.ended: bool = False
        self._protocol = protocol
        self._clock_us = clock_us
        self._write = write
        self._room_bytes = room_bytes
        self._warn = warn
        self._commit = commit
        self._settings: ReplicaSettings
        self._peer: Any = None
        self._lines: list[Event] = []  # of this turn
        self._began = False  # the header is in the file
        self._count = 0
        self._cause: Event | None = None  # the last input of this turn
        self._timer_due = False  # the last input is a timer, which becomes an event once something comes of it
        self._shown: dict[str, Any] = {}
        self._writes = Writes(partial(entry_text, text=outline))
        self._waiting: deque[tuple[Write, int]] = deque()  # not durable yet: with the number of the last write of each
        self._syncing = False

    def guarded(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Do one step; whatever goes wrong ends the trace, and never the server."""
        if self.ended:
            return None
        try:
            return step(*arguments)
        except Exception as error:
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        self.ended = True
        self._lines.clear()
        self._writes.log.clear()
        # Without a header the end would be that of the server's last life.
        if self._began and not isinstance(error, OSError):  # the file is well
            with suppress(OSError):
                self._write(_bytes([self._end(str(error), down=False)]))
        self._warn(f"the trace ends here, and the server goes on: {error}")

    # What happens.

    def started(self, settings: ReplicaSettings, found: Recovered, peer: Any) -> None:
        """The server has recovered its disk, and takes part from now on."""
        self._settings, self._peer = settings, peer
        servers = settings.membership.servers.values()
        header: dict[str, Any] = {
            "version": PART_VERSION,
            "protocol": self._protocol.name,
            "site": self._name(settings.sid),
            "sites": {self._name(each.sid): "observer" if each.observer else "server" for each in servers},
            "settings": {each: getattr(settings, each) for each in ("tick_ms", "init_limit", "sync_limit")},
        }
        if self._commit is not None:
            header["commit"] = self._commit
        self._lines.append(header)
        self._input(self._record("start", stored=self._writes.stored(found)))
        self._flush()

    def stream(self) -> Stream:
        """For one direction of a new connection."""
        return Stream(self._protocol.talk(outline))

    def arrives(self, link: int, stream: Stream, data: bytes) -> list[Event]:
        """Bytes have come over a connection; `came_from` follows."""
        return [
            self._input(self._record("deliver", link=link, role=message.role, real=message.kind, sum=total))
            for message, total in stream.hear(data)
        ]

    def came_from(self, sid: int, events: Sequence[Event]) -> None:
        """Whose messages these were; those of strangers are forgotten."""
        name = self._name(sid)
        for event in reversed(events):
            if name:
                event["from"] = name
            else:  # nothing was recorded behind it
                self._lines.pop()
                self._count -= 1
                self._cause = None

    def leaves(self, link: int, sid: int, stream: Stream, data: bytes) -> None:
        """Bytes are handed to a connection."""
        messages, name = stream.hear(data), self._name(sid)
        for message, total in messages if name else ():
            self._sends(name, message, len(data) // len(messages), link, total)

    def misread(self, why: WireError) -> None:
        """What goes over a connection cannot be read here, though the server can: the trace would have holes."""
        raise why

    def gone(self, link: int, sid: int) -> None:
        """A connection has ended."""
        if name := self._name(sid):
            self._record("gone", link=link)["from"] = name

    def notified(self, sid: int, note: Notification) -> None:
        """A notification has come."""
        if name := self._name(sid):
            message = self._protocol.notification(note)
            event = self._record("deliver", link=0, role=message.role, real=message.kind, sum=sum_of(message))
            event["from"] = name
            self._input(event)

    def ticked(self) -> None:
        """A timer has run out."""
        self._cause, self._timer_due = None, True

    def decided(self, writes: Sequence[Write]) -> None:
        """These writes go to the disk."""
        cause = None
        for write in writes:
            by_clients = isinstance(write, Entry) and self._peer.leader is not None
            cause = self._cause_of("replicate" if by_clients else "")
            for fields in self._writes.of([write]):
                self._record("write", cause, **fields)
            self._waiting.append((write, self._writes.count))
        self._begin_sync(cause)

    def flushed(self, zxid: int) -> None:
        """Entries are on disk, up to this one."""
        waiting, number = self._waiting, 0
        while waiting and isinstance(first := waiting[0][0], Entry) and first.zxid <= zxid:
            number = waiting.popleft()[1]
        self._end_sync(number)

    def written(self, operation: Operation) -> None:
        """An operation is on disk."""
        self._end_sync(self._waiting.popleft()[1] if self._waiting else 0)

    def turned(self, votes: Sequence[tuple[int, Notification]]) -> None:
        """All that the inputs so far have led to is known, and leaves once this is written."""
        for sid, note in votes:
            if name := self._name(sid):
                message = self._protocol.notification(note)
                self._sends(name, message, len(encode_notification(note)), 0, sum_of(message))
        self._show()
        self._cause, self._timer_due = None, False
        if self._lines:
            self._flush()

    def close(self, why: str) -> None:
        """The server has ended. One that never took part, such as a second one on the same disk, has nothing to say."""
        if self._peer is None:
            return
        self._lines.append(self._end(why, down=True))
        self._flush()
        self.ended = True

    # Inside.

    def _name(self, sid: int) -> str:
        return site_name(self._settings.membership, sid)

    def _end(self, why: str, *, down: bool) -> Event:
        return {"t": self._clock_us(), "k": "end", "why": why, "down": down}

    def _record(self, kind: str, cause: Event | None = None, **more: Any) -> Event:
        event = {"i": self._count, "t": self._clock_us(), "k": kind, **more}
        self._count += 1
        if cause is not None:
            event["cause"] = cause["i"]
        self._lines.append(event)
        return event

    def _input(self, event: Event) -> Event:
        self._cause, self._timer_due = event, False
        return event

    def _cause_of(self, role: str) -> Event | None:
        """The last input, unless what a client asked for may have led to this."""
        if self._timer_due:
            self._input(self._record("timer", name="tick"))
        cause = self._cause
        if cause is not None and role in _BY_CLIENTS and cause.get("role") not in _BY_CLIENTS[role]:
            return None
        return cause

    def _sends(self, to: str, message: Message, size: int, link: int, total: int) -> None:
        role, kind, fields = message
        cause = self._cause_of(role)
        self._record("send", cause, to=to, role=role, real=kind, bytes=size, fields=fields, link=link, sum=total)

    def _begin_sync(self, cause: Event | None) -> None:
        """The disk does one thing at a time: the entries that wait together, or one operation."""
        if self._syncing or not self._waiting:
            return
        number = self._waiting[0][1]
        for write, last in self._waiting if isinstance(self._waiting[0][0], Entry) else ():
            if not isinstance(write, Entry):
                break
            number = last
        self._syncing = True
        self._record("fsync", cause, at="begin", number=number)

    def _end_sync(self, number: int) -> None:
        if number and self._syncing:
            self._syncing = False
            self._input(self._record("fsync", at="end", number=number))
            self._begin_sync(None)

    def _show(self) -> None:
        if self.tree is None:
            return
        shown = describe(self._peer, self.tree(), self._protocol, self._name)
        before, self._shown = self._shown, shown
        changed = {name: value for name, value in shown.items() if before.get(name) != value}
        changed |= dict.fromkeys(before.keys() - shown.keys())
        if changed:
            self._record("state", self._cause_of(""), **dict(sorted(changed.items())))

    def _flush(self) -> None:
        data = _bytes(self._lines)
        self._lines = []
        self._room_bytes -= len(data)
        if self._room_bytes < _ENDS_BYTES:
            raise OverflowError("its file is as large as --trace-mb lets it become")
        self._write(data)
        self._began = True


def _bytes(lines: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(f"{_line(line)}\n" for line in lines).encode("utf-8", "surrogatepass")
