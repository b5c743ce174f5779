"""A queue for threads and processes that never loses an item."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from recipes.blocking.block import Block, Entered
from recipes.blocking.hold import Message, documented_by
from recipes.blocking.portal import Portal, portal_of
from recipes.queue import consume
from recipes.queue import queue as of_tasks
from recipes.queue.queue import Layout
from recipes.queue.records import Put

if TYPE_CHECKING:
    from recipes.blocking.client import Client

T = TypeVar("T", default=bytes)


@documented_by(of_tasks.Queue)
class Queue(Generic[T]):
    """A queue at `path`: at least once, in the order of commit, lowest priority number first; see recipes.Queue.

    Threads can share it. An item goes back when its block ends with an exception, also of Ctrl-C, or its process dies.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        *,
        model: type[T] | None = None,
        max_deliveries: int = 20,
        capacity: int | None = None,
        lease: float | None = None,
        retry_delay: float | tuple[float, float] = (0.1, 60.0),
        layout: Layout = "native",
        lock_path: str | None = None,
    ) -> None:
        self._portal = portal_of(client)
        self._queue: of_tasks.Queue[T] = of_tasks.Queue(
            client.of_tasks,
            path,
            model=model,
            max_deliveries=max_deliveries,
            capacity=capacity,
            lease=lease,
            retry_delay=retry_delay,
            layout=layout,
            lock_path=lock_path,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        # For `Queue[Job](client, path)` Python sets __orig_class__ once the object exists.
        object.__setattr__(self._queue if name == "__orig_class__" else self, name, value)

    @property
    def dead_letters(self) -> "DeadLetters":
        return DeadLetters(self._portal, self._queue.dead_letters)

    def put(
        self, data: T, *, key: str | None = None, delay: float = 0, priority: int = 100, within: float | None = None
    ) -> Put:
        return self._portal.call(lambda: self._queue.put(data, key=key, delay=delay, priority=priority, within=within))

    def put_many(
        self, items: Iterable[T], *, delay: float = 0, priority: int = 100, within: float | None = None
    ) -> None:
        here = list(items)  # iterate here: the user's iterator must not run in the client's thread
        self._portal.call(lambda: self._queue.put_many(here, delay=delay, priority=priority, within=within))

    def receive(self) -> AbstractContextManager[Message[T]]:
        """`with queue.receive() as message:` wait for an item; the block's end acknowledges it. See Message."""
        return Block(self._portal, self._queue.receive, lambda message: Message(self._portal, message))

    def try_receive(self, *, within: float = 0.0) -> AbstractContextManager[Message[T] | None]:
        """`receive` if that is possible in time: `with queue.try_receive(within=5.0) as message`, else None.

        within: seconds to wait for an item at most, which do not limit the block. 0: look once.
        """
        block = self._queue.try_receive(within=within)
        return Block(
            self._portal,
            lambda: block,
            lambda message: None if message is None else Message(self._portal, message),
        )

    def consume(self, *, concurrency: int = 1, prefetch: int = 0, within: float | None = None) -> "Messages[T]":
        """A stream of messages; see Messages.

        concurrency: how many messages may be in hand at once, over all threads that iterate. prefetch: how many more
        are claimed ahead. Their deliveries are not counted yet, but nobody else can have them meanwhile. within:
        seconds that an iteration waits for the next message at most; then it ends, and another one can begin.
        """
        messages = self._portal.run(lambda: self._queue.consume(concurrency=concurrency, prefetch=prefetch))
        return Messages(self._portal, messages, within)

    def take(self, *, within: float | None = None) -> T:
        """Wait for an item, remove it, and return its data: at most once, since nothing is acknowledged.

        within: seconds to wait at most, for ever without; then TimeoutError. An item may be lost then, or by Ctrl-C.
        """
        return self._portal.call(self._queue.take, within)

    def size(self) -> int:
        return self._portal.call(self._queue.size)

    def counts(self) -> tuple[int, int, int]:
        return self._portal.call(self._queue.counts)

    def peek(self, count: int = 1) -> list[T]:
        return self._portal.call(lambda: self._queue.peek(count))

    def age(self) -> float:
        return self._portal.call(self._queue.age)

    def purge(self) -> int:
        return self._portal.call(self._queue.purge)


@documented_by(of_tasks.DeadLetters)
class DeadLetters(Queue[bytes]):
    """A queue of dead letters; see recipes.DeadLetters."""

    _queue: of_tasks.DeadLetters

    def __init__(self, portal: Portal, letters: of_tasks.DeadLetters) -> None:
        self._portal = portal
        self._queue = letters

    def redrive(self, count: int | None = None) -> int:
        return self._portal.call(lambda: self._queue.redrive(count))

    def reasons(self, count: int = 100) -> list[tuple[bytes, str, int]]:
        return self._portal.call(lambda: self._queue.reasons(count))


class Messages(Entered[consume.Messages[T]], Iterator[Message[T]], Generic[T]):
    """`with queue.consume(...) as messages: for message in messages: with message: ...`

    Any number of threads may iterate at once; each message goes to one of them. The iteration ends after `drain`, and
    when no message came `within` the seconds given to `consume`; then it can begin again.
    """

    def __init__(self, portal: Portal, messages: consume.Messages[T], within: float | None) -> None:
        super().__init__(portal, messages)
        self._within = within

    def __next__(self) -> Message[T]:
        try:
            return Message(self._portal, self._portal.call(self.of_tasks.__anext__, self._within))
        except (StopAsyncIteration, TimeoutError):
            raise StopIteration from None

    def drain(self, *, within: float | None = None) -> None:
        """Stop claiming, and return once nothing is in hand. Items that are claimed ahead go back to the queue at once.

        within: seconds that blocks have to end. After that `message.ended` is set in the blocks that go on. Their items
        go back, uncounted, only when these blocks have ended.
        """
        self._portal.call(lambda: self.of_tasks.drain(within=within))
