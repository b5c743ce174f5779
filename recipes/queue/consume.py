"""A stream of messages: claims are made ahead, one multi for many, and acknowledgements of several tasks go together.

A message passes three places. `_claimed`: this client has it, its delivery is not counted. `_ready`: counted, in the
same multi as an acknowledgement where there is one, so that the task that asks for the next message need not wait. In
hand: a block has it, or is about to. At most `concurrency` are counted at a time, and at most `prefetch` claimed beside
them.
"""

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio

from recipes.core.errors import StoreError
from recipes.queue import claims
from recipes.queue.finder import Delivery, Finder
from recipes.queue.message import Custody, Message, Rules, give_back
from recipes.writer import Write

if TYPE_CHECKING:
    from recipes.queue.native import Native

T = TypeVar("T")

_CONFIRM_SECONDS = 0.5  # that the end of the block waits, at most, until everything is back


class Messages(Generic[T]):
    """`async with queue.consume(...) as messages: async for message in messages: async with message: ...`

    Any number of tasks may iterate at once; each message goes to one of them. The iteration waits for items, and ends
    after `drain`.
    """

    def __init__(
        self,
        native: "Native",
        finder: Finder,
        show: Callable[[Custody], Message[T]],
        rules: Rules,
        concurrency: int,
        prefetch: int,
    ) -> None:
        self._native = native
        self._finder = finder
        self._show = show
        self._rules = rules
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
        self._fetching = anyio.CancelScope()
        self._begun = anyio.Event()  # the fetching
        self._fetched = anyio.Event()  # and it has ended
        self._going_back: list[Write] = []
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        await self._native.prepare()
        client = self._native.client
        try:
            with client.session_scope():
                # Not a task of the caller's: whoever leaves the block need not be the task that entered it.
                client.look_after(self._fetch)
                await self._begun.wait()
        except BaseException:
            self._stop()
            raise
        if not self._begun.is_set():
            client.session_scope()  # it raises why
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._native.client.home.keeps_out(error):
            return
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
            self._top_up(send=False)

    def _wake_one(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()

    async def _fetch(self) -> None:
        """The one job of this stream, in the client's own task: claim more while there is room for more."""
        client = self._native.client
        try:
            with client.session_scope(), self._fetching:
                self._begun.set()
                await self._fetch_on()
            if not self._draining:
                client.session_scope()  # it raises why this has ended
        except Exception as error:  # the session is over, for one: those that iterate are told
            self._error = error
        finally:
            if self._error is None and not self._draining:  # cancelled with the client's task
                self._error = client.session.ending(path=self._native.path)
            while self._waiting:
                self._waiting.popleft().set()
            self._fetched.set()

    async def _fetch_on(self) -> None:
        while True:
            await self._clear_doubts()
            want = self._room()
            # Wait until it is worth a multi.
            if want <= 0 or (self._claimed and want * 2 < self._prefetch):
                self._wanted = anyio.Event()
                await self._wanted.wait()
                continue
            found = await self._finder.wait(want, hand_out=False)
            self._claimed.extend(found)
            self._top_up()

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
            if write.error is None:
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

        changes = [("check", delivery.item.claim), *claims.hand_out(delivery.item)]
        operations = self._native.buckets.operations(delivery.bucket, changes)
        self._native.writer.submit(Write(operations, heard=counted), send=False)

    async def _clear_doubts(self) -> None:
        while self._doubtful:
            delivery = self._doubtful[-1]
            if await self._finder.is_ours(delivery):
                await self._native.writer.write(self._finder.back(delivery))
            self._doubtful.pop()
