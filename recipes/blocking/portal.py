"""A thread with an event loop, which runs all asynchronous code, and how other threads wait for results."""

import concurrent.futures
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from recipes.core.client.home import Home, calling_thread, in_event_loop
from recipes.core.errors import ClientClosed

if TYPE_CHECKING:
    from recipes.blocking.block import Block
    from recipes.blocking.client import Client

T = TypeVar("T")

_LAST_SECONDS = 2.0  # how long an interrupted thread waits for its call to clean up


class Portal:
    """The event loop of one client, in a thread of its own, which ends with the client.

    It belongs to the process that made it: a forked child has no such thread, so it asks nothing of the thread. For
    that reason this does not use anyio's `start_blocking_portal`, which would wait for the thread when the child
    deletes its objects.

    blocks: those that are entered. closing: whether the loop is about to end. Only the loop's thread uses both.
    """

    def __init__(self) -> None:
        self.blocks: set[Block[object, object]] = set()
        self.closing: bool = False
        self._home = Home()
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Raises RuntimeError for a second time, and where blocking is not allowed."""
        self.check()
        if self._thread is not None:
            raise RuntimeError("a Client is entered once: make another one with connect()")
        ready: Future[BlockingPortal] = Future()
        # A daemon, so that the interpreter can end while a client is open.
        self._thread = threading.Thread(target=anyio.run, args=(self._serve, ready), name="recipes-client", daemon=True)
        self._thread.start()
        self._portal = ready.result()

    @staticmethod
    async def _serve(ready: "Future[BlockingPortal]") -> None:
        async with BlockingPortal() as portal:
            ready.set_result(portal)
            await portal.sleep_until_stopped()

    def close(self) -> None:
        """End the thread: end the blocks that have not been left, and cancel all tasks that still wait."""
        if self._portal is None or self._thread is None:
            return
        with suppress(RuntimeError):  # it has ended
            self._portal.start_task_soon(self._stop, self._portal)
        self._thread.join()

    async def _stop(self, portal: BlockingPortal) -> None:
        self.closing = True
        for block in list(self.blocks):
            block.let_go()
        await portal.stop(cancel_remaining=True)

    def in_child(self) -> bool:
        """Whether this process was forked from the one that made it."""
        return self._home.in_child()

    def check(self) -> None:
        """Raise RuntimeError in a forked child, and in a thread whose event loop a blocking call would stop."""
        if self._home.in_child():
            self._home.check()
        if in_event_loop():
            raise RuntimeError(
                "a blocking call would stop the event loop that runs in this thread:"
                " use the async names of `recipes` here, or call this in another thread"
            )

    def begin(self, what: "Callable[[], object]") -> "Future[object]":
        """Run `what` in the loop. Raises ClientClosed before the thread has started and after it has ended."""
        if self._portal is None:
            raise ClientClosed("the client is not connected: use it inside `with connect() as client`")
        try:
            return self._portal.start_task_soon(what)
        except RuntimeError:
            raise ClientClosed("the client is closed") from None

    def call(self, what: Callable[[], Awaitable[T]], within: float | None = None) -> T:
        """Await `what()` in the loop; block until it is done, and return its result or raise its error.

        within: seconds, after which it is cancelled and TimeoutError raised. An interruption of this thread, for
        example by Ctrl-C, cancels it as well.
        """
        self.check()
        return Errand(self, what, within).start().wait()

    def run(self, what: Callable[[], T]) -> T:
        """Call `what()` in the loop, and return its result or raise its error."""

        async def do() -> T:
            return what()

        return self.call(do)

    def iterate(self, source: AsyncIterator[T], within: float | None) -> Iterator[T]:
        """Yield the items of an async iterator, until it ends or the next takes longer than `within` seconds."""
        while True:
            try:
                item = self.call(partial(anext, source), within)
            except (StopAsyncIteration, TimeoutError):
                return
            yield item


class Errand(Generic[T]):
    """A task in the loop for which one thread waits."""

    def __init__(self, portal: Portal, what: Callable[[], Awaitable[T]], within: float | None) -> None:
        self._portal = portal
        self._what = what
        self._within = within
        self._thread = threading.current_thread()
        self._scope: anyio.CancelScope | None = None
        self._abandoned = False
        self.future: Future[T] = Future()

    def start(self) -> "Errand[T]":
        """Start the task."""
        try:
            self._portal.begin(self._run)
        except ClientClosed as error:
            self.future.set_exception(error)
        return self

    def wait(self) -> T:
        """Return the task's result or raise its error. An interruption of this thread cancels the task."""
        try:
            return self.future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosed("the client was closed") from None
        except BaseException:
            if not self.future.done():
                self.abandon()
            raise

    def result(self) -> T | None:
        """The task's result; None before its end, and if it raised."""
        future = self.future
        return future.result() if future.done() and not future.cancelled() and future.exception() is None else None

    def abandon(self) -> None:
        """Cancel the task, and give it a moment to clean up."""
        with suppress(ClientClosed):
            self._portal.begin(self._cancel)
        concurrent.futures.wait([self.future], _LAST_SECONDS)

    def limit(self, within: float | None) -> None:
        """Cancel the task after `within` seconds from now, never if None. Called by the task itself."""
        if self._scope is not None:
            self._scope.deadline = math.inf if within is None else anyio.current_time() + within

    def is_cancelled(self) -> bool:
        """Whether the task was abandoned, or its time is up. Called by the task itself."""
        return self._scope is not None and self._scope.cancel_called

    async def _run(self) -> None:
        try:
            self.future.set_result(await self._limited())
        except BaseException as error:
            if not isinstance(error, anyio.get_cancelled_exc_class()):
                self.future.set_exception(error)
                return  # only the caller sees it: a call that fails does not end the loop
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
            raise

    async def _limited(self) -> T:
        calling_thread.set(self._thread)
        with anyio.CancelScope() as self._scope:
            self.limit(self._within)
            if self._abandoned:
                self._scope.cancel()
            return await self._what()
        if self._abandoned:
            raise concurrent.futures.CancelledError
        raise TimeoutError(f"it took longer than within={self._within} s")

    def _cancel(self) -> None:
        self._abandoned = True
        if self._scope is not None:
            self._scope.cancel()


def portal_of(client: "Client") -> Portal:
    """The portal of a client. Raises TypeError for a client that is not of this package."""
    portal = getattr(client, "portal", None)
    if not isinstance(portal, Portal):
        raise TypeError(f"client: expected one of recipes.blocking.connect(), not {client!r}")
    return portal
