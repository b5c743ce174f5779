"""What all caches have in common: a block, a state, changes, and waiting until something is so."""

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

    What is in it is read without waiting. It is what the connected server had, less what is on its way: a cache lags
    behind the store, and shows the newest state, not every one. Data that must not be old is read with
    `client.sync` and `client.get`.

    When the session is lost or the client closes, nothing is cancelled: `error` is set, `state` is "stale" for ever,
    and those that wait are told. With a client that was made with `renew` the loss of a session is no end: the cache is
    stale until the next one has read everything anew, and `losses` counts it. What was read last stays readable, also
    behind the block. Leaving the block removes the watches on the server.

    Entering raises NoAuth when the path may not be read; SessionExpired or ClientClosed when the session is over;
    RuntimeError for a second time. BadArguments for a path that is none. A failed read is tried again, after a pause
    that grows to 2 s.

    A znode below the path that may not be read is left out, and is in `refused`. Servers do not tell of its changes,
    nor of its deletion: until the next full reading it stays there, as one that lost its readers stays in the cache.
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
        """What is kept: this znode, and what the kind of cache says of those below it."""
        return self._mirror.path

    @property
    def state(self) -> State:
        """How far what is shown can be relied on.

        "syncing": not everything was read yet. "current": everything was read since this connection began, and each
        change is heard of. "stale": the connection is lost, or is back and not everything was read again, or a read
        failed and is tried again, or the server is read-only, or the cache has ended.
        """
        if not self._mirror.was_whole:
            return "syncing"
        return "current" if self._mirror.stale_since is None else "stale"

    @property
    def stale_since(self) -> float | None:
        """Since when it is stale, in seconds of `client.clock()`; None while it is current, or syncing."""
        return self._mirror.stale_since

    @property
    def error(self) -> RecipesError | None:
        """What ended the cache: SessionExpired, ClientClosed, AuthFailed, or NoAuth; None while it goes on."""
        return self._mirror.error

    @property
    def losses(self) -> int:
        """How many sessions it has outlived."""
        return self._mirror.losses

    @property
    def refused(self) -> Mapping[str, RecipesError]:
        """Paths that may not be read, or whose children may not be listed, with the server's answer."""
        return self._mirror.copy.refused

    async def wait_until(self, predicate: Callable[[Self], R | None]) -> R:
        """Return the first answer of `predicate(cache)` that counts as true, asking after every reading.

        It is asked while the cache is current only. Raises what ended the cache, and RuntimeError outside its block.
        """
        while True:
            if self.error is None and self.state == "current" and (answer := predicate(self)):
                return answer
            await self._mirror.news()

    def changes(self, *, initial: bool = False) -> Changes:
        """A stream of what changes from this call on; initial: what is there already comes first, as added.

        See `Changes`. Raises RuntimeError outside the block.
        """
        return self._mirror.changes(initial)
