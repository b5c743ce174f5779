"""Watches as programs see them: a watch that fires once, or a stream of events."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio

from recipes.core.client.call import Call, Watcher
from recipes.core.client.namespace import Namespace
from recipes.core.client.replies import read_names_stat, read_node, read_stat
from recipes.core.client.session import EventType, Session, WatchEvent
from recipes.core.errors import ConnectionLoss, NoNode, SessionError, ThrottledOp
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import Stat
from recipes.core.jute.requests import encode_path_watch, encode_watch_kind


class Watch(Watcher):
    """A watch that fires once, set by the read that returned it."""

    def __init__(self, namespace: Namespace, path: str) -> None:
        self._namespace: Namespace = namespace
        self._session: Session = namespace.session
        self._path: str = path
        self._also: str | None = None
        self._event: anyio.Event = anyio.Event()
        self._seen: WatchEvent | None = None

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session."""
        if kind != op.EVENT_NONE:
            self._seen = WatchEvent(EventType(kind), self._namespace.shown(path))
        self._event.set()

    async def wait(self) -> WatchEvent:
        """Wait for the event and return it, at once if it has come already.

        The event of a change made while the connection was lost comes after the reconnect. If the session ends first,
        this raises SessionExpired, AuthFailed or ClientClosed.
        """
        await self._event.wait()
        if self._seen is None:
            raise self._session.ending(path=self._path)
        return self._seen

    def cancel(self) -> None:
        """Stop watching. The server may still send the event, which is then ignored."""
        for path in (self._path, self._also):
            if path is not None:
                for table in ("data", "exist", "child"):
                    self._session.remove_watch(table, self._namespace.full(path), self)

    def join(self, path: str) -> "Watch":
        """Let this watch fire at an event of `path`, too, whichever comes first. Returns itself, for the next read.

        Raises SessionExpired, AuthFailed or ClientClosed if the session is over.
        """
        if self._session.lost:
            raise self._session.ending(path=path)
        self._also = path
        return self


class DeletionWatch(Watcher):
    """A watch that needs no task: it calls `gone` when the znode is deleted, or found missing.

    Its request goes out with the client's next ones; cancelling the watch before that drops the request.
    seen: called with the znode's Stat, when the watch has been set and after each change of the data.
    """

    def __init__(
        self, namespace: Namespace, path: str, gone: Callable[[], None], seen: Callable[[Stat], None] | None = None
    ) -> None:
        self._namespace: Namespace = namespace
        self._session: Session = namespace.session
        self._full: bytes = namespace.full(path)
        self._path: str = path
        self._gone: Callable[[], None] | None = gone
        self._seen: Callable[[Stat], None] | None = seen
        self._call: Call | None = None  # the request under way
        self._ask()

    @property
    def is_set(self) -> bool:
        """Whether the server watches now: it has confirmed so, and the watch is neither used up nor cancelled."""
        return self._call is None and self._gone is not None

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session."""
        if kind == op.EVENT_DELETED:
            self._tell()
        elif kind != op.EVENT_NONE and self._gone is not None:
            with suppress(SessionError):  # the session is over, so no more events come
                self._ask()  # a change of data used the watch up

    def cancel(self) -> None:
        """Stop watching: neither `gone` nor `seen` is called again."""
        self._gone = self._seen = None  # both refer to the one who watches, which refers to this
        if self._call is not None:  # no reply yet, so nothing is registered
            self._call.abandoned = True
            self._call = None
        else:
            self._session.remove_watch("data", self._full, self)
            self._session.remove_watch("exist", self._full, self)

    def _ask(self) -> None:
        self._call = self._namespace.submit(
            Call(
                op.EXISTS,
                encode_path_watch(self._full, True),
                None if self._seen is None else read_stat,
                path=self._path,
                reads=True,
                watch=("data", self._full, self),
                heard=self._hear,
            )
        )

    def _hear(self, call: Call) -> None:
        if call is self._call:
            self._call = None  # it refers to this, and a cycle of references costs a garbage collection
        if isinstance(call.error, NoNode):
            self._tell()
        elif isinstance(call.error, ConnectionLoss | ThrottledOp) and self._gone is not None:
            with suppress(SessionError):
                self._ask()  # no caller awaits this request, so only this code can send it again
        elif call.error is None and self._seen is not None and self._gone is not None:
            self._seen(call.value)

    def _tell(self) -> None:
        gone = self._gone
        self.cancel()
        if gone is not None:
            gone()


class CreationWatch(Watcher):
    """A watch that needs no task: it calls `made` when the znode is created, or found.

    path: of the znode. is_made: whether it was created or found. in_order: whether that was seen in order with the
    events of other watches. It is not when the connection was lost meanwhile: then the events of all watches come at
    once, whatever came first.
    """

    def __init__(self, namespace: Namespace, path: str, made: Callable[[], None]) -> None:
        self.path: str = path
        self.is_made: bool = False
        self.in_order: bool = False
        self._session: Session = namespace.session
        self._namespace: Namespace = namespace
        self._full: bytes = namespace.full(path)
        self._made: Callable[[], None] | None = made
        self._connection: int = 0  # the number of the one over which the watch was set
        self._call: Call | None = None  # the request under way
        self._ask()

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session."""
        if kind != op.EVENT_NONE and self._made is not None:
            self._tell(self._session.connections == self._connection)

    def cancel(self) -> None:
        """Stop watching: `made` is not called again."""
        self._made = None  # it refers to the one who watches, which refers to this
        if self._call is not None:
            self._call.abandoned = True
            self._call = None
        self._session.remove_watch("exist", self._full, self)
        self._session.remove_watch("data", self._full, self)

    def _ask(self) -> None:
        body = encode_path_watch(self._full, True)
        watch = ("data", self._full, self)
        self._call = self._namespace.submit(
            Call(op.EXISTS, body, path=self.path, reads=True, watch=watch, heard=self._hear)
        )

    def _hear(self, call: Call) -> None:
        if call is self._call:
            self._call = None
        if self._made is None:
            return
        if call.error is None:
            self._tell(True)
        elif isinstance(call.error, NoNode):
            self._connection = self._session.connections
        elif isinstance(call.error, ConnectionLoss | ThrottledOp):
            with suppress(SessionError):
                self._ask()  # no caller awaits this request, so only this code can send it again

    def _tell(self, in_order: bool) -> None:
        made = self._made
        self.is_made, self.in_order = True, in_order
        self.cancel()
        if made is not None:
            made()


def start_persistent(namespace: Namespace, path: str, table: str, watcher: Watcher) -> Call:
    """Set a persistent watch at `path`. table: "persistent", or "recursive" to include everything below it."""
    mode = op.ADD_WATCH_PERSISTENT_RECURSIVE if table == "recursive" else op.ADD_WATCH_PERSISTENT
    full = namespace.full(path)
    body = encode_watch_kind(full, mode)
    return namespace.submit(Call(op.ADD_WATCH, body, path=path, reads=True, watch=(table, full, watcher)))


def release(namespace: Namespace, session: Session, places: Iterable[bytes]) -> None:
    """Remove the watches of `session` at these server paths, except at paths that this client still watches.

    ZooKeeper 3.8 removes a persistent watch only together with all others at its path. So while another of our watches
    is at the path, all stay, and events nobody here watches for are ignored. Returns at once.
    """
    if session.lost:
        return
    awaited = session.awaited()
    for full in places:
        if full not in awaited and not any(full in table for table in session.watches.values()):
            body = encode_watch_kind(full, op.WATCH_ANY)
            with suppress(SessionError):  # the session is over, and the watch with it
                namespace.submit(Call(op.REMOVE_WATCHES, body, path=namespace.shown(full), reads=True))


class Watching:
    """Sets watches for one watcher, by reads, and removes them. Made by `Client.watching`.

    Read a path with one request at a time, so that each watch is registered once.
    """

    def __init__(self, namespace: Namespace, watcher: Watcher) -> None:
        self._namespace: Namespace = namespace
        self._session: Session = namespace.session
        self._watcher: Watcher = watcher

    def start_recursive(self, path: str) -> Call:
        """Set a persistent watch on `path` and everything below. Unimplemented from a server before ZooKeeper 3.6."""
        return start_persistent(self._namespace, path, "recursive", self._watcher)

    def start_get(self, path: str) -> Call:
        """Data and Stat, and a watch on the next change of the data or the deletion."""
        return self._start(op.GET_DATA, path, read_node, "data")

    def start_children(self, path: str) -> Call:
        """Names of the children and Stat, and a watch on the next change of the list, or the deletion."""
        return self._start(op.GET_CHILDREN2, path, read_names_stat, "child")

    def start_exists(self, path: str) -> Call:
        """Stat, and a watch on the creation, deletion or next change of data."""
        return self._start(op.EXISTS, path, read_stat, "data")

    def forget(self, path: str) -> None:
        """Stop waking the watcher for `path`; the server keeps its watch until `release`."""
        full = self._namespace.full(path)
        for table in ("data", "exist", "child", "recursive"):
            self._session.remove_watch(table, full, self._watcher)

    def release(self, places: Iterable[str]) -> None:
        """Remove the watches at these paths here and on the server. Returns at once."""
        places = list(places)
        for path in places:
            self.forget(path)
        release(self._namespace, self._session, map(self._namespace.full, places))

    def shown(self, full: bytes) -> str:
        """The client's path for the server path that an event names."""
        return self._namespace.shown(full)

    def _start(self, kind: int, path: str, decode: Callable[[bytes, int], Any], table: str) -> Call:
        full = self._namespace.full(path)
        for each in ("data", "exist") if table == "data" else (table,):
            self._session.remove_watch(each, full, self._watcher)
        body = encode_path_watch(full, True)
        return self._namespace.submit(
            Call(kind, body, decode, path=path, reads=True, watch=(table, full, self._watcher))
        )


class WatchStream(Watcher):
    """`async with client.watch(path) as events:` and `async for event in events`.

    A persistent watch: it sees every change at `path` (recursive: and below it) until the block ends, in order. Events
    are queued until they are taken.

    Servers do not report changes that were made while the connection was lost. So after each reconnect the stream gives
    an event of type RESYNC, with the path that is watched: earlier reads may be out of date, and every change after a
    new read will be in the stream. Several reconnects in a row give one RESYNC.

    When the session is over, the stream gives the events that it still has and then raises SessionExpired, AuthFailed
    or ClientClosed. Outside its block it raises RuntimeError.
    """

    def __init__(self, namespace: Namespace, path: str, recursive: bool) -> None:
        self._namespace: Namespace = namespace
        self._session: Session = namespace.session
        self._full: bytes = namespace.full(path)
        self._path: str = path
        self._table: str = "recursive" if recursive else "persistent"
        self._events: deque[WatchEvent] = deque()
        self._more: anyio.Event = anyio.Event()
        self._open: bool = False
        self._over: bool = False  # whether the session is over

    async def __aenter__(self) -> Self:
        self._session = self._namespace.session
        try:
            await start_persistent(self._namespace, self._path, self._table, self).result()
        except BaseException:
            await self.__aexit__(None, None, None)  # the reply may have set the watch just before the cancellation
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._more.set()
        self._forget()

    def _forget(self) -> None:
        if self._session.remove_watch(self._table, self._full, self):
            release(self._namespace, self._session, [self._full])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        while True:
            if not self._open:
                raise RuntimeError("events are taken inside `async with client.watch(path) as events`")
            if self._events:
                return self._events.popleft()
            if self._over:
                raise self._session.ending(path=self._path)
            if self._more.is_set():  # otherwise another task waits for this event already: share it
                self._more = anyio.Event()
            await self._more.wait()

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session."""
        if kind == op.EVENT_NONE:
            self._over = True
        else:
            event = WatchEvent(EventType(kind), self._namespace.shown(path))
            if event.type is not EventType.RESYNC or not self._events or self._events[-1] != event:
                self._events.append(event)
        self._more.set()
