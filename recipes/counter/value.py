"""A value of any type that many processes change, each change made once (docs/counters.md)."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple

from typing_extensions import TypeVar

from recipes.core import paths
from recipes.core.errors import MalformedValue
from recipes.encoding import Encoding
from recipes.update import register_of

if TYPE_CHECKING:
    from recipes.core.client.client import Client

T = TypeVar("T", default=bytes)


class Changed(NamedTuple, Generic[T]):
    """The value before an update, and after it."""

    before: T | None
    after: T | None


class AtomicValue(Generic[T]):
    """A value at `path`, changed by one client at a time.

    client: a connected Client. path: made by the first write when it is missing.
    model: the type of the value. Without it values are bytes. Values of a pydantic model, or of any type that pydantic
        knows, are stored as JSON. `AtomicValue[Job](client, path)` does the same.

    A path that is missing or without data has the value None. So has b"", since it is stored as no data.

    **A change is made once or not at all.** Counter says what is guaranteed and for how long, and what ConnectionLoss
    and SessionExpired mean. Values are compared as values, so that differently written JSON makes no difference. Raises
    MalformedValue, which names path and data, for data that are no value of this type; `set` replaces such data.
    """

    def __init__(self, client: "Client", path: str, *, model: type[T] | None = None) -> None:
        self._client = client
        self._path = paths.check(path)
        self._encoding: Encoding[T] = Encoding(self, model)

    def __repr__(self) -> str:
        return f"AtomicValue({self._path!r})"

    async def get(self) -> T | None:
        """The value as the server that the client is connected to has it; see `Counter.get`."""
        return decode(self._encoding, self._path, await register_of(self._client, self._path).read())

    async def set(self, value: T | None) -> None:
        """Store `value`, whatever is stored now. None removes the data. Raises TypeError, ValueError."""
        written = self._encode(value)
        await register_of(self._client, self._path).update(lambda data: (written, None))

    async def compare_and_set(self, expected: T | None, new: T | None) -> bool:
        """Store `new` if the value is `expected`; return whether it was."""
        wanted, written = self._decode(self._encode(expected)), self._encode(new)

        def change(data: bytes) -> tuple[bytes, bool]:
            equal = self._decode(data) == wanted
            return written if equal else data, equal

        return await register_of(self._client, self._path).update(change)

    async def update(self, fn: Callable[[T | None], T | None]) -> Changed[T]:
        """Replace the value with `fn(value)`, and return (before, after).

        fn: a plain function without side effects, since it is called again when another client was quicker. An
        exception of `fn` is raised here, and nothing is changed. For an async function use `client.atomically`.
        """
        if inspect.iscoroutinefunction(fn):
            raise TypeError(f"fn: expected a plain function, not the coroutine function {fn!r}")

        def change(data: bytes) -> tuple[bytes, Changed[T]]:
            written = self._encode(fn(self._decode(data)))
            # Decoded again: `fn` may have changed the object that it was given.
            return written, Changed(self._decode(data), self._decode(written))

        return await register_of(self._client, self._path).update(change)

    def _encode(self, value: T | None) -> bytes:
        return b"" if value is None else self._encoding.write(value)

    def _decode(self, data: bytes) -> T | None:
        return decode(self._encoding, self._path, data)


def decode(encoding: Encoding[T], path: str, data: bytes) -> T | None:
    """The value in `data`, which was found at `path`; None for no data. Raises MalformedValue."""
    if not data:
        return None
    try:
        return encoding.read(data)
    except ValueError as error:
        what = f"expected {encoding.name} as JSON, found {data[:60]!r}: {error}"
        raise MalformedValue(path, what) from error
