"""A stream of messages: claims are made ahead, one multi for many, and acknowledgements of several tasks go together.

A message passes three places. `_claimed`: this client has it, its delivery is not counted. `_ready`: counted, in the
same multi as an acknowledgement where there is one, so that the task that asks for the next message need not wait. In
hand: a block has it, or is about to. At most `concurrency` are counted at a time, and at most `prefetch` claimed beside
them.

All that is of one session. When that is over, what nobody was given is forgotten, since its claims go with the session,
and the stream of a client that renews goes on with new parts; what is in hand ends by itself, with AckLost.
"""

import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

import anyio

from recipes.core.client.session import ConnectionState
from recipes.core.errors import ConnectionLoss, RecipesError, SessionError, SessionExpired, StoreError
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

_CONFIRM_SECONDS = 0.5  # that the end of the block waits, at most, until everything is back


class Parts(NamedTuple):
    """A queue's znodes and those of its dead letters, how it finds items, and its rules, all within one session."""

    native: "Native"
    dead: "Native"
    finder: Finder
    rules: Rules


class Messages(Generic[T]):
    """`async with queue.consume(...) as messages: async for message in messages: async with message: ...`

    Any number of tasks may iterate at once; each message goes to one of them. The iteration waits for items, and ends
    after `drain`. With a client that was made with `renew` it goes on when the session is over: messages in hand raise
    AckLost at the edges of their blocks, others follow once there is another session. Any task may leave the block.

    losses: how many sessions it has outlived.

    Entering raises what every call of the client does; so does the iteration once the session is over and no other
    follows. RuntimeError in another thread, event loop or process.
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
        self._counting: dict[Delivery, None] = {}  # under way from `_claimed` to `_ready`
        self._ready: deque[Delivery] = deque()
        self._in_hand: dict[Delivery, Custody] = {}
        self._doubtful: list[Delivery] = []  # claims that may not be ours any more
        self._waiting: deque[anyio.Event] = deque()  # tasks that wait for a message
        self._wanted = anyio.Event()  # there is room for more
        self._left = anyio.Event()  # a block has ended
        self._draining = False
        self._fetching = anyio.CancelScope()  # of the job that does it
        self._begun = anyio.Event()  # the first such job
        self._fetched = anyio.Event()  # the last one has ended
        self._going_back: list[Write] = []
        self._error: Exception | None = None
        self._unhear: Callable[[], object] = lambda: None

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
        self._unhear = client.hear_states(self._heard_state)
        try:
            with client.session_scope():
                self._fetch_soon()
                await self._begun.wait()
            if not self._begun.is_set() and not client.renews:
                client.session_scope()  # it raises why
        except BaseException:
            self._stop()
            self._unhear()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.home.keeps_out(error):
            return
        self._unhear()
        self._stop()
        with anyio.move_on_after(_CONFIRM_SECONDS, shield=True):
            await self._fetched.wait()
        going_back = [*self._going_back, *self._back_unbegun()]
        with anyio.move_on_after(_CONFIRM_SECONDS, shield=True):
            for write in going_back:
                await write.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[T]:
        while True:
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
                    self._wake_one()  # ours to take, and we do not
                else:
                    self._waiting.remove(event)
                raise

    async def drain(self, *, within: float | None = None) -> None:
        """Stop taking, and return once nothing is in hand: what is waiting here goes back to the queue at once.

        within: seconds that blocks have to end; then they are cancelled, and their items go back, uncounted. Without it
        they have all the time they need. The session goes on meanwhile, so that nobody else is given what is in hand.
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
        """Take nothing more, and put back what nobody was given."""
        if self._draining:
            return
        self._draining = True
        self._fetching.cancel()
        self._going_back += self._back([*self._claimed, *self._ready])
        self._claimed.clear()
        self._ready.clear()
        while self._waiting:
            self._waiting.popleft().set()

    def _back(self, deliveries: list[Delivery]) -> list[Write]:
        for delivery in deliveries:
            self._in_hand.pop(delivery, None)
        return give_back(self._native, self._finder, deliveries)

    def _back_unbegun(self) -> list[Write]:
        """Those that a task was given and that it never began."""
        return self._back([delivery for delivery, custody in self._in_hand.items() if not custody.begun])

    def _leave(self, custody: Custody) -> None:
        """A block has ended, and what it writes follows: count the next one's delivery in the same multi."""
        self._in_hand.pop(custody.delivery, None)
        if not self._in_hand:
            self._left.set()
        if not self._draining:
            self._top_up(send=custody.client is not self._native.client)

    def _wake_one(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()

    def _fetch_soon(self) -> None:
        # Not in a task of the caller's: whoever leaves the block need not be the task that entered it.
        self._fetched = anyio.Event()
        self._client.look_after(self._fetch)

    async def _fetch(self) -> None:
        """A job in the client's own task, one for each session: claim more while there is room for more."""
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
        while True:
            await self._clear_doubts()
            if (session := self._native.client.session).lost:
                self._forget()
                raise session.ending(path=self._path)
            want = self._room()
            # Wait until it is worth a multi.
            if want <= 0 or (self._claimed and want * 2 < self._prefetch):
                self._wanted = anyio.Event()
                await self._wanted.wait()
                continue
            found = await self._finder.wait(want, hand_out=False)
            self._claimed.extend(found)
            self._top_up()

    async def _go_on(self, error: Exception) -> None:
        try:
            if isinstance(error, ConnectionLoss) and error.maybe_applied:
                raise error  # of claims that nobody knows of: they go when the client closes
            await self._renewal.after(error)
            self._native, _, self._finder, self._rules = self._parts()
            self.losses = self._renewal.losses
        except Exception as final:
            self._end_with(final)

    def _end_with(self, error: Exception) -> None:
        """Those that iterate are told, unless another session is to come."""
        if not self._is_renewed(error):
            self._error = self._error or error
            while self._waiting:
                self._waiting.popleft().set()

    def _check_over(self) -> None:
        """Whether this has ended with the session, or the client."""
        if not self._draining and self._error is None:
            try:
                self._client.session_scope()
            except RecipesError as error:
                self._end_with(error)

    def _is_renewed(self, error: Exception) -> bool:
        return self._client.renews and self._client.session.lost and isinstance(error, SessionExpired)

    def _heard_state(self, state: ConnectionState) -> None:
        """Called by the client."""
        if state is ConnectionState.LOST:  # nobody may be given any more what was claimed
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
        for custody in [custody for custody in self._in_hand.values() if not custody.begun]:
            del self._in_hand[custody.delivery]
        if not self._in_hand:
            self._left.set()

    def _room(self) -> int:
        counted = len(self._counting) + len(self._ready) + len(self._in_hand)
        return self._prefetch + max(0, self._concurrency - counted) - len(self._claimed)

    def _top_up(self, *, send: bool = True) -> None:
        """Count the deliveries of those that are next, as far as `concurrency` goes."""
        free = self._concurrency - len(self._counting) - len(self._ready) - len(self._in_hand)
        while free > 0 and self._claimed:
            free -= 1
            self._count(self._claimed.popleft())
        if send:
            self._native.writer.send()
        if self._room() > 0:
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
            elif isinstance(write.error, StoreError) and write.failed_at > 0:
                self._doubtful.append(delivery)  # somebody else has had it meanwhile
            if write.error is not None:
                self._wanted.set()

        native = self._native
        changes = [("check", delivery.item.claim), *claims.hand_out(delivery.item)]
        operations = native.buckets.operations(delivery.bucket, changes)
        native.writer.submit(Write(operations, heard=counted), send=False)

    async def _clear_doubts(self) -> None:
        while self._doubtful:
            delivery = self._doubtful[-1]
            if await self._finder.is_ours(delivery):
                await self._native.writer.write(self._finder.back(delivery))
            if self._doubtful and self._doubtful[-1] is delivery:
                self._doubtful.pop()
