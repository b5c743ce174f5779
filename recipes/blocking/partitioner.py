"""A list that is divided among members, for threads and processes."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from recipes.blocking.hold import Event, Hold
from recipes.blocking.portal import Portal, portal_of
from recipes.membership import partitioner

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


class Partition(Hold):
    """One item that is ours, good until `ended` is set; see Hold. item: its name.

    wanted_elsewhere: set once the work must end: the item is another member's share, or `run` is over.
    """

    __slots__ = ("item", "wanted_elsewhere")

    def __init__(self, portal: Portal, hold: partitioner.Partition) -> None:
        super().__init__(portal, hold)
        self.item: str = hold.item
        self.wanted_elsewhere: Event = Event(portal, hold.wanted_elsewhere)


class Partitioner:
    """`Partitioner(client, "/shards", ["a", "b", "c"]).run(work)`: a fair share of the items is worked on here.

    See recipes.Partitioner. A thread cannot be cancelled: work must check `partition.wanted_elsewhere` and
    `partition.ended`, and return soon after either is set. Until it has returned, its item is not given up, and no
    other member works on it unless our session is over.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        items: Iterable[str],
        *,
        grace: float = 0.0,
        acl: "Sequence[ACL] | None" = None,
    ) -> None:
        self._portal = portal_of(client)
        self._partitioner = partitioner.Partitioner(client.of_tasks, path, items, grace=grace, acl=acl)
        self._threads: anyio.CapacityLimiter | None = None

    @property
    def losses(self) -> int:
        """How many sessions `run` has outlived."""
        return self._partitioner.losses

    @property
    def items(self) -> set[str]:
        """The items that are worked on here now."""
        return set(self._partitioner.items)

    def run(self, work: Callable[[Partition], object]) -> None:
        """Join, and call `work(partition)` in a thread of its own for each item of our share, until one of them raises.

        When `work` returns while the item is ours, it is called again, after a pause if it took less than a second. An
        exception of `work` is raised here, in an ExceptionGroup, once all other work has returned. So is the error that
        ended the client for good: SessionExpired, ClientClosed. An interruption, for example by Ctrl-C, ends `run`,
        too.
        """

        async def run() -> None:
            threads = anyio.CapacityLimiter(math.inf)

            async def own(partition: partitioner.Partition) -> None:
                shown = Partition(self._portal, partition)
                async with anyio.create_task_group() as group:
                    group.start_soon(_tell_cancelled, partition.wanted_elsewhere)
                    await anyio.to_thread.run_sync(work, shown, limiter=threads)
                    group.cancel_scope.cancel()

            await self._partitioner.run(own)

        self._portal.call(run)


async def _tell_cancelled(event: anyio.Event) -> None:
    """Set `event` when this task is cancelled, to tell the thread, which goes on."""
    try:
        await anyio.sleep_forever()
    finally:
        event.set()
