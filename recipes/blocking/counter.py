"""Numbers, values and ids that many threads and processes change."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic

from typing_extensions import TypeVar

from recipes.blocking.block import Entered
from recipes.blocking.hold import documented_by
from recipes.blocking.portal import portal_of
from recipes.blocking.typed import Typed
from recipes.counter import counter, ids, shared, value

if TYPE_CHECKING:
    from recipes.blocking.client import Client

T = TypeVar("T", default=bytes)


@documented_by(counter.Counter)
class Counter:
    """A whole number at `path`, without bounds. An addition is made once or not at all; see recipes.Counter."""

    def __init__(self, client: "Client", path: str, *, start: int = 0) -> None:
        self._portal = portal_of(client)
        self._counter = self._portal.run(lambda: counter.Counter(client.of_tasks, path, start=start))

    def __repr__(self) -> str:
        return repr(self._counter)

    def add(self, n: int = 1) -> counter.Added:
        return self._portal.call(lambda: self._counter.add(n))

    def get(self) -> int:
        return self._portal.call(self._counter.get)

    def set(self, value: int) -> int:
        return self._portal.call(lambda: self._counter.set(value))

    def compare_and_set(self, expected: int, new: int) -> bool:
        return self._portal.call(lambda: self._counter.compare_and_set(expected, new))

    def update(self, fn: Callable[[int], int]) -> counter.Added:
        """Store `fn(number)`, and return (before, after): `counter.update(lambda n: max(n, 5))`.

        fn: called in the client's thread, which it must not block; called again when another client was quicker. An
        exception of `fn` is raised here, and nothing is changed.
        """
        return self._portal.call(lambda: self._counter.update(fn))


@documented_by(value.AtomicValue)
class AtomicValue(Typed, Generic[T]):
    """A value at `path`, changed by one client at a time, each change once or not at all; see recipes.AtomicValue."""

    of_tasks: value.AtomicValue[T]

    def __init__(self, client: "Client", path: str, *, model: type[T] | None = None) -> None:
        self._portal = portal_of(client)
        self.of_tasks = self._portal.run(lambda: value.AtomicValue(client.of_tasks, path, model=model))

    def __repr__(self) -> str:
        return repr(self.of_tasks)

    def get(self) -> T | None:
        return self._portal.call(self.of_tasks.get)

    def set(self, value: T | None) -> None:
        self._portal.call(lambda: self.of_tasks.set(value))

    def compare_and_set(self, expected: T | None, new: T | None) -> bool:
        return self._portal.call(lambda: self.of_tasks.compare_and_set(expected, new))

    def update(self, fn: Callable[[T | None], T | None]) -> value.Changed[T]:
        """Store `fn(value)`, and return (before, after).

        fn: called in the client's thread, which it must not block; called again when another client was quicker. An
        exception of `fn` is raised here, and nothing is changed. For a function that waits use `client.atomically`.
        """
        return self._portal.call(lambda: self.of_tasks.update(fn))


@documented_by(shared.SharedValue)
class SharedValue(Typed, Entered[shared.SharedValue[T]], Generic[T]):
    """`with SharedValue(client, path) as shared:` the newest known value at `path`; see recipes.SharedValue.

    within: seconds that an iteration waits for the next value at most; then it ends, and another one can begin.
    """

    of_tasks: shared.SharedValue[T]

    def __init__(
        self, client: "Client", path: str, *, model: type[T] | None = None, within: float | None = None
    ) -> None:
        super().__init__(portal_of(client), shared.SharedValue(client.of_tasks, path, model=model))
        self._within = within

    def __repr__(self) -> str:
        return repr(self.of_tasks)

    @property
    def value(self) -> T | None:
        return self.of_tasks.value

    @property
    def version(self) -> shared.ValueVersion | None:
        return self.of_tasks.version

    @property
    def current(self) -> bool:
        return self.of_tasks.current

    def __iter__(self) -> Iterator[T | None]:
        """The value now, and then each newer one; of quick changes only the last. See recipes.SharedValue."""
        return self._portal.iterate(self._portal.run(self.of_tasks.__aiter__), self._within)


@documented_by(ids.IdGenerator)
class IdGenerator(Iterator[int]):
    """Ids that are given out once; see recipes.IdGenerator. Any number of threads may use it."""

    def __init__(self, client: "Client", path: str, *, block: int = 1000) -> None:
        self._portal = portal_of(client)
        self._ids = self._portal.run(lambda: ids.IdGenerator(client.of_tasks, path, block=block))

    def __repr__(self) -> str:
        return repr(self._ids)

    def __next__(self) -> int:
        return self.next()

    def next(self) -> int:
        return self._portal.call(self._ids.next)
