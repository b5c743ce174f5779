"""Several writes that happen together or not at all: ZooKeeper's multi."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from recipes.core.client import requests
from recipes.core.client.call import Call
from recipes.core.client.namespace import Namespace
from recipes.core.errors import RecipesError, RuntimeInconsistency, store_error
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.records import ACL, Stat

Result = str | Stat | None


class Outcome(NamedTuple):
    """The server's answer to a multi."""

    results: list[Result]  # as `Multi.results`; empty when it was refused
    failed_at: int  # index of the operation that was refused; -1 when none was
    error: RecipesError | None  # of that operation


class Multi:
    """`async with client.multi() as multi: multi.create(...); multi.set(...)`: sent once, when the block ends well.

    If the block raises, nothing is sent. Once the multi has been applied, `results` holds, in order, the path of each
    create, the Stat of each set, and None for deletes and checks.

    The end of the block raises the StoreError of the operation that failed, with its path: nothing is applied then.
    It raises BadArguments if the whole multi is larger than servers take, ConnectionLoss when nobody knows whether it
    was applied, SessionExpired or ClientClosed when the session is over. The methods raise BadArguments and TypeError
    for invalid arguments, and RuntimeError when the multi has been sent.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace: Namespace = namespace
        self._operations: list[rq.MultiOp] = []
        self._paths: list[str] = []
        self._sent: bool = False
        self.results: list[Result] = []

    async def __aenter__(self) -> Self:
        self._refuse_sent()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._commit()

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl: float | None = None,
        acl: Sequence[ACL] | None = None,
    ) -> None:
        """Create a znode; see `Client.create2` for the arguments."""
        kind, body = requests.create(
            self._namespace,
            path,
            data,
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl=ttl,
            acl=acl,
        )
        self._add(op.CREATE if kind == op.CREATE2 else kind, body, path)

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        """Replace the data, if the znode has this `version` (-1: any)."""
        self._add(op.SET_DATA, requests.set_data(self._namespace, path, data, version), path)

    def delete(self, path: str, version: int = -1) -> None:
        """Delete a znode, if it has this `version` (-1: any)."""
        self._add(op.DELETE, requests.path_version(self._namespace, path, version), path)

    def check(self, path: str, version: int = -1) -> None:
        """Make the multi fail unless the znode exists and has this `version` (-1: any)."""
        self._add(op.CHECK, requests.path_version(self._namespace, path, version), path)

    @property
    def count(self) -> int:
        """The number of operations."""
        return len(self._operations)

    def extend(self, other: "Multi") -> None:
        """Append the operations of `other`."""
        self._refuse_sent()
        self._operations += other._operations
        self._paths += other._paths

    async def _commit(self) -> None:
        self.results, _, error = await self.start().result()
        if error is not None:
            raise error

    def start(self, heard: Callable[[Call], None] | None = None, *, guards: Sequence[str] = ()) -> Call:
        """Send it without waiting: the Call's result is an Outcome. heard: called once the Call is done.

        guards: paths of znodes that must exist, or nothing is applied; their checks are the first operations.
        """
        self._refuse_sent()
        if guards:
            checks = [(op.CHECK, requests.path_version(self._namespace, path, -1)) for path in guards]
            self._operations, self._paths = [*checks, *self._operations], [*guards, *self._paths]
        self._sent = True
        call = Call(op.MULTI, rq.encode_multi(self._operations), self._decode, heard=heard)
        return self._namespace.submit(call)

    def _decode(self, reply: bytes, at: int) -> Outcome:
        found = rq.decode_multi(reply, at)
        failures = [place for place, (_, err, _) in enumerate(found) if err]
        if not failures:
            return Outcome([self._result(value) for _, _, value in found], -1, None)
        of_others = RuntimeInconsistency.code
        place = next((place for place in failures if found[place][1] != of_others), failures[0])
        return Outcome([], place, store_error(found[place][1], self._paths[place]))

    def _add(self, kind: int, body: bytes, path: str) -> None:
        self._refuse_sent()
        self._operations.append((kind, body))
        self._paths.append(path)

    def _refuse_sent(self) -> None:
        if self._sent:
            raise RuntimeError("this multi has been sent: begin another one with client.multi()")

    def _result(self, value: rq.MultiResult) -> Result:
        if isinstance(value, Stat):
            return value
        if isinstance(value, bytes):
            return self._namespace.shown(value)
        if isinstance(value, tuple) and isinstance(value[0], bytes):
            return self._namespace.shown(value[0])
        return None
