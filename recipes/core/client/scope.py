"""A block that ends with the session, and the event that announces its end."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio

from recipes.core.client.home import Home
from recipes.core.client.session import OVER, Session

CLOSED = "the client was closed"
_FORKED = "this is a forked process: what its parent held is the parent's"


class Ended:
    """An event that is set when its owner (for example a lock grant) has ended; it stays set.

    It is set before the store can grant the same thing to another client. It is also set as soon as, by this process's
    clock, the servers may have ended the session, even if no server has said so. `is_set()` may be called in any
    thread, `await wait()` in any task of the client's event loop.
    """

    __slots__ = ("_clock", "_event", "_home", "_listeners", "_lost", "_session", "_why", "tell")

    def __init__(self, session: Session, home: Home, clock: Callable[[], float]) -> None:
        self._session = session
        self._home = home
        self._clock = clock
        self.tell: Callable[[], None] | None = None  # called in the loop after a loss
        self._event: anyio.Event | None = None
        self._listeners: list[Callable[[], None]] | None = None
        self._why = ""
        self._lost = False

    def __repr__(self) -> str:
        return f"<Ended: {self.why or 'not yet'}>"

    def is_set(self) -> bool:
        """Whether it is over."""
        if self._why:
            return True
        if self._home.in_child():
            self._why, self._lost = _FORKED, True
            return True
        if self._session.lost or self._clock() >= self._session.expires_at:
            # Once reported, the end is final: a late reply that extends the deadline does not undo it.
            self.set(OVER, lost=True)
            return True
        return False

    async def wait(self) -> None:
        """Return once it is over. Raises RuntimeError in another thread, event loop or process."""
        self._home.check()
        event = self._event
        if event is None:
            event = self._event = anyio.Event()
        if self.is_set():
            event.set()
        await event.wait()

    @property
    def why(self) -> str:
        """Why it is over, in one phrase; "" while it is not."""
        return self._why if self.is_set() else ""

    @property
    def lost(self) -> bool:
        """Whether it ended against our will."""
        return self.is_set() and self._lost

    def set(self, why: str, *, lost: bool = False) -> None:
        """It is over. The first reason stays, except that a loss replaces the reason of an end that was wanted."""
        if self._why and (self._lost or not lost):
            return
        self._lost = lost
        self._why = why
        if lost or self._event is not None:  # otherwise nobody is to be woken
            self._home.run_soon(self._woken)

    def _woken(self) -> None:
        if self._event is not None:
            self._event.set()
        if self._lost:
            if self.tell is not None:
                self.tell()
            for told in list(self._listeners or ()):
                told()

    def listen(self, told: Callable[[], None]) -> None:
        """Call `told` in the client's event loop once this is lost. `told` must not block or raise."""
        self._listeners = [*(self._listeners or ()), told]
        if self.lost:
            told()

    def ignore(self, told: Callable[[], None]) -> None:
        """Stop calling `told`."""
        self._listeners = [each for each in self._listeners or () if each != told]


class SessionScope:
    """`with client.session_scope() as scope:` a block that is cancelled when the session is lost or the client closes.

    The cancellation ends at the edge of the block; check `scope.ended` after it. The task that enters the block should
    also leave it. If another task leaves it, as at the end of a test fixture, the first task is no longer cancelled.

    key: its key in `Session.scopes`; the scope itself without it.
    """

    __slots__ = ("_key", "_left", "_scope", "_session", "_task", "ended", "home")

    def __init__(self, session: Session, home: Home, clock: Callable[[], float], key: object = None) -> None:
        self.home: Home = home
        self.ended: Ended = Ended(session, home, clock)
        self._session = session
        self._key = self if key is None else key
        self._scope: anyio.CancelScope | None = None
        self._task: object = None
        self._left: anyio.Event | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            return self.close(error)
        finally:
            self.forget()

    def open(self) -> None:
        """Begin the block in this task."""
        self._task = self.home.current_task()
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        self._session.scopes[self._key] = self
        self.ended.tell = self.cancel
        if self._session.lost:
            self.end(OVER)

    def end(self, why: str) -> None:
        """Called when the session is over or about to be: set `ended` and cancel the block."""
        self.ended.set(why, lost=True)

    def close(self, error: BaseException | None) -> bool:
        """Close the block that was left with `error`; return whether to swallow it. The session keeps the scope."""
        scope, self._scope = self._scope, None
        self.ended.tell = None  # without this cycle of references, no garbage collection is needed per block
        if self._left is not None:
            self._left.set()
        if scope is None or self.home.current_task() is not self._task:
            return False  # a cancel scope is closed by the task that opened it, or by none
        return bool(scope.__exit__(None if error is None else type(error), error, None))

    def limit(self, seconds: float) -> bool:
        """Cancel the block in `seconds`, unless it is closed by then; False, and nothing done, outside its task."""
        if self._scope is None or self.home.current_task() is not self._task:
            return False
        self._scope.deadline = anyio.current_time() + seconds
        return True

    def forget(self) -> None:
        """Remove this from the session's scopes."""
        if self._session.scopes.get(self._key) is self:
            del self._session.scopes[self._key]

    @property
    def is_open(self) -> bool:
        """Whether the block was entered and has not been closed."""
        return self._scope is not None

    async def wait_left(self) -> None:
        """Return once the block has ended; at once if this task, or a task that is done, entered it. Raises nothing."""
        if self._scope is not None and self._task is not self.home.current_task() and not _is_done(self._task):
            self._left = self._left or anyio.Event()
            await self._left.wait()

    def cancel(self) -> None:
        """Cancel the block."""
        if self._scope is not None:
            self._scope.cancel()


def _is_done(task: object) -> bool:
    return isinstance(task, asyncio.Task) and task.done()
