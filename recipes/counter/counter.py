"""A whole number that many processes add to (docs/counters.md)."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from recipes.core import paths
from recipes.core.errors import MalformedValue
from recipes.update import register_of

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_NUMBER = re.compile(rb"\s*[+-]?[0-9]{1,4000}\s*")  # Python itself reads no more than 4,300 digits


class Added(NamedTuple):
    """The number before an addition, and after it."""

    before: int
    after: int


class Counter:
    """A whole number at `path`, without bounds, stored as decimal text as kazoo's Counter stores it.

    client: a connected Client. path: made by the first write when it is missing.
    start: the number of a path that is missing or without data. It is not stored before the first write, so all users
    of one path must give the same.

    **An addition is made once or not at all**, whatever happens to requests and replies, for as long as the session
    lives. Calls return when the outcome is known, even if the connection broke meanwhile. After six broken
    connections in a row they raise ConnectionLoss with `maybe_applied`. After SessionExpired, too, the last addition
    may have been made or not. All additions to one path, by whatever client, follow one another: the `before` of each
    is the `after` of the previous one. Additions that tasks of one client ask for at the same time are combined in one
    write.

    The session keeps an ephemeral znode below `path`, which shows whether a write was made.
    """

    def __init__(self, client: "Client", path: str, *, start: int = 0) -> None:
        self._start = _check("start", start)
        self._client = client
        self._path = paths.check(path)

    def __repr__(self) -> str:
        return f"Counter({self._path!r})"

    async def add(self, n: int = 1) -> Added:
        """Add `n`, which may be negative, and return (before, after).

        After a cancellation `n` was added once or not at all. Raises MalformedValue, which names path and data, for
        data that are no number; TypeError; NoAuth; ConnectionLoss and SessionExpired as the class says.
        """
        _check("n", n)
        return await self.update(lambda before: before + n)

    async def get(self) -> int:
        """The number, as the server that the client is connected to has it; `start` where nothing is stored.

        It includes what this client has written. A recent write of another client may be missing: `await client.sync()`
        first makes sure. Raises MalformedValue, and what every read raises.
        """
        return self._decode(await register_of(self._client, self._path).read())

    async def set(self, value: int) -> int:
        """Store `value`, whatever is stored now; return the number before.

        Raises as `add` does. Data that are no number are not replaced: `client.set(path, b"0")` does that.
        """
        _check("value", value)
        return (await self.update(lambda before: value)).before

    async def compare_and_set(self, expected: int, new: int) -> bool:
        """Store `new` if the number is `expected`; return whether it was. Raises as `add` does."""
        _check("expected", expected)
        _check("new", new)

        def change(data: bytes) -> tuple[bytes, bool]:
            equal = self._decode(data) == expected
            return _encode(new) if equal else data, equal

        return await register_of(self._client, self._path).update(change)

    async def update(self, fn: Callable[[int], int]) -> Added:
        """Store `fn(number)`, and return (before, after): `await counter.update(lambda n: max(n, 5))`.

        fn: a plain function without side effects, since it is called again when another client was quicker. An
        exception of `fn` is raised here, and nothing is changed. Raises as `add` does.
        """

        def change(data: bytes) -> tuple[bytes, Added]:
            before = self._decode(data)
            after = _check("fn: its result", fn(before))
            return _encode(after), Added(before, after)

        return await register_of(self._client, self._path).update(change)

    def _decode(self, data: bytes) -> int:
        if not data:
            return self._start
        if not _NUMBER.fullmatch(data):
            raise MalformedValue(self._path, f"expected a whole number as decimal text, found {data[:60]!r}")
        return int(data)


def _encode(value: int) -> bytes:
    return b"%d" % value


def _check(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a whole number, not {value!r}")
    return value
