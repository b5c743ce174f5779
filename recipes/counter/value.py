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
    """What an update found, and what it made of it."""

    before: T | None
    after: T | None


class AtomicValue(Generic[T]):
    """A value at `path`, changed by one client at a time.

    client: a connected Client. path: made by the first write when it is missing.
    model: the type of the value. Without it they are bytes; with a pydantic model, or any type that pydantic knows, it
        is stored as JSON. `AtomicValue[Job](client, path)` says the same.

    A path that is missing or without data has the value None, for bytes too: b"" is stored as no data.

    **A change is made once or not at all**, as with Counter: see there for what is guaranteed and for how long, and for
    ConnectionLoss and SessionExpired. Values are compared as values, so that JSON that others have written differently
    makes no difference. Raises MalformedValue, which names path and data, for data that are no value of this type;
    `set` replaces them.
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
        """Store `value`, whatever is stored now. None takes the data away. Raises TypeError and ValueError for it."""
        written = self._encode(value)
        await register_of(self._client, self._path).update(lambda data: (written, None))

    async def compare_and_set(self, expected: T | None, new: T | None) -> bool:
        """Store `new` if the value is `expected`; whether it was."""
        wanted, written = self._decode(self._encode(expected)), self._encode(new)

        def change(data: bytes) -> tuple[bytes, bool]:
            equal = self._decode(data) == wanted
            return written if equal else data, equal

        return await register_of(self._client, self._path).update(change)

    async def update(self, fn: Callable[[T | None], T | None]) -> Changed[T]:
        """Store what `fn` makes of the value, and return (before, after).

        fn: a plain function without effects of its own, since it is called again when somebody else was quicker. What
        it raises is raised here, and nothing is changed. For one that waits there is `client.atomically`.
        """
        if inspect.iscoroutinefunction(fn):
            raise TypeError(f"fn: expected a plain function, not the coroutine function {fn!r}")

        def change(data: bytes) -> tuple[bytes, Changed[T]]:
            written = self._encode(fn(self._decode(data)))
            # Decoded anew: `fn` may have changed the object that it was given.
            return written, Changed(self._decode(data), self._decode(written))

        return await register_of(self._client, self._path).update(change)

    def _encode(self, value: T | None) -> bytes:
        return b"" if value is None else self._encoding.write(value)

    def _decode(self, data: bytes) -> T | None:
        return decode(self._encoding, self._path, data)


def decode(encoding: Encoding[T], path: str, data: bytes) -> T | None:
    """The value in `data`, found at `path`; None where there are none. Raises MalformedValue."""
    if not data:
        return None
    try:
        return encoding.read(data)
    except ValueError as error:
        what = f"expected {encoding.name} as JSON, found {data[:60]!r}: {error}"
        raise MalformedValue(path, what) from error
