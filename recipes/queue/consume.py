"""A stream of messages: claims are made ahead, many in one multi, and acknowledgements of several tasks go together.

A message passes through three stages:

- `_claimed`: this client has claimed it; the delivery is not counted.
- `_ready`: the delivery is counted, if possible in the same multi as an acknowledgement, so that the task that asks for
  the next message need not wait.
- `_in_hand`: a block has it, or is about to have it.

At most `concurrency` messages are counted at a time, and at most `prefetch` more are claimed.

All claims belong to one session. When the session is over, messages that no task was given are forgotten, since their
claims go with the session. The stream of a client that renews goes on with new parts. Messages in hand end by
themselves, with AckLost.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

import anyio

from recipes.core.client.session import ConnectionState
from recipes.core.errors import ConnectionLoss, RecipesError, SessionError, SessionExpired
from recipes.queue import claims
from recipes.queue.finder import Delivery, Finder
from recipes.queue.message import Custody, Message, Rules, give_back
from recipes.renewal import Renewal
from recipes.writer import Write

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.queue.native import Native

log: logging.Logger = logging.getLogger("recipes.queue")

T = TypeVar("T")

_CONFIRM_SECONDS = 0.5  # how long the end of the block waits at most until all messages are back


class Parts(NamedTuple):
    """The parts of a queue within one session: its znodes, those of its dead letters, its finder and its rules."""

    native: "Native"
    dead: "Native"
    finder: Finder
    rules: Rules


class Messages(Generic[T]):
    """`async with queue.consume(...) as messages: async for message in messages: async with message: ...`

    Any number of tasks may iterate at once; each message goes to one of them. The iteration waits for items, and ends
    after `drain`. If the client was made with `renew`, the stream survives the end of its session: messages in hand
    raise AckLost at the end of their blocks, and more messages follow in the next session. Any task may leave the
    block.

    losses: how many sessions it has outlived.

    Entering raises the errors of every call of the client. So does the iteration once the session is over and no other
    follows. Raises RuntimeError in another thread, event loop or process.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        parts: Callable[[], Parts],
        show: Callable[[Custody], Message[T]],
        concurrency: int,
        prefetch: int,
    ) -> None:
        self.losses: int = 0
        self._client = client
        self._path = path
        self._parts = parts
        self._native, _, self._finder, self._rules = parts()
        self._show = show
        self._concurrency = concurrency
        self._prefetch = prefetch
        self._claimed: deque[Delivery] = deque()
        self._counting: dict[Delivery, None] = {}  # on the way from `_claimed` to `_ready`
        self._ready: deque[Delivery] = deque()
        self._in_hand: dict[Delivery, Custody] = {}
        self._doubtful: list[Delivery] = []  # claims that may no longer be ours
        self._cleared: anyio.Event | None = None  # set when the job ends that returns these
        self._waiting: deque[anyio.Event] = deque()  # tasks that wait for a message
        self._wanted = anyio.Event()  # set when there is room for more claims
        self._has_enough = False  # whether it claims no more ahead, since all that waits is in the shares of others
        self._left = anyio.Event()  # set when no block has a message
        self._draining = False
        self._fetching = anyio.CancelScope()  # of the job `_fetch`
        self._begun = anyio.Event()  # set when the first such job begins
        self._fetched = anyio.Event()  # set when the current job ends
        self._going_back: list[Write] = []
        self._error: Exception | None = None
        self._stop_listening: Callable[[], object] = lambda: None

    async def __aenter__(self) -> Self:
        client = self._client
        self._renewal = Renewal(client, f"a consumer of the queue {self._path}", log)
        while True:
            try:
                await self._native.prepare()
                break
            except SessionError as error:
                await self._renewal.after(error)
                self._native, _, self._finder, self._rules = self._parts()
        self._stop_listening = client.add_state_listener(self._heard_state)
        try:
            with client.session_scope():
                self._fetch_soon()
                await self._begun.wait()
            if not self._begun.is_set() and not client.renews:
                client.session_scope()  # raises the reason
        except BaseException:
            self._stop()
            self._stop_listening()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.home.keeps_out(error):
            return
        self._stop_listening()
        self._stop()
        with anyio.move_on_after(_CONFIRM_SECONDS, shield=True):
            await self._fetched.wait()
        going_back = [*self._going_back, *self._back_unbegun()]
        with anyio.move_on_after(_CONFIRM_SECONDS, shield=True):
            for write in going_back:
                await write.wait()
            if self._cleared is not None:
                await self._cleared.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[T]:
        while True:
            if not self._ready:  # otherwise the end of the last block has done so
                self._top_up()
            if self._ready:
                delivery = self._ready.popleft()
                custody = Custody(self._native, self._finder, delivery, self._rules, self._leave)
                self._in_hand[delivery] = custody
                return self._show(custody)
            if self._error is not None:
                raise self._error
            if self._draining:
                raise StopAsyncIteration
            event = anyio.Event()
            self._waiting.append(event)
            try:
                await event.wait()
            except BaseException:
                if event.is_set():
                    self._wake_one()  # pass the wake-up on to another task
                else:
                    self._waiting.remove(event)
                raise

    async def drain(self, *, within: float | None = None) -> None:
        """Stop taking items, and return once nothing is in hand. Prefetched items go back to the queue at once.

        within: seconds that blocks have to end; then they are cancelled, and their items go back, uncounted. Without
        it, no limit. The session goes on meanwhile, so that nobody else is given the items in hand.
        """
        self._stop()
        with anyio.move_on_after(within):
            await self._wait_empty()
        for custody in list(self._in_hand.values()):
            custody.put_back()
        self._back_unbegun()
        await self._wait_empty()

    async def _wait_empty(self) -> None:
        while self._in_hand:
            self._left = anyio.Event()
            await self._left.wait()

    def _stop(self) -> None:
        """Stop taking items, and return those that no task was given."""
        if self._draining:
            return
        self._draining = True
        self._fetching.cancel()
        self._going_back += self._back([*self._claimed, *self._ready])
        self._claimed.clear()
        self._ready.clear()
        self._clear_doubts_later()
        while self._waiting:
            self._waiting.popleft().set()

    def _back(self, deliveries: list[Delivery]) -> list[Write]:
        for delivery in deliveries:
            self._in_hand.pop(delivery, None)
        return give_back(self._native, self._finder, deliveries)

    def _back_unbegun(self) -> list[Write]:
        """Return messages that a task was given but whose block it never entered."""
        return self._back([delivery for delivery, custody in self._in_hand.items() if not custody.begun])

    def _leave(self, custody: Custody) -> None:
        """A block has ended; its own write follows. Count the next message's delivery in the same multi."""
        self._in_hand.pop(custody.delivery, None)
        if not self._in_hand:
            self._left.set()
        if not self._draining:
            self._top_up(send=custody.client is not self._native.client)

    def _wake_one(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()

    def _fetch_soon(self) -> None:
        # Not in a task of the caller's, since another task may leave the block.
        self._fetched = anyio.Event()
        self._client.look_after(self._fetch)

    async def _fetch(self) -> None:
        """Claim more items while there is room. A job of the client's own task, one for each session."""
        fetched = self._fetched
        try:
            with self._client.session_scope(), anyio.CancelScope() as self._fetching:
                self._begun.set()
                while self._error is None and not self._draining:
                    try:
                        if self._renewal.over:
                            raise self._native.client.session.ending(path=self._path)
                        await self._claim_more()
                    except Exception as error:
                        await self._go_on(error)
        except RecipesError as error:
            self._end_with(error)
        finally:
            self._check_over()
            fetched.set()

    async def _claim_more(self) -> None:
        with self._finder.consuming(self._concurrency + self._prefetch):
            await self._claim_on()

    async def _claim_on(self) -> None:
        while True:
            await self._clear_doubts()
            if (session := self._native.client.session).lost:
                self._forget()
                raise session.ending(path=self._path)
            self._top_up()  # nobody else does so after a count whose outcome nobody knows
            want = self._room()
            if not self._is_worth_a_claim(want):
                if self._is_worth_a_look(want):
                    await self._finder.look_ahead(self._prefetch // 2)
                    continue
                self._wanted = anyio.Event()
                await self._wanted.wait()
                continue
            # Only if nothing is left to be counted meanwhile, these are the next.
            counted = 0 if self._claimed else self._free()
            found = await self._finder.wait(want, hand_out=counted)
            if self._draining:  # another task ended the stream when these had come, but before this task's turn
                self._going_back += self._back(found)
                return
            self._has_enough = not found
            for delivery in found:
                if delivery.handed_out:
                    self._ready.append(delivery)
                    self._wake_one()
                else:
                    self._claimed.append(delivery)
            self._top_up()

    async def _go_on(self, error: Exception) -> None:
        try:
            if isinstance(error, ConnectionLoss) and error.maybe_applied:
                raise error  # there may be claims that we do not know: only closing the client ends them
            await self._renewal.after(error)
            self._native, _, self._finder, self._rules = self._parts()
            self.losses = self._renewal.losses
        except Exception as final:
            self._end_with(final)

    def _end_with(self, error: Exception) -> None:
        """End the iteration with `error`, unless another session follows."""
        if not self._is_renewed(error):
            self._error = self._error or error
            while self._waiting:
                self._waiting.popleft().set()

    def _check_over(self) -> None:
        """End the iteration if the session is over or the client is closed."""
        if not self._draining and self._error is None:
            try:
                self._client.session_scope()
            except RecipesError as error:
                self._end_with(error)

    def _is_renewed(self, error: Exception) -> bool:
        return self._client.renews and self._client.session.lost and isinstance(error, SessionExpired)

    def _heard_state(self, state: ConnectionState) -> None:
        """Called by the client."""
        if state is ConnectionState.LOST:  # the claims are gone, so the items must not be handed out
            self._forget()
            self._wanted.set()
            self._check_over()
        elif state is ConnectionState.CLOSED:
            self._check_over()
        elif state is ConnectionState.CONNECTED and self._fetched.is_set() and not self._draining and not self._error:
            self._fetch_soon()

    def _forget(self) -> None:
        """The session is over, and all claims with it."""
        self._claimed.clear()
        self._ready.clear()
        self._doubtful.clear()
        self._cleared = None
        for custody in [custody for custody in self._in_hand.values() if not custody.begun]:
            del self._in_hand[custody.delivery]
        if not self._in_hand:
            self._left.set()

    def _free(self) -> int:
        """How many more deliveries may be counted."""
        return max(0, self._concurrency - len(self._counting) - len(self._ready) - len(self._in_hand))

    def _room(self) -> int:
        return self._prefetch + self._free() - len(self._claimed)

    def _is_worth_a_claim(self, room: int) -> bool:
        """Whether there is room for enough items to be worth a multi.

        While all that waits is in the shares of others, only a stream that has nothing left to hand out claims.
        """
        if self._has_enough:
            return not self._claimed and self._free() > 0
        return room > 0 and (not self._claimed or room * 2 >= self._prefetch)

    def _is_worth_a_look(self, room: int) -> bool:
        """Whether to look already for the items of the next claim: that takes about as long as the next messages."""
        return room * 4 >= self._prefetch and not self._has_enough and self._finder.is_short_of(self._prefetch // 2)

    def _top_up(self, *, send: bool = True) -> None:
        """Count the deliveries of the next messages, up to `concurrency`."""
        free = self._free()
        while free > 0 and self._claimed:
            free -= 1
            self._count(self._claimed.popleft())
        if send:
            self._native.writer.send()
        room = self._prefetch + free - len(self._claimed)
        if self._is_worth_a_claim(room) or self._is_worth_a_look(room):
            self._wanted.set()

    def _count(self, delivery: Delivery) -> None:
        self._counting[delivery] = None

        def counted(write: Write) -> None:
            del self._counting[delivery]
            if native.client.session.lost:
                self._wanted.set()
            elif write.error is None:
                delivery.handed_out = True
                if self._draining:
                    self._back([delivery])
                else:
                    self._ready.append(delivery)
                    self._wake_one()
            elif write.failed_at != 0:  # else the claim is gone
                self._doubtful.append(delivery)  # the item's history has changed, or nobody knows the outcome
                if self._draining or write.failed_at > 0:  # `_fetch` may wait for more items
                    self._clear_doubts_later()
            if write.failed_at >= 0 and not self._draining:
                self._top_up(send=False)  # the next one instead; the writer sends it
            if write.error is not None:
                self._wanted.set()

        native = self._native
        operations = native.buckets.step(delivery.bucket, delivery.item, claims.hand_out_claimed)
        native.writer.submit(Write(operations, counted), send=False)

    async def _clear_doubts(self) -> None:
        """Return the items of doubtful claims that are ours after all."""
        native, finder = self._native, self._finder
        while self._doubtful:
            delivery = self._doubtful[-1]
            await native.writer.prepare()
            ours = await finder.is_ours(delivery)
            if not self._doubtful or self._doubtful[-1] is not delivery:
                continue  # the session has ended, or another job was faster
            self._doubtful.pop()
            if ours:
                # Submitted with no await since the pop: of two such writes, the later could end somebody else's claim.
                write = Write(finder.back(delivery))
                native.writer.submit(write)
                await write.wait()
                if isinstance(write.error, SessionError) and not native.client.session.lost:
                    self._doubtful.append(delivery)
                    raise write.error

    def _clear_doubts_later(self) -> None:
        """As `_clear_doubts`, in a job of its own, since `_fetch` has ended, is about to, or waits for items."""
        client = self._native.client
        if not self._doubtful or client.session.lost or client.state is ConnectionState.CLOSED:
            return  # the claims go with the session
        if self._cleared is not None and not self._cleared.is_set():
            return  # such a job is under way, and takes these, too
        cleared = self._cleared = anyio.Event()

        async def clear() -> None:
            try:
                with suppress(RecipesError):  # the session is over, or only its end can tell what is ours
                    await self._clear_doubts()
            finally:
                cleared.set()

        client.look_after(clear)
