"""Several writes that happen together or not at all: ZooKeeper's multi."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from recipes.core.client.session import Call
from recipes.core.errors import RecipesError, RuntimeInconsistency, store_error
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.records import ACL, Stat

if TYPE_CHECKING:
    from recipes.core.client.operations import Operations

Result = str | Stat | None


class Outcome(NamedTuple):
    """What came of a transaction that was answered."""

    results: list[Result]  # as `Transaction.results`; empty when it was refused
    failed_at: int  # which operation was refused, counted from 0; -1 when none was
    error: RecipesError | None  # why


class Transaction:
    """`async with client.transaction() as tx: tx.create(...); tx.set(...)`: committed when the block ends well.

    Nothing is sent before. `results` then holds, in order, the path of each create, the Stat of each set, and None for
    deletes and checks. A refused transaction raises the StoreError of the operation that failed, with its path;
    nothing is applied then. Raises ConnectionLoss when nobody knows.
    """

    def __init__(self, client: "Operations") -> None:
        self._client = client
        self._operations: list[rq.MultiOp] = []
        self._paths: list[str] = []
        self.results: list[Result] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.commit()

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        acl: Sequence[ACL] | None = None,
    ) -> None:
        """Create a znode; see `Client.create2`."""
        kind, body = self._client.create_body(path, data, ephemeral, sequential, container, None, acl)
        self._add(kind if kind == op.CREATE_CONTAINER else op.CREATE, body, path)

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        """Replace data."""
        self._add(op.SET_DATA, self._client.set_body(path, data, version), path)

    def delete(self, path: str, version: int = -1) -> None:
        """Delete a znode."""
        self._add(op.DELETE, rq.encode_path_version(self._client.full(path), version), path)

    def check(self, path: str, version: int = -1) -> None:
        """Let everything fail unless the znode exists and has this version."""
        self._add(op.CHECK, rq.encode_path_version(self._client.full(path), version), path)

    async def commit(self) -> list[Result]:
        """Send it; what the end of the block does."""
        self.results, _, error = await self.start().result()
        if error is not None:
            raise error
        return self.results

    def start(self, heard: Callable[[Call], None] | None = None) -> Call:
        """Put it on its way without waiting: its result is an Outcome. heard: called once there is one, or an error."""
        return self._client.submit(Call(op.MULTI, rq.encode_multi(self._operations), self._decode, heard=heard))

    def _decode(self, reply: bytes, at: int) -> Outcome:
        found = rq.decode_multi(reply, at)
        failures = [place for place, (_, err, _) in enumerate(found) if err]
        if not failures:
            return Outcome([self._result(value) for _, _, value in found], -1, None)
        of_others = RuntimeInconsistency.code
        place = next((place for place in failures if found[place][1] != of_others), failures[0])
        return Outcome([], place, store_error(found[place][1], self._paths[place]))

    def _add(self, kind: int, body: bytes, path: str) -> None:
        self._operations.append((kind, body))
        self._paths.append(path)

    def _result(self, value: rq.MultiResult) -> Result:
        if isinstance(value, Stat):
            return value
        if isinstance(value, bytes):
            return self._client.shown(value)
        if isinstance(value, tuple) and isinstance(value[0], bytes):
            return self._client.shown(value[0])
        return None
