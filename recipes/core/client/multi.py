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
from recipes.core.jute.codec import read_string, un_int
from recipes.core.jute.records import ACL, Stat, decode_stat

Result = str | Stat | None

_PATH = 13  # where the path begins in each operation of a multi, behind a header of nine bytes and the path's length
_HEADERS = {
    kind: rq.pack_multi_header(kind, -1)
    for kind in (op.CREATE, op.CREATE_CONTAINER, op.CREATE_TTL, op.SET_DATA, op.DELETE, op.CHECK)
}


def path_end(encoded: bytes) -> int:
    """Where the path ends in an operation of a multi."""
    length: int = un_int(encoded, _PATH - 4)[0]
    return _PATH + length


class Outcome(NamedTuple):
    """The server's answer to a multi."""

    results: list[Result]  # as `Multi.results`, or only the first; empty when it was refused
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
        self._encoded: list[bytes] = []  # with headers; a piece may be several operations
        self._count: int = 0
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
        self._add(op.CREATE if kind == op.CREATE2 else kind, body)

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        """Replace the data, if the znode has this `version` (-1: any)."""
        self._add(op.SET_DATA, requests.set_data(self._namespace, path, data, version))

    def delete(self, path: str, version: int = -1) -> None:
        """Delete a znode, if it has this `version` (-1: any)."""
        self._add(op.DELETE, requests.path_version(self._namespace, path, version))

    def check(self, path: str, version: int = -1) -> None:
        """Make the multi fail unless the znode exists and has this `version` (-1: any)."""
        self._add(op.CHECK, requests.path_version(self._namespace, path, version))

    @property
    def count(self) -> int:
        """The number of operations."""
        return self._count

    @property
    def size(self) -> int:
        """The number of bytes that the operations have on the wire."""
        return sum(map(len, self._encoded))

    @property
    def encoded(self) -> list[bytes]:
        """The operations, encoded: one piece for each, but for pieces that were appended with `append`."""
        return self._encoded

    def append(self, encoded: bytes, count: int) -> None:
        """Append so many operations in one piece, as a multi of this client encodes them."""
        self._refuse_sent()
        self._encoded.append(encoded)
        self._count += count

    def extend(self, other: "Multi") -> None:
        """Append the operations of `other`."""
        self._refuse_sent()
        self._encoded += other._encoded
        self._count += other._count

    async def _commit(self) -> None:
        self.results, _, error = await self.start().result()
        if error is not None:
            raise error

    def start(
        self,
        heard: Callable[[Call], None] | None = None,
        *,
        guards: Sequence[str] = (),
        only_first: bool = False,
    ) -> Call:
        """Send it without waiting: the Call's result is an Outcome. heard: called once the Call is done.

        guards: paths of znodes that must exist, or nothing is applied; their checks are the first operations.
        only_first: decode the first result alone, for callers that need no other.
        """
        self._refuse_sent()
        if guards:
            checks = [_HEADERS[op.CHECK] + requests.path_version(self._namespace, path, -1) for path in guards]
            self._encoded, self._count = [*checks, *self._encoded], self._count + len(guards)
        self._sent = True
        decode = self._decode_first if only_first else self._decode
        call = Call(op.MULTI, b"".join([*self._encoded, rq.MULTI_END]), decode, heard=heard)
        return self._namespace.submit(call)

    def _decode(self, reply: bytes, at: int) -> Outcome:
        found = rq.decode_multi(reply, at)
        failures = [place for place, (_, err, _) in enumerate(found) if err]
        if not failures:
            return Outcome([self._result(value) for _, _, value in found], -1, None)
        of_others = RuntimeInconsistency.code
        place = next((place for place in failures if found[place][1] != of_others), failures[0])
        return Outcome([], place, store_error(found[place][1], self._path_of(place)))

    def _decode_first(self, reply: bytes, at: int) -> Outcome:
        """Only the first result: servers answer with a result for each operation, or with an error for each."""
        kind, _, err, behind = rq.read_multi_header(reply, at)
        if kind != op.SET_DATA or err or not reply.endswith(rq.MULTI_END):
            return self._decode(reply, at)
        return Outcome([decode_stat(reply, behind)[0]], -1, None)

    def _path_of(self, place: int) -> str:
        """The path of an operation of this multi, for the error that it got."""
        _, body = rq.read_multi(b"".join([*self._encoded, rq.MULTI_END]))[place]
        return self._namespace.shown(read_string(body, 0)[0])

    def _add(self, kind: int, body: bytes) -> None:
        self._refuse_sent()
        self._encoded.append(_HEADERS[kind] + body)
        self._count += 1

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
