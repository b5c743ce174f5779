"""Several writes that happen together or not at all: ZooKeeper's multi."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from recipes.core.client.session import Call
from recipes.core.errors import RuntimeInconsistency, store_error
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.records import ACL, Stat

if TYPE_CHECKING:
    from recipes.core.client.operations import Operations

Result = str | Stat | None


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
        call = Call(op.MULTI, rq.encode_multi(self._operations), rq.decode_multi)
        found = await self._client.submit(call).result()
        failures = [store_error(err, path) for (_, err, _), path in zip(found, self._paths, strict=True) if err]
        if failures:
            first = [error for error in failures if not isinstance(error, RuntimeInconsistency)]
            raise (first or failures)[0]
        self.results = [self._result(value) for _, _, value in found]
        return self.results

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
