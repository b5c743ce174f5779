"""A hold: our ephemeral znode, the event that is set when the hold ends, and the block that ends with it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, get_args

import anyio

from recipes.core.client.backoff import Backoff
from recipes.core.client.scope import CLOSED, Ended
from recipes.core.client.session import OVER, ConnectionState
from recipes.core.errors import AuthFailed, BadArguments, ConnectionLoss, HoldLost, NoNode, SessionError

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi
    from recipes.core.client.watch import DeletionWatch
    from recipes.core.jute.records import Stat

__all__ = ["Block", "Ended", "Hold", "OnSuspend", "Tenure"]

OnSuspend = Literal["wait", "release"]

RELEASED = "released"
CANCELLED = "cancelled"
# The client may learn of its session's expiry only after the znode is gone.
SUSPENDED = "the connection broke, and on_suspend is 'release'"
DELETED = "its znode is gone: deleted by somebody else, or the session is over"

# How long leaving waits for the server to confirm that our znode is gone. Then the client's owner task takes over, so
# that leaving does not overrun the caller's time limit.
_CONFIRM_SECONDS = 0.08


class Hold:
    """What a holder is given, for example a lock's grant; valid until `ended` is set.

    fence: czxid of our znode; a later holder's is higher, so storage can refuse older ones.
    session_id: the session that the hold depends on.
    ended: an event, set at any end of the hold, before the store lets the next holder in, and also when the session may
        be over by this process's clock. `ended.is_set()` may be called in any thread, `await ended.wait()` in any task
        of the client's event loop.
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

        It is a `client.multi()` with a check of our znode: the store applies all of it or nothing, when the block ends
        well. Once the hold has ended, it raises the error of a loss, such as LockLost, and nothing was applied. It
        raises the errors of `client.multi()`, too; after ConnectionLoss nobody knows whether it was applied.
        """
        return Guarded(self._tenure)


class Tenure(ABC):
    """The ephemeral znode behind a Hold, from the request for it until it is gone.

    A subclass implements how to get it. `enter` and `exit` are the edges of the block that ends with it.

    client: a connected client. prefix: the beginning of our znode's path, which no other znode's path has. lost: the
    error that a loss raises, about the path `about`. key: of its scope, see `Client.session_scope`.
    """

    confirm: bool = True  # whether leaving waits for the server to confirm that our znode is gone

    def __init__(self, client: "Client", prefix: str, about: str, lost: type[HoldLost], key: object = None) -> None:
        self.client: Client = client.bound
        self.path: str = ""
        self.fence: int = 0
        self.asked: bool = False  # whether a create was submitted, and its znode may still exist
        self._prefix = prefix
        self._about = about
        self._lost = lost
        self._scope = self.client.session_scope(key)
        self.ended: Ended = self._scope.ended
        self._watch: DeletionWatch | None = None
        self.loss: HoldLost | None = None  # the error of the loss, once raised
        self._got = False
        self._sure = True  # whether our znode, if there is one, is at `path`; else its path only begins with `_prefix`
        self._deleting = False  # whether we ever asked for our znode's deletion
        self.on_suspend: OnSuspend = "wait"
        self._deaf: Callable[[], object] | None = None  # ends the calls of `_state_changed`

    @abstractmethod
    async def obtain(self, wait: bool) -> bool:
        """Make our znode, and return whether we hold; with `wait`, wait until we do.

        It sets `asked` when the request goes out, `path` and `fence` when the reply comes. If it raises or is
        cancelled, `enter` deletes its znode.
        """

    async def enter(self, within: float | None = None, *, as_block: bool = True) -> bool:
        """Begin, and return whether we got it. within: seconds to wait for it at most; without it, no limit.

        as_block: a loss cancels this task, until `exit`, which the task should call itself. Otherwise nobody is
        cancelled.
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
                if self.on_suspend == "release":
                    self._end_when_suspended()
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
        """Leave the block that ended with `error`: give up the hold. Returns whether to swallow `error`.

        Any task may call it. If the hold was lost, it raises the error of the loss.
        """
        if self._scope.home.keeps_out(error):
            return False
        return await self._finish(error, RELEASED)

    async def release(self, why: str) -> None:
        """Give up the hold, and return once the server has confirmed that our znode is gone. A block goes on.

        Without a block, it raises the error of a loss if the hold was lost.
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
                except ConnectionLoss:  # safe to repeat: our znode's name is never used again
                    await backoff.pause()
                except (SessionError, AuthFailed):
                    break  # the session is over, and our znode with it
        finally:
            if self._watch is not None:
                self._watch.cancel()
            self._hand_over()
            self._forget()
        if not self._scope.is_open and self.ended.lost:
            raise self._loss()

    def watch_own(self) -> None:
        """Watch our znode, so that its deletion (for example by an operator who breaks a lock) ends the hold.

        No task is started; the watch request goes out with the client's next ones.
        """
        if self._watch is None:
            with suppress(SessionError, AuthFailed):  # the session is over, which ends the block as well
                self._watch = self.client.watch_deletion(self.path, self._gone, self._seen)

    def _end_when_suspended(self) -> None:
        self._deaf = self.client.add_state_listener(self._state_changed)
        self._state_changed(self.client.state)

    def _state_changed(self, state: ConnectionState) -> None:
        if state is ConnectionState.SUSPENDED:
            self.ended.set(SUSPENDED, lost=True)

    def _forget(self) -> None:
        self._scope.forget()
        if self._deaf is not None:
            self._deaf()

    async def settle(self) -> None:  # noqa: B027 - most subclasses have nothing to wait for
        """Return once it is certain at which path our znode is."""

    def _seen(self, stat: "Stat") -> None:  # noqa: B027 - most subclasses do not need it
        """Called with our znode's Stat when the watch is set and after each change of its data."""

    def _gone(self) -> None:
        self.asked = False
        self.ended.set(DELETED, lost=True)

    async def _finish(self, error: BaseException | None, why: str) -> bool:
        cancelled = error is not None and isinstance(error, anyio.get_cancelled_exc_class())
        if not self.ended.is_set():  # `is_set` also checks the clock
            self.ended.set(CANCELLED if cancelled else why)
        passing = error if cancelled else None  # other errors stay outside the scope: a loss takes precedence
        try:
            await self._leave(at_once=cancelled)
        except BaseException as interruption:
            passing = interruption
        finally:
            self._forget()
        if not self._scope.close(passing) and passing is not None:
            if passing is error:
                return False
            raise passing
        if self.ended.lost:
            raise self._loss() from (None if cancelled else error)
        return cancelled

    async def _leave(self, *, at_once: bool) -> None:
        """Delete our znode: here if that is quick, else by the client's owner task."""
        if self._watch is not None:
            self._watch.cancel()
        try:
            known = self.path and self._sure
            if known and self.asked and not at_once and self.client.state is ConnectionState.CONNECTED:
                with suppress(SessionError, AuthFailed):
                    if not self.confirm:
                        self._send_deletion()
                    elif self._scope.limit(_CONFIRM_SECONDS):  # the block's own scope will do: scopes are expensive
                        await self._delete()
                    else:
                        with anyio.move_on_after(_CONFIRM_SECONDS):
                            await self._delete()
        finally:  # also when it is cancelled
            self._hand_over()

    def _hand_over(self) -> None:
        # A client that closes needs no deletion: its ephemeral znodes go with the session.
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
            if first_try:  # we have not deleted it, so somebody else has
                self.ended.set(DELETED, lost=True)
        self.asked = False

    def _send_deletion(self) -> "Call":
        """Submit the deletion without waiting; it goes out with the client's next requests."""
        call = self.client.start_delete(self.path, self._hear_deletion)
        self.asked = False
        return call

    def _hear_deletion(self, call: "Call") -> None:
        if call.error is not None and not isinstance(call.error, NoNode):
            self.client.delete_later(self.path)  # it retries, and logs a refusal

    def refusal(self) -> HoldLost:
        """The error for a caller that relies on this ended hold."""
        return self._lost(self._about, self.ended.why)

    def _loss(self) -> HoldLost:
        why = self.ended.why
        if why == DELETED and self.client.session.lost:
            why = OVER
        self.loss = self._lost(self._about, why if self._got else f"while waiting for it: {why}")
        return self.loss


def check_on_suspend(path: str, on_suspend: OnSuspend) -> OnSuspend:
    """Return `on_suspend`. Raises BadArguments for anything but "wait" and "release"."""
    if on_suspend not in get_args(OnSuspend):
        raise BadArguments(path, f"on_suspend={on_suspend!r}: expected 'wait' or 'release'")
    return on_suspend


T = TypeVar("T", bound=Tenure)
H = TypeVar("H", bound=Hold)


class Block(AbstractAsyncContextManager[H | None], Generic[T, H]):
    """`async with`: enter a tenure; gives its Hold, or None if it could not be had in time.

    begin: makes the tenure. show: makes the Hold from it. within: seconds to wait at most; None for no limit.
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
        """The error that this block raised because of a loss; None without one."""
        return None if self._tenure is None else self._tenure.loss

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._tenure.exit(error) if self._got and self._tenure is not None else None


class Guarded(AbstractAsyncContextManager["Multi"]):
    """`async with`: a multi that is applied only while all of these tenures are held."""

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
