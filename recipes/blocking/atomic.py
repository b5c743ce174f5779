"""Atomic reads and writes of several znodes, for threads."""

import inspect
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from recipes.blocking.hold import documented_by
from recipes.blocking.portal import Errand, Portal
from recipes.core.client import atomic as of_tasks

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

R = TypeVar("R")


@documented_by(of_tasks.Transaction)
class Transaction:
    """The argument of `fn` in `client.atomically(fn)`: reads and writes; see recipes.Transaction."""

    def __init__(self, portal: Portal, transaction: of_tasks.Transaction) -> None:
        self._portal = portal
        self._transaction = transaction

    def get(self, path: str) -> bytes:
        return self._portal.call(lambda: self._transaction.get(path))

    def exists(self, path: str) -> bool:
        return self._portal.call(lambda: self._transaction.exists(path))

    def children(self, path: str) -> list[str]:
        return self._portal.call(lambda: self._transaction.children(path))

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, acl: "Sequence[ACL] | None" = None
    ) -> None:
        self._transaction.create(path, data, ephemeral=ephemeral, acl=acl)

    def set(self, path: str, data: bytes) -> None:
        self._transaction.set(path, data)

    def delete(self, path: str) -> None:
        self._transaction.delete(path)


class _Turn(Generic[R]):
    """One run of `fn`: the loop waits for it, and the calling thread carries it out."""

    def __init__(self, portal: Portal, transaction: of_tasks.Transaction) -> None:
        self._portal = portal
        self._transaction = transaction
        self._done = anyio.Event()
        self._error: Exception | None = None
        self._result: Any = None

    def carry_out(self, fn: Callable[[Transaction], R]) -> None:
        """Run `fn`, in the thread. An error that is no Exception, such as KeyboardInterrupt, is raised here."""
        try:
            self._result = fn(Transaction(self._portal, self._transaction))
        except Exception as error:
            self._error = error
        self._portal.begin(self._done.set)

    async def result(self) -> R:
        """Return the result of `fn`, or raise its error. Called in the loop."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        result: R = self._result
        return result


def run_atomically(portal: Portal, client: "Client", fn: Callable[[Transaction], R], attempts: int) -> R:
    """`Client.atomically`: `fn` runs in this thread, as often as it takes."""
    if inspect.iscoroutinefunction(fn):
        raise TypeError(f"fn: expected a plain function, not the coroutine function {fn!r}")
    portal.check()
    turns: SimpleQueue[_Turn[R] | None] = SimpleQueue()

    async def ask(transaction: of_tasks.Transaction) -> R:
        turn: _Turn[R] = _Turn(portal, transaction)
        turns.put(turn)
        return await turn.result()

    errand = Errand(portal, lambda: client.atomically(ask, attempts=attempts), None)
    errand.future.add_done_callback(lambda _: turns.put(None))
    errand.start()
    try:
        while (turn := turns.get()) is not None:
            turn.carry_out(fn)
    except BaseException:
        if not errand.future.done():
            errand.abandon()
        raise
    return errand.wait()
