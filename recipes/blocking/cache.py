"""Parts of the store in memory, for threads."""

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from recipes.blocking.block import Entered
from recipes.blocking.hold import documented_by
from recipes.blocking.portal import Portal, portal_of
from recipes.blocking.typed import Typed
from recipes.cache import cache, changes, children, node, tree
from recipes.core.client.view import Node
from recipes.core.errors import ClientClosed, RecipesError

if TYPE_CHECKING:
    from recipes.blocking.client import Client

C = TypeVar("C", bound=cache.Cache)
R = TypeVar("R")
T = TypeVar("T", default=bytes)


class Changes(Iterator[changes.Change]):
    """`for change in cache.changes():` each difference from what the reader was told before; see recipes.Changes.

    The iteration ends when no change came `within` the seconds given to `changes`; then it can begin again.
    """

    def __init__(self, portal: Portal, of_tasks: changes.Changes, within: float | None) -> None:
        self._portal = portal
        self._changes = of_tasks
        self._within = within

    def __next__(self) -> changes.Change:
        try:
            return self._portal.call(self._changes.__anext__, self._within)
        except TimeoutError:
            raise StopIteration from None


@documented_by(cache.Cache)
class Cache(Entered[C], Generic[C]):
    """Part of the store, kept in memory. Entering its block returns once all of it was read; see recipes.Cache.

    Any thread may read it. A call that returns several znodes shows them at one moment.
    """

    @property
    def path(self) -> str:
        return self.of_tasks.path

    @property
    def state(self) -> cache.State:
        return self.of_tasks.state

    @property
    def losses(self) -> int:
        return self.of_tasks.losses

    @property
    def stale_since(self) -> float | None:
        return self.of_tasks.stale_since

    @property
    def error(self) -> RecipesError | None:
        return self.of_tasks.error

    @property
    def refused(self) -> Mapping[str, RecipesError]:
        return self._read(lambda: dict(self.of_tasks.refused))

    def wait_until(self, predicate: Callable[[C], R | None], *, within: float | None = None) -> R:
        """Return the first answer of `predicate(cache)` that counts as true, asking after every reading.

        predicate: called in the client's thread, which it must not block, with the async cache behind this one. within:
        seconds to wait at most, for ever without; then TimeoutError. Raises what ended the cache, and RuntimeError
        outside its block.
        """
        return self._portal.call(lambda: self.of_tasks.wait_until(predicate), within)

    def changes(self, *, initial: bool = False, within: float | None = None) -> Changes:
        """A stream of the changes from this call on. initial: existing znodes come first, as added.

        within: seconds that an iteration waits for the next change at most; then it ends, and another one can begin.
        Nothing is lost in between. Raises RuntimeError outside the block.
        """
        return Changes(self._portal, self._portal.run(lambda: self.of_tasks.changes(initial=initial)), within)

    def _read(self, what: Callable[[], R]) -> R:
        """Read more than one znode in the loop: only the loop changes them."""
        try:
            return self._portal.run(what)
        except ClientClosed:
            return what()  # nothing changes it any more

    def __repr__(self) -> str:
        return self._read(lambda: repr(self.of_tasks))


@documented_by(node.NodeCache)
class NodeCache(Typed, Cache[node.NodeCache[T]], Generic[T]):
    """`with NodeCache(client, "/config") as cache:` one znode; see recipes.NodeCache."""

    of_tasks: node.NodeCache[T]

    def __init__(self, client: "Client", path: str, *, model: type[T] | None = None) -> None:
        super().__init__(portal_of(client), node.NodeCache(client.of_tasks, path, model=model))

    @property
    def node(self) -> Node | None:
        return self.of_tasks.node

    @property
    def value(self) -> T | None:
        return self.of_tasks.value


M = TypeVar("M", children.ChildrenCache, tree.TreeCache)


class _Nodes(Cache[M], Mapping[str, Node], Generic[M]):
    """A cache of several znodes."""

    def items(self) -> ItemsView[str, Node]:
        """The znodes by name or path, at one moment."""
        return self._now().items()

    def values(self) -> ValuesView[Node]:
        """The znodes, at one moment."""
        return self._now().values()

    def _now(self) -> dict[str, Node]:
        return self._read(lambda: dict(self.of_tasks))


@documented_by(children.ChildrenCache)
class ChildrenCache(_Nodes[children.ChildrenCache]):
    """`with ChildrenCache(client, "/workers") as cache:` a znode's children, by name; see recipes.ChildrenCache."""

    def __init__(self, client: "Client", path: str) -> None:
        super().__init__(portal_of(client), children.ChildrenCache(client.of_tasks, path))

    def __getitem__(self, name: str) -> Node:
        return self.of_tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return self._read(lambda: len(self.of_tasks))

    @property
    def parent(self) -> Node | None:
        return self.of_tasks.parent

    def names(self) -> list[str]:
        return self._read(self.of_tasks.names)


@documented_by(tree.TreeCache)
class TreeCache(_Nodes[tree.TreeCache]):
    """`with TreeCache(client, "/config") as cache:` a znode and all znodes below it; see recipes.TreeCache."""

    def __init__(self, client: "Client", path: str, *, max_depth: int | None = None) -> None:
        super().__init__(portal_of(client), tree.TreeCache(client.of_tasks, path, max_depth=max_depth))

    def __getitem__(self, path: str) -> Node:
        return self.of_tasks[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths())

    def __len__(self) -> int:
        return len(self.of_tasks)

    def __contains__(self, path: Any) -> bool:
        return path in self.of_tasks

    def paths(self) -> list[str]:
        return self._read(self.of_tasks.paths)

    def children(self, path: str) -> dict[str, Node] | None:
        return self._read(lambda: self.of_tasks.children(path))
