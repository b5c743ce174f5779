"""A znode, or its list of children, kept current: recipes decide from these views.

A view needs no task. It reads with a watch, and reads again when the watch fires; its requests go out with the client's
next ones. It shows the newest state, not every change: a slow reader misses steps, never the outcome.
Source: ZooKeeper Programmer's Guide, "ZooKeeper Watches" (a watch is a hint to read again).
"""

from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import anyio

from recipes.core.client.call import Call, Watcher
from recipes.core.client.namespace import Namespace
from recipes.core.client.session import Session
from recipes.core.errors import ClientClosed, NoNode, RecipesError
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import texts
from recipes.core.jute.records import Stat

T = TypeVar("T")
R = TypeVar("R")


class Node(NamedTuple):
    """A znode as last read."""

    data: bytes
    stat: Stat


class View(Watcher, Generic[T]):
    """The state at `path`, kept current until `close`. Made by `Client.node_view` and `Client.children_view`.

    value: the state as last read, None when there is no such znode. current: False before the first read, and from the
    event of a change until the next read.
    error: why the view is no longer kept current: it is closed, the session is over, or the server refused the read
    (NoAuth).
    changed: called, without arguments, after every read and at the end of the view; it runs inside the client and must
    not wait. missing: a hint that there is probably no such znode yet; waiting for it then costs one request.
    """

    _kind: int
    _table: str

    def __init__(
        self, namespace: Namespace, path: str, changed: Callable[[], None] | None = None, missing: bool = False
    ) -> None:
        self.value: T | None = None
        self.current: bool = False
        self.error: RecipesError | None = None
        self._namespace: Namespace = namespace
        self._session: Session = namespace.session
        self._path = path
        self._full = namespace.full(path)
        self._heard_change = changed
        self._next: anyio.Event | None = None
        self._closed = False
        self._call: Call | None = None
        if missing:
            self._wait_for_creation()
        else:
            self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching. Tasks that wait for the view get ClientClosed. An event that still comes is ignored."""
        self._closed = True
        self._forget()
        self._fail(ClientClosed(f"{self._path}: the view is closed"))

    async def wait_until(self, accept: Callable[[T | None], R | None]) -> R:
        """Return the first result of `accept(value)` that is not None; `accept` is called again after every read.

        Raises what ended the view: SessionExpired, ClientClosed, NoAuth.
        """
        while True:
            if self.error is not None:
                raise self.error
            if self.current and (answer := accept(self.value)) is not None:
                return answer
            await self._next_reading()

    async def wait_current(self) -> None:
        """Return once `current` is true. Raises the error that ended the view."""
        while not self.current:
            if self.error is not None:
                raise self.error
            await self._next_reading()
        if self.error is not None:
            raise self.error

    async def _next_reading(self) -> None:
        if self._next is None:
            self._next = anyio.Event()
        await self._next.wait()

    def fire(self, kind: int, path: bytes) -> None:
        """Called by the session: the watch fired, so read again."""
        if kind == op.EVENT_NONE:
            self._fail(self._session.ending(path=self._path))
        elif not self._closed:
            self.current = False
            self._read()

    @abstractmethod
    def _decode(self, reply: bytes, at: int) -> T:
        """The value in a reply."""

    def _read(self) -> None:
        body = rq.encode_path_watch(self._full, True)
        self._ask(self._kind, body, self._decode, self._table, self._heard_state)

    def _ask(
        self, kind: int, body: bytes, decode: Callable[[bytes, int], Any], table: str, heard: Callable[[Call], None]
    ) -> None:
        call = Call(kind, body, decode, path=self._path, reads=True, watch=(table, self._full, self), heard=heard)
        try:
            self._call = self._namespace.submit(call)
        except RecipesError as error:  # the session ended, or the client was closed, in the meantime
            self._fail(error)

    def _heard_state(self, call: Call) -> None:
        if self._closed:
            self._forget()
        elif call.error is None:
            self._show(call.value)
        elif isinstance(call.error, NoNode):
            self._wait_for_creation()
        else:
            self._fail(call.error)

    def _wait_for_creation(self) -> None:
        """There is no znode, so a read cannot set a watch: exists can, on the creation."""
        self._ask(
            op.EXISTS, rq.encode_path_watch(self._full, True), lambda reply, at: True, "data", self._heard_existence
        )

    def _heard_existence(self, call: Call) -> None:
        if self._closed:
            self._forget()
        elif call.error is None:  # created in between
            self._session.remove_watch("data", self._full, self)
            self._read()
        elif isinstance(call.error, NoNode):
            self._show(None)
        else:
            self._fail(call.error)

    def _show(self, value: T | None) -> None:
        self.value, self.current = value, True
        self._wake()

    def _fail(self, error: RecipesError) -> None:
        if self.error is None:
            self.error = error
            self._wake()

    def _wake(self) -> None:
        waiting, self._next = self._next, None
        if waiting is not None:
            waiting.set()
        if self._heard_change is not None and not self._closed:
            self._heard_change()

    def _forget(self) -> None:
        if self._call is not None:
            self._call.abandoned = True
        for table in ("data", "exist", "child"):
            self._session.remove_watch(table, self._full, self)


class NodeView(View[Node]):
    """Data and Stat of a znode, kept current; None while it does not exist."""

    _kind = op.GET_DATA
    _table = "data"

    def _decode(self, reply: bytes, at: int) -> Node:
        data, stat, _ = rq.decode_data_stat(reply, at)
        return Node(data or b"", stat)


class ChildrenView(View[list[str]]):
    """Names of a znode's children, sorted, kept current; None while the znode does not exist."""

    _kind = op.GET_CHILDREN
    _table = "child"

    def _decode(self, reply: bytes, at: int) -> list[str]:
        return sorted(texts(rq.decode_children(reply, at)[0]))
