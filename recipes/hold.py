"""Holding something: a znode of ours, the event that says when it is ours no more, and the block that ends with it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from recipes.core.client.backoff import Backoff
from recipes.core.client.scope import CLOSED, Ended
from recipes.core.client.session import OVER, ConnectionState
from recipes.core.errors import AuthFailed, ConnectionLoss, HoldLost, NoNode, SessionError

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi
    from recipes.core.client.watch import DeletionWatch
    from recipes.core.jute.records import Stat

__all__ = ["Block", "Ended", "Hold", "Tenure"]

RELEASED = "released"
CANCELLED = "cancelled"
# Of an expired session the client may hear only after its znode has gone.
DELETED = "its znode is gone: deleted by somebody else, or the session is over"

# So long leaving waits for the server to confirm that our znode is gone. Then the client's owner task takes over, so
# that nobody's time limit is held up.
_CONFIRM_SECONDS = 0.08


class Hold:
    """What a holder has in hand, good until `ended` is set.

    fence: czxid of our znode; a later holder's is higher, so storage can refuse older ones.
    session_id: of the session that it goes with.
    ended: an event, set once it is over, whatever ended it, and before the store lets the next one in. `ended.is_set()`
        may be asked in any thread, `await ended.wait()` in any task. It says so, too, when the session may be over by
        this process's clock.
    """

    __slots__ = ("_tenure", "ended", "fence", "session_id")

    def __init__(self, tenure: "Tenure") -> None:
        self.ended: Ended = tenure.ended
        self.fence: int = tenure.fence
        self.session_id: int = tenure.client.session.id
        self._tenure = tenure

    def __repr__(self) -> str:
        state = f"ended: {self.why}" if self.ended.is_set() else "held"
        return f"{type(self).__name__}(fence={self.fence}, path={self.path!r}, session_id={self.session_id}, {state})"

    @property
    def path(self) -> str:
        """The path of our znode."""
        return self._tenure.path

    @property
    def lost(self) -> bool:
        """Whether it ended against our will: the session is over, or somebody else deleted our znode."""
        return self.ended.lost

    @property
    def why(self) -> str:
        """Why it ended, in one phrase, such as "released" or "the session is over"; "" while it is held."""
        return self.ended.why

    def guarded(self) -> "AbstractAsyncContextManager[Multi]":
        """`async with it.guarded() as multi: multi.set(...)`: writes that are applied only while this is held.

        As `client.multi()`, sent when the block ends well, with a check of our znode in it: the store applies all of it
        or nothing. Once this has ended it raises the error of a loss, such as LockLost, and nothing was applied; beside
        that what `client.multi()` raises, a ConnectionLoss too, after which nobody knows whether it was applied.
        """
        return Guarded(self._tenure)


class Tenure(ABC):
    """Behind a Hold: one ephemeral znode of ours, from the moment we ask for it until it is gone.

    A subclass says how to get it. `enter` and `exit` are the edges of the block that ends with it.

    client: a connected client. prefix: what the path of our znode begins with; nobody else's does. lost: the error that
    a loss raises, about the path `about`. key: a second one in this client with the same key is refused.
    """

    def __init__(self, client: "Client", prefix: str, about: str, lost: type[HoldLost], key: object = None) -> None:
        self.client: Client = client.bound
        self.path: str = ""
        self.fence: int = 0
        self.asked: bool = False  # whether a create was handed to the client, and what it made is not gone for sure
        self._prefix = prefix
        self._about = about
        self._lost = lost
        self._scope = self.client.session_scope(key)
        self.ended: Ended = self._scope.ended
        self._watch: DeletionWatch | None = None
        self.loss: HoldLost | None = None  # once it was raised
        self._got = False
        self._sure = True  # whether our znode, if there is one, is at `path`; else its path only begins with `_prefix`
        self._deleting = False  # whether we ever asked for our znode's deletion
        self.confirm: bool = True  # whether leaving waits for the server to confirm that our znode is gone

    @abstractmethod
    async def obtain(self, wait: bool) -> bool:
        """Make our znode, and return whether what it stands for is ours; with `wait`, once it is.

        It sets `asked` when the request goes out, `path` and `fence` when it is answered. What it leaves behind when it
        raises or is cancelled is cleaned up.
        """

    async def enter(self, within: float | None = None, *, as_block: bool = True) -> bool:
        """Begin; whether we got it. within: seconds to wait for it at most, for ever without.

        as_block: the task is cancelled once it is lost, until `exit`, which it has to call itself. Otherwise nobody is.
        """
        self._scope.open()
        try:
            if within is None:
                self._got = await self.obtain(True)
            elif within > 0:
                with anyio.move_on_after(within):
                    self._got = await self.obtain(True)
            else:
                self._got = await self.obtain(False)
            if self._got and not self.ended.is_set():
                self.watch_own()
                if not as_block:
                    self._scope.close(None)
                return True
            self._got = False
        except BaseException as error:
            await self._finish(error, CANCELLED)
            raise
        await self._finish(None, CANCELLED)
        return False

    async def exit(self, error: BaseException | None) -> bool | None:
        """Leave the block that ended with `error`: give up what is held. Returns whether `error` goes no further.

        Any task may do it. Raises the error of a loss, if it was lost.
        """
        if self._scope.home.keeps_out(error):
            return False
        return await self._finish(error, RELEASED)

    async def release(self, why: str) -> None:
        """Give it up, and return once the server has confirmed that our znode is gone. The block goes on without it.

        Without a block, raises the error of a loss, if it was lost.
        """
        self._scope.home.check()
        if not self.ended.is_set():
            self.ended.set(why)
        backoff = Backoff(self.client.random)
        try:
            await self.settle()
            while self.asked and not self.client.session.lost:
                try:
                    await self._delete()
                except ConnectionLoss:  # the client waits for the next connection; our znode's name is never used again
                    await backoff.pause()
                except (SessionError, AuthFailed):
                    break  # the session is over, and our znode with it
        finally:
            if self._watch is not None:
                self._watch.cancel()
            self._hand_over()
            self._scope.forget()
        if not self._scope.is_open and self.ended.lost:
            raise self._loss()

    def watch_own(self) -> None:
        """See to it that this ends when our znode goes, as when an operator deletes it to break a lock.

        No task is started, and the request goes out with whatever is sent next.
        """
        if self._watch is None:
            with suppress(SessionError, AuthFailed):  # the session is over, which ends the block as well
                self._watch = self.client.watch_deletion(self.path, self._gone, self._seen)

    async def settle(self) -> None:  # noqa: B027 - most have nothing to wait for
        """Return once it is certain at which path our znode is."""

    def _seen(self, stat: "Stat") -> None:  # noqa: B027 - most do not care
        """Our znode is there, or its data have changed."""

    def _gone(self) -> None:
        self.asked = False
        self.ended.set(DELETED, lost=True)

    async def _finish(self, error: BaseException | None, why: str) -> bool:
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        if not self.ended.is_set():  # by the clock, for one
            self.ended.set(CANCELLED if cancelled else why)
        passing = error if cancelled else None  # other errors do not pass the scope: a loss stands above them
        try:
            await self._leave(at_once=cancelled)
        except BaseException as interruption:
            passing = interruption
        finally:
            self._scope.forget()
        if not self._scope.close(passing) and passing is not None:
            if passing is error:
                return False
            raise passing
        if self.ended.lost:
            raise self._loss() from (None if cancelled else error)
        return cancelled

    async def _leave(self, *, at_once: bool) -> None:
        """Delete our znode whatever happens: here if that is quick, else by the client's owner task."""
        if self._watch is not None:
            self._watch.cancel()
        try:
            known = self.path and self._sure
            if known and self.asked and not at_once and self.client.state is ConnectionState.CONNECTED:
                with anyio.move_on_after(_CONFIRM_SECONDS), suppress(SessionError, AuthFailed):
                    await (self._delete() if self.confirm else self._send_deletion())
        finally:  # also when it is cancelled
            self._hand_over()

    def _hand_over(self) -> None:
        # What a client that closes has in the store goes with its session.
        if self.asked and not self.client.session.lost and self.ended.why != CLOSED:
            known = bool(self.path) and self._sure
            self.client.delete_later(self.path if known else self._prefix, prefix=not known)
        self.asked = False

    async def _delete(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        first_try, self._deleting = not self._deleting, True
        try:
            await self.client.delete(self.path)
        except NoNode:
            if first_try:  # we never asked, so somebody else did
                self.ended.set(DELETED, lost=True)
        self.asked = False

    async def _send_deletion(self) -> None:
        """Let the deletion leave with whatever is sent next."""
        path = self.path

        def heard(call: "Call") -> None:
            if call.error is not None and not isinstance(call.error, NoNode):
                self.client.delete_later(path)  # it tries again, and says what a server refuses

        self.client.start_delete(path, heard)
        self.asked = False

    def refusal(self) -> HoldLost:
        """The error of somebody who relies on what has ended."""
        return self._lost(self._about, self.ended.why)

    def _loss(self) -> HoldLost:
        why = self.ended.why
        if why == DELETED and self.client.session.lost:
            why = OVER
        self.loss = self._lost(self._about, why if self._got else f"while waiting for it: {why}")
        return self.loss


T = TypeVar("T", bound=Tenure)
H = TypeVar("H", bound=Hold)


class Block(AbstractAsyncContextManager[H | None], Generic[T, H]):
    """`async with`: what a tenure holds, or None when it was not to be had in time.

    begin: makes the tenure. show: what the block is given of it. within: seconds to wait at most.
    """

    def __init__(self, begin: Callable[[], T], show: Callable[[T], H], within: float | None) -> None:
        self._begin = begin
        self._show = show
        self._within = within
        self._tenure: T | None = None
        self._got = False

    async def __aenter__(self) -> H | None:
        if self._tenure is not None:
            raise RuntimeError("this block was entered already: make another one")
        self._tenure = self._begin()
        self._got = await self._tenure.enter(self._within)
        return self._show(self._tenure) if self._got else None

    @property
    def loss(self) -> HoldLost | None:
        """The error that this very block raised, since it was lost."""
        return None if self._tenure is None else self._tenure.loss

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._tenure.exit(error) if self._got and self._tenure is not None else None


class Guarded(AbstractAsyncContextManager["Multi"]):
    """`async with`: a multi that is applied only while all of these tenures stand."""

    def __init__(self, *tenures: Tenure) -> None:
        self._tenures = tenures
        self._multi: Multi = tenures[0].client.multi()

    async def __aenter__(self) -> "Multi":
        self._check()
        return await self._multi.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        for tenure in self._tenures:
            await tenure.settle()
        self._check()
        guards = [tenure.path for tenure in self._tenures]
        outcome = await self._multi.start(guards=guards).result()
        if isinstance(outcome.error, NoNode) and outcome.failed_at < len(guards):
            self._tenures[outcome.failed_at]._gone()
            self._check()
        if outcome.error is not None:
            raise outcome.error
        self._multi.results = outcome.results[len(guards) :]

    def _check(self) -> None:
        for tenure in self._tenures:
            if tenure.ended.is_set():
                raise tenure.refusal()
