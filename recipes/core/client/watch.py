"""What a program holds of a watch: one that fires once, or a stream of events."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from recipes.core.client.session import Call, EventType, Watcher, WatchEvent
from recipes.core.errors import NoNode, RecipesError, SessionError
from recipes.core.jute import opcodes as op
from recipes.core.jute.requests import encode_path_watch, encode_watch_kind

if TYPE_CHECKING:
    from recipes.core.client.operations import Operations


class Watch(Watcher):
    """A watch that fires once: set by the read it came with."""

    def __init__(self, client: "Operations", path: str) -> None:
        self._client = client
        self._path = path
        self._event = anyio.Event()
        self._seen: WatchEvent | None = None

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session."""
        self._seen = WatchEvent(EventType(kind), self._client.shown(path))
        self._event.set()

    async def wait(self) -> WatchEvent:
        """The event; of type NONE when the session ended first."""
        await self._event.wait()
        if self._seen is None:
            raise RecipesError("a watch woke without an event")
        return self._seen

    def cancel(self) -> None:
        """Nobody waits any more. The server may still send the event, which is then ignored."""
        for table in ("data", "exist", "child"):
            self._client.session.remove_watch(table, self._client.full(self._path), self)


class DeletionWatch(Watcher):
    """A watch that needs no task: it calls `gone` when the znode is deleted, or found to be so already.

    Its request rides with what is sent next, and is never sent when the watch is cancelled before that.
    """

    def __init__(self, client: "Operations", path: str, gone: Callable[[], None]) -> None:
        self._client = client
        self._full = client.full(path)
        self._path = path
        self._gone: Callable[[], None] | None = gone
        self._ask()

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session."""
        if kind == op.EVENT_DELETED:
            self._tell()
        elif kind != op.EVENT_NONE and self._gone is not None:
            with suppress(SessionError):  # over, so that nothing will be seen any more
                self._ask()  # a change of data used the watch up

    def cancel(self) -> None:
        """Call nothing any more."""
        self._gone = None
        self._call.abandoned = True
        self._client.session.remove_watch("data", self._full, self)
        self._client.session.remove_watch("exist", self._full, self)

    def _ask(self) -> None:
        self._call = self._client.submit(
            Call(
                op.EXISTS,
                encode_path_watch(self._full, True),
                path=self._path,
                reads=True,
                watch=("data", self._full, self),
                heard=self._hear,
            )
        )

    def _hear(self, call: Call) -> None:
        if isinstance(call.error, NoNode):
            self._tell()

    def _tell(self) -> None:
        gone = self._gone
        self.cancel()
        if gone is not None:
            gone()


class WatchStream(Watcher):
    """`async with client.watch(path) as events:` and `async for event in events`.

    A persistent watch: it sees every change at `path` (recursive: and below it) until the block ends, in order. While
    the connection is lost changes can go unseen; after one, read what you rely on again. Events wait here until they
    are taken. The stream ends with the session.
    """

    def __init__(self, client: "Operations", path: str, recursive: bool) -> None:
        self._client = client
        self._path = path
        self._recursive = recursive
        self._events: deque[WatchEvent] = deque()
        self._more = anyio.Event()
        self._ended = False

    async def __aenter__(self) -> Self:
        mode = op.ADD_WATCH_PERSISTENT_RECURSIVE if self._recursive else op.ADD_WATCH_PERSISTENT
        full = self._client.full(self._path)
        call = Call(
            op.ADD_WATCH, encode_watch_kind(full, mode), path=self._path, reads=True, watch=(self._table, full, self)
        )
        await self._client.submit(call).result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        full = self._client.full(self._path)
        session = self._client.session
        if session.remove_watch(self._table, full, self) and not session.lost:
            # ZooKeeper 3.8 removes persistent watches only together with all others at the path. While one of those
            # is ours it has to stay, and events of this one, should they come, are ignored.
            if not session.is_watched(full):
                self._client.submit(
                    Call(op.REMOVE_WATCHES, encode_watch_kind(full, op.WATCH_ANY), path=self._path, reads=True)
                )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            await self._more.wait()
        event = self._events.popleft()
        if not self._events and not self._ended:
            self._more = anyio.Event()
        return event

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session."""
        if kind == op.EVENT_NONE:
            self._ended = True
        else:
            self._events.append(WatchEvent(EventType(kind), self._client.shown(path)))
        self._more.set()

    @property
    def _table(self) -> str:
        return "recursive" if self._recursive else "persistent"
