"""Where a client lives: one event loop, in one thread, of one process.

In another thread or event loop the client would wait for ever; in a forked child it would share its parent's socket.
"""

import asyncio
import os
import sys
import threading
from asyncio.events import _get_running_loop
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

# The thread that made a blocking call, while a task carries the call out. What the task gets is held by that thread.
calling_thread: ContextVar[threading.Thread | None] = ContextVar("calling_thread", default=None)

_process = object()  # of this process: a forked child has another one


def _forked() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Home:
    """The event loop that is running when this is made. what: the thing that lives there, for error messages."""

    __slots__ = ("_loop", "_process", "_thread", "_token", "_what")

    def __init__(self, what: str = "this client") -> None:
        self._what = what
        self._process = _process
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._token: Any = None  # trio's
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._token = _trio_token()

    def in_child(self) -> bool:
        """Whether this process was forked from the one in which this was made."""
        return self._process is not _process

    def why_not_here(self) -> str:
        """Why it cannot be used here; "" if it can."""
        if self._loop is not None and _get_running_loop() is self._loop:  # its thread's, and no forked child has one
            return ""
        if self._process is not _process:
            return f"{self._what} was made before this process was forked: a child makes its own"
        if threading.get_ident() != self._thread:
            return f"{self._what} belongs to another thread: call it there, for example with anyio.from_thread.run"
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = self._token is not None and _trio_token() is self._token
        return "" if here else f"{self._what} belongs to another event loop: make one in each loop"

    def check(self) -> None:
        """Raise RuntimeError in another thread, event loop or process."""
        # Each request and each block comes by here, and nearly always all is well: so no further call for that.
        if self._loop is not None and _get_running_loop() is self._loop:
            return
        if why := self.why_not_here():
            raise RuntimeError(why)

    def keeps_out(self, error: BaseException | None) -> bool:
        """Whether a block that lives there is being left in another thread, event loop or process.

        In that case it raises RuntimeError, unless the block ends with an `error`, which goes on instead.
        """
        if self._loop is not None and _get_running_loop() is self._loop:  # as in `check`
            return False
        why = self.why_not_here()
        if why and error is None:
            raise RuntimeError(why)
        return bool(why)

    def current_task(self) -> object:
        """The task that runs now, as the same object each time; None if no loop was running when this was made."""
        if self._loop is not None:
            return asyncio.current_task(self._loop)
        if self._token is not None:
            return sys.modules["trio"].lowlevel.current_task()
        return None

    def asker(self) -> object:
        """Who owns a place in line: the thread that made the blocking call, else the task that runs now."""
        return calling_thread.get() or self.current_task()

    def run_soon(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the loop: at once in the loop's thread, soon from other threads unless it is closed."""
        if threading.get_ident() == self._thread:
            callback()
            return
        with suppress(RuntimeError):  # closed; trio's RunFinishedError is one, too
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback)
            elif self._token is not None:
                self._token.run_sync_soon(callback)

    def run_next(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the next turn of the loop, once the current task waits. Only in the loop's thread."""
        if self._loop is not None:
            self._loop.call_soon(callback)
        elif self._token is not None:
            self._token.run_sync_soon(callback)


def in_event_loop() -> bool:
    """Whether an event loop runs in this thread, which nothing may block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _trio_token() is not None
    return True


def _trio_token() -> Any:
    trio = sys.modules.get("trio")  # importing trio is slow, and a program that runs it has imported it
    if trio is None:
        return None
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
