"""A request with its reply, and the interface of whatever a watch wakes."""

from collections.abc import Callable
from typing import Any, Protocol

from recipes.core.client.waiter import Waiter
from recipes.core.errors import RecipesError


class Watcher(Protocol):
    """What a watch wakes. `fire` is called by the session, once for a one-shot watch."""

    def fire(self, kind: int, path: bytes) -> None:
        """An event at the server's `path`. kind: one of opcodes.EVENT_* (NONE: the session ended), or -2 for RESYNC."""


class Call:
    """One request and, later, its reply.

    reads: whether it may be sent again after a lost connection. watch: table and watcher to register on success;
    an exists on a missing znode registers in the table "exist" instead. heard: called once the outcome is known, for
    callers that do not await it.
    """

    __slots__ = (
        "_waiting",
        "abandoned",
        "body",
        "breaks",
        "decode",
        "done",
        "error",
        "heard",
        "op",
        "path",
        "reads",
        "sent_at",
        "value",
        "watch",
    )

    def __init__(
        self,
        kind: int,
        body: bytes,
        decode: Callable[[bytes, int], Any] | None = None,
        *,
        path: str = "",
        reads: bool = False,
        watch: tuple[str, bytes, Watcher] | None = None,
        heard: "Callable[[Call], None] | None" = None,
    ) -> None:
        self.op: int = kind
        self.body: bytes = body
        self.decode: Callable[[bytes, int], Any] | None = decode
        self.path: str = path
        self.reads: bool = reads
        self.watch: tuple[str, bytes, Watcher] | None = watch
        self.heard: Callable[[Call], None] | None = heard
        self.value: Any = None
        self.error: RecipesError | None = None
        self.sent_at: float = 0.0
        self.breaks: int = 0  # connections that broke while this was the one request under way
        self.abandoned: bool = False  # nobody waits any more
        self.done: bool = False
        self._waiting: list[Waiter] | None = None  # one for each task that waits

    async def result(self) -> Any:
        """Wait for the reply and return it decoded, or raise the call's error.

        Cancelling this drops a request that is not sent yet; of one that was sent, no watch is registered here.
        """
        if not self.done:
            waiter = Waiter()
            self._waiting = [waiter] if self._waiting is None else [*self._waiting, waiter]
            try:
                await waiter.wait()
            except BaseException:
                self.abandoned = True
                raise
        if self.error is not None:
            raise self.error
        return self.value

    def succeed(self, value: Any) -> None:
        """The reply has come."""
        self.value = value
        self._finish()

    def fail(self, error: RecipesError) -> None:
        """The call failed: no reply will come, or the reply is an error or cannot be decoded."""
        self.error = error
        self._finish()

    def _finish(self) -> None:
        self.done = True
        for each in self._waiting or ():
            each.set()
        if self.heard is not None:
            self.heard(self)
