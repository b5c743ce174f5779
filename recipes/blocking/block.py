"""`with`: a task enters and leaves an async block, while the thread that asked for it runs the body."""

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio

from recipes.blocking.portal import Errand, Portal
from recipes.core.errors import ClientClosed

A = TypeVar("A")
C = TypeVar("C", bound=AbstractAsyncContextManager[Any])
T = TypeVar("T")


class Block(AbstractContextManager[T], Generic[A, T]):
    """An async block of the loop, used as a block of this thread.

    begin: makes the async block, in the loop. show: makes the value for the body. within: seconds that entering may
    take, and leaving as well; then it is cancelled, and TimeoutError raised. None: no limit.

    When the hold of the block is lost, the body goes on, since nothing can stop it, and the error is raised at its end.

    An exception of a signal handler, for example of Ctrl-C, may strike between any two steps here, and ends the block.
    One case is beyond reach: when it strikes in the call of `__exit__`, before its first step, the async block ends
    with the client.
    """

    def __init__(
        self,
        portal: Portal,
        begin: Callable[[], AbstractAsyncContextManager[A]],
        show: Callable[[A], T],
        within: float | None = None,
    ) -> None:
        self._portal = portal
        self._begin = begin
        self._show = show
        self._within = within
        self._errand: Errand[bool]
        self._begun = False
        self.raised: BaseException | None = None  # by the end of the block, unless it is the body's own
        self._entered: Future[A] = Future()
        self._left = anyio.Event()
        self._error: BaseException | None = None  # the exception of the body

    def __enter__(self) -> T:
        self._portal.check()
        if self._begun:
            raise RuntimeError("this block was entered already: make another one")
        self._begun = True
        self._errand = Errand(self._portal, self._run, self._within)
        try:
            self._errand.future.add_done_callback(self._heard_end)
            self._errand.start()
            return self._show(self._entered.result())
        except concurrent.futures.CancelledError:
            raise ClientClosed("the client was closed") from None
        except BaseException as error:
            self.interrupt(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if not self._begun:
            raise RuntimeError("this block was not entered")
        if self._portal.in_child():  # the holds of the parent stay the parent's
            if error is None:
                self._portal.check()
            return False
        try:
            self._error = error
            self._leave()
            return self._errand.wait()
        except BaseException as problem:
            self.interrupt(problem)
            if problem is error:
                return False
            if problem.__cause__ is None:
                problem.__cause__ = error
            self.raised = problem
            raise

    def interrupt(self, error: BaseException) -> None:
        """End the block, unless it has ended: `error`, for example of Ctrl-C, struck while it was entered or left."""
        if self._begun and not self._errand.future.done():
            self._error = error
            self._leave()
            self._errand.abandon()

    def let_go(self) -> None:
        """End the block although its body has not ended. Called in the loop."""
        self._left.set()

    def _leave(self) -> None:
        with suppress(ClientClosed):  # the block has ended already
            self._portal.begin(self._left.set)

    def _heard_end(self, future: Future[bool]) -> None:
        if self._entered.done():
            return
        if future.cancelled():
            self._entered.cancel()
        else:
            self._entered.set_exception(future.exception())

    async def _run(self) -> bool:
        """Enter, wait until the body has ended, leave. Return whether the error of the body is swallowed."""
        block = self._begin()
        value = await block.__aenter__()
        self._errand.limit(None)
        self._portal.blocks.add(self)  # type: ignore[arg-type]
        late = self._errand.is_cancelled()  # too late, although the block was entered
        if late or self._portal.closing:
            self.let_go()
        try:
            if not late:
                self._entered.set_result(value)
            cancellation = await self._wait_left()
        finally:
            self._portal.blocks.discard(self)
        self._errand.limit(self._within)
        error = cancellation or self._error
        ended = await block.__aexit__(
            None if error is None else type(error), error, None if error is None else error.__traceback__
        )
        if cancellation is None:
            return bool(ended)
        if not ended:
            raise cancellation
        return False

    async def _wait_left(self) -> BaseException | None:
        """Return once the body has ended; return the cancellation if the hold of the block was lost meanwhile.

        The hold is given up only after the body: until then nobody else gets it, as far as that can be prevented.
        """
        try:
            await self._left.wait()
        except anyio.get_cancelled_exc_class() as cancellation:
            with anyio.CancelScope(shield=True):
                await self._left.wait()
            return cancellation
        return None


class Blocks(Generic[A, T]):
    """The blocks of one object. Several threads may be inside at the same time."""

    def __init__(self) -> None:
        self._inside: list[tuple[threading.Thread, Block[A, T]]] = []

    def enter(self, block: Block[A, T]) -> T:
        """Enter the block in this thread."""
        entry = threading.current_thread(), block
        try:
            value = block.__enter__()
            self._inside.append(entry)
            return value  # noqa: TRY300 - an interruption may strike up to here
        except BaseException as error:
            block.interrupt(error)
            if entry in self._inside:
                self._inside.remove(entry)
            raise

    def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave the block that this thread entered last; if it is in none, the one that any thread entered last."""
        if not self._inside:
            raise RuntimeError("this is left, and no thread has entered it")
        here = threading.current_thread()
        ours = [entry for entry in self._inside if entry[0] is here]
        found = (ours or self._inside)[-1]
        try:
            self._inside.remove(found)
            return found[1].__exit__(kind, error, trace)
        except BaseException as problem:
            found[1].interrupt(problem)
            raise


class Entered(Generic[C]):
    """An object that is used inside its block. portal: of its client. of_tasks: the async object behind it."""

    def __init__(self, portal: Portal, of_tasks: C) -> None:
        self._portal = portal
        self.of_tasks: C = of_tasks
        self._block: Block[Any, None] = Block(portal, lambda: of_tasks, lambda _: None)

    def __enter__(self) -> Self:
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._block.__exit__(kind, error, trace)
