"""What all caches have in common: a block, a state, changes, and waiting for a condition."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from recipes.cache.changes import Changes
from recipes.cache.mirror import Mirror
from recipes.core.errors import RecipesError

if TYPE_CHECKING:
    from recipes.core.client.client import Client

R = TypeVar("R")
State = Literal["syncing", "current", "stale"]


class Cache:
    """Part of the store, kept in memory. Entering its block returns once all of it was read.

    Reading a cache never waits. The content is what the connected server had, a moment ago: a cache lags behind the
    store, and shows the newest state, not every state. Data that must not be old is read with `client.sync` and
    `client.get`.

    When the session is lost or the client closes, nothing is cancelled: `error` is set, `state` is "stale" for ever,
    and waiting tasks get the error. With a client that was made with `renew` the cache goes on after the loss of a
    session: it is stale until everything was read again in the next session, and `losses` counts the loss. What was
    read last stays readable, also after the block. Leaving the block removes the watches on the server.

    Entering raises NoAuth when the path may not be read; SessionExpired or ClientClosed when the session is over;
    RuntimeError for a second time; BadArguments for an invalid path. A failed read is tried again, after a pause
    that grows to 2 s.

    A znode below the path that may not be read is left out, and is in `refused`. Servers report neither its changes nor
    its deletion, so it stays in `refused` until the next full reading. Likewise a znode that becomes unreadable later
    stays in the cache until then.
    """

    def __init__(self, client: "Client", path: str, max_depth: float, *, recursive: bool) -> None:
        self._mirror: Mirror = Mirror(client, path, max_depth, recursive)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {self.state}, {len(self._mirror.copy.nodes)} znodes>"

    async def __aenter__(self) -> Self:
        await self._mirror.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mirror.close()

    @property
    def path(self) -> str:
        """The znode that is kept; the kind of cache says which znodes below it are kept, too."""
        return self._mirror.path

    @property
    def state(self) -> State:
        """How far the content can be relied on.

        "syncing": not everything was read yet. "current": everything was read since this connection began, and every
        change is reported. "stale": the connection is lost; or it is back and not everything was read again; or a read
        failed and is tried again; or the server is read-only; or the cache has ended.
        """
        if not self._mirror.was_whole:
            return "syncing"
        return "current" if self._mirror.stale_since is None else "stale"

    @property
    def stale_since(self) -> float | None:
        """Since when the cache is stale, in seconds of `client.clock()`; None while it is current or syncing."""
        return self._mirror.stale_since

    @property
    def error(self) -> RecipesError | None:
        """What ended the cache: SessionExpired, ClientClosed, AuthFailed, or NoAuth; None while it goes on."""
        return self._mirror.error

    @property
    def losses(self) -> int:
        """How many sessions the cache has outlived."""
        return self._mirror.losses

    @property
    def refused(self) -> Mapping[str, RecipesError]:
        """Paths that may not be read, or whose children may not be listed, with the server's answer."""
        return self._mirror.copy.refused

    async def wait_until(self, predicate: Callable[[Self], R | None]) -> R:
        """Return the first answer of `predicate(cache)` that counts as true, asking after every reading.

        `predicate` is called only while the cache is current. Raises what ended the cache, and RuntimeError outside its
        block.
        """
        while True:
            if self.error is None and self.state == "current" and (answer := predicate(self)):
                return answer
            await self._mirror.news()

    def changes(self, *, initial: bool = False) -> Changes:
        """A stream of the changes from this call on. initial: existing znodes come first, as added.

        See `Changes`. Raises RuntimeError outside the block.
        """
        return self._mirror.changes(initial)
