"""A value of the store that is kept current in this process, with its changes as a stream."""

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NamedTuple, Self

import anyio.lowlevel
from typing_extensions import TypeVar

from recipes.core import paths
from recipes.core.client.session import ConnectionState
from recipes.core.errors import ClientClosed
from recipes.counter.value import decode
from recipes.encoding import Encoding

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.view import Node, NodeView

T = TypeVar("T", default=bytes)


class ValueVersion(NamedTuple):
    """The version of a znode's state: the zxid that made the znode, and the zxid of its last write.

    A later state of a znode has a greater ValueVersion. ZooKeeper's own version, the number of writes, begins again
    when the znode is deleted and made anew, and after 2**32 writes.
    """

    czxid: int
    mzxid: int


class SharedValue(Generic[T]):
    """`async with SharedValue(client, path) as shared:` the newest known value at `path`, read without a request.

    client: a connected Client. path, model: as for AtomicValue, which changes the value.

    Entering waits for the first reading. It raises SessionExpired and ClientClosed when the session is over, NoAuth
    if an ACL forbids reading.
    """

    def __init__(self, client: "Client", path: str, *, model: type[T] | None = None) -> None:
        self._client = client
        self._path = paths.check(path)
        self._encoding: Encoding[T] = Encoding(self, model)
        self._view: NodeView | None = None
        self._left = False

    def __repr__(self) -> str:
        state = "not entered" if self._view is None else f"{self.version}" + ("" if self.current else ", not current")
        return f"SharedValue({self._path!r}, {state})"

    async def __aenter__(self) -> Self:
        if self._view is not None:
            raise RuntimeError(f"{self._path}: this value is entered already: make another SharedValue")
        view = self._client.node_view(self._path)
        try:
            await view.wait_current()
        except BaseException:
            view.close()
            raise
        self._view = view
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if self._view is not None:
            self._view.close()

    @property
    def value(self) -> T | None:
        """The value as last read; None if there is no znode or it has no data. Raises MalformedValue."""
        return self._decode(self._entered().value)

    @property
    def version(self) -> ValueVersion | None:
        """The version of `value`; None if there is no znode."""
        return _version(self._entered().value)

    @property
    def current(self) -> bool:
        """Whether the value is kept current: the client is connected, and every known change was read.

        A write elsewhere still arrives a moment later. False once the session is over.
        """
        view = self._entered()
        connected = self._client.state in (ConnectionState.CONNECTED, ConnectionState.READ_ONLY)
        return connected and view.current and view.error is None

    def __aiter__(self) -> AsyncIterator[T | None]:
        """The value now, and then each newer one; of quick changes only the last.

        Values are not kept for a slow reader. The iteration ends when the block is left. It raises SessionExpired or
        ClientClosed when the session is over, and MalformedValue for data that are no value of this type. Each
        iteration starts again with the current value.
        """
        return _Changes(self._entered(), self._decode, lambda: self._left)

    def _entered(self) -> "NodeView":
        if self._view is None:
            raise RuntimeError(f"{self._path}: use it inside `async with SharedValue(...) as shared:`")
        return self._view

    def _decode(self, node: "Node | None") -> T | None:
        return None if node is None else decode(self._encoding, self._path, node.data)


class _Changes(AsyncIterator[T | None]):
    """An iterator over the states of a view. decode: the value of a state. left: whether the block was left."""

    def __init__(self, view: "NodeView", decode: "Callable[[Node | None], T | None]", left: Callable[[], bool]) -> None:
        self._view = view
        self._decode = decode
        self._left = left
        self._seen: tuple[ValueVersion | None] | None = None  # None before the first

    async def __anext__(self) -> T | None:
        await anyio.lowlevel.checkpoint()
        try:
            (node,) = await self._view.wait_until(self._unseen)
        except ClientClosed:
            if self._left():
                raise StopAsyncIteration from None
            raise
        self._seen = (_version(node),)
        return self._decode(node)

    def _unseen(self, node: "Node | None") -> "tuple[Node | None] | None":
        return None if (_version(node),) == self._seen else (node,)


def _version(node: "Node | None") -> ValueVersion | None:
    return None if node is None else ValueVersion(node.stat.czxid, node.stat.mzxid)
