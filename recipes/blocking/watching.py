"""A multi, a watch that fires once, a stream of events and a view, for threads."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from recipes.blocking.block import Entered
from recipes.blocking.hold import documented_by
from recipes.core.client import multi, view, watch
from recipes.core.errors import ClientClosed, RecipesError

if TYPE_CHECKING:
    from recipes.blocking.portal import Portal
    from recipes.core.client.multi import Result
    from recipes.core.client.session import WatchEvent
    from recipes.core.jute.records import ACL

T = TypeVar("T")
R = TypeVar("R")


@documented_by(multi.Multi)
class Multi(Entered[multi.Multi]):
    """`with client.multi() as multi: multi.create(...); multi.set(...)`: sent once, when the block ends well.

    See recipes.Multi for `results` and the errors.
    """

    @property
    def results(self) -> "list[Result]":
        """Once it is sent, in order: the path of each create, the Stat of each set, None for deletes and checks."""
        return self.of_tasks.results

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl: float | None = None,
        acl: "Sequence[ACL] | None" = None,
    ) -> None:
        self.of_tasks.create(
            path, data, ephemeral=ephemeral, sequential=sequential, container=container, ttl=ttl, acl=acl
        )

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        self.of_tasks.set(path, data, version)

    def delete(self, path: str, version: int = -1) -> None:
        self.of_tasks.delete(path, version)

    def check(self, path: str, version: int = -1) -> None:
        self.of_tasks.check(path, version)


@documented_by(watch.Watch)
class Watch:
    """A watch that fires once, set by the read that returned it."""

    def __init__(self, portal: "Portal", of_tasks: watch.Watch) -> None:
        self._portal = portal
        self._watch = of_tasks

    def wait(self, *, within: float | None = None) -> "WatchEvent":
        """Wait for the event and return it; at once, if it has come before.

        within: seconds to wait at most, for ever without; then TimeoutError. A change that is made while the connection
        is lost is seen after the reconnection. Raises the error that ended the session if that came first.
        """
        return self._portal.call(self._watch.wait, within)

    def cancel(self) -> None:
        with suppress(ClientClosed):  # then no thread waits any more
            self._portal.run(self._watch.cancel)


class WatchStream(Entered[watch.WatchStream], Iterator["WatchEvent"]):
    """`with client.watch(path) as events: for event in events`; see recipes.WatchStream for which events come.

    The iteration ends when no event came `within` the seconds given to `client.watch`; then it can begin again. When
    the session is over, the iteration raises the error that ended the session.
    """

    def __init__(self, portal: "Portal", of_tasks: watch.WatchStream, within: float | None) -> None:
        super().__init__(portal, of_tasks)
        self._within = within

    def __next__(self) -> "WatchEvent":
        try:
            return self._portal.call(self.of_tasks.__anext__, self._within)
        except TimeoutError:
            raise StopIteration from None


@documented_by(view.View)
class View(Generic[T]):
    """The state of a path, kept current inside `with client.node_view(path) as view` or `children_view`.

    It shows the newest state, not every change: a slow reader misses steps, never the outcome.
    """

    def __init__(self, portal: "Portal", begin: Callable[[], view.View[T]]) -> None:
        self._portal = portal
        self._begin = begin
        self._view: view.View[T] | None = None

    def __enter__(self) -> Self:
        self._view = self._portal.run(self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._portal.in_child() and error is not None:
            return
        self.close()

    def close(self) -> None:
        with suppress(ClientClosed):  # the view is closed with it
            self._portal.run(self._entered.close)

    @property
    def value(self) -> T | None:
        """The state as last read; None when there is no such znode."""
        return self._entered.value

    @property
    def current(self) -> bool:
        """Whether every known change was read; False before the first reading."""
        return self._entered.current

    @property
    def error(self) -> RecipesError | None:
        """Why it is no longer kept current: the session is over, or the server refused the read (NoAuth)."""
        return self._entered.error

    def wait_until(self, accept: Callable[[T | None], R | None], *, within: float | None = None) -> R:
        """Return the first answer of `accept(value)` that is not None, asking again after every reading.

        accept: called in the client's thread, which it must not block. within: seconds to wait at most, for ever
        without; then TimeoutError. Raises what ended the view: SessionExpired, ClientClosed, NoAuth.
        """
        return self._portal.call(lambda: self._entered.wait_until(accept), within)

    def wait_current(self, *, within: float | None = None) -> None:
        """Return once every known change was read.

        within: seconds to wait at most, for ever without; then TimeoutError. Raises what ended the view.
        """
        self._portal.call(self._entered.wait_current, within)

    @property
    def _entered(self) -> view.View[T]:
        if self._view is None:
            raise RuntimeError("a view is used inside its block: `with client.node_view(path) as view`")
        return self._view
