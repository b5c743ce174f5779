"""Members of a group divide a list between them, and no two have one item at a time (kazoo's SetPartitioner).

All members compute the same shares from the list of members. But they do not learn of changes at the same moment, so
the shares are only a wish. A lock on each item decides: a member takes it before its work on the item begins, and gives
it back when that work has ended.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from recipes.cache.children import ChildrenCache
from recipes.contender import Contender
from recipes.core import paths
from recipes.core.errors import BadArguments, LockLost
from recipes.hold import Hold
from recipes.line import id_of, in_order
from recipes.membership.group import MARKER, Group
from recipes.membership.ring import HashRing
from recipes.renewal import Renewal, hold_again

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.membership")


def divide(items: Iterable[str], members: Iterable[str]) -> dict[str, list[str]]:
    """The share of each member: each item once, and no share more than one above the smallest. Pure.

    An item goes to the next member on a hash ring that has room, so that a member that comes or goes moves few items
    between others. Source: Mirrokni et al., Consistent Hashing with Bounded Loads, SODA 2018.
    """
    shares: dict[str, list[str]] = {member: [] for member in sorted(set(members))}
    todo = sorted(set(items))
    if not shares:
        return shares
    ring = HashRing(list(shares))
    small, larger = divmod(len(todo), len(shares))
    for item in todo:
        for member in ring.owners(item, len(shares)):
            full = small + (larger > 0)
            if len(shares[member]) < full:
                shares[member].append(item)
                larger -= len(shares[member]) > small
                break
    return shares


class Partition(Hold):
    """One item that is ours, good until `ended` is set; see Hold. fence: higher for each later holder of the item.

    item: its name. wanted_elsewhere: an event, set once the item is another member's share; the work then has `grace`
    seconds to end by itself.
    """

    __slots__ = ("item", "wanted_elsewhere")

    def __init__(self, tenure: "_Claim", item: str, wanted_elsewhere: anyio.Event) -> None:
        super().__init__(tenure)
        self.item: str = item
        self.wanted_elsewhere: anyio.Event = wanted_elsewhere


class _Claim(Contender):
    """A place in line for one item."""


class _Work:
    """One item that is to be ours: the scope that ends its work, and the event that asks it to."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.wanted_elsewhere = anyio.Event()
        self.begun = False
        self.error: Exception | None = None  # raised by the work

    def end(self, grace: float) -> None:
        self.wanted_elsewhere.set()
        self.scope.deadline = anyio.current_time() + (grace if self.begun else 0.0)


class Partitioner:
    """`await Partitioner(client, "/shards", ["a", "b", "c"]).run(work)`: a fair share of the items is worked on here.

    client: a connected Client; made with `renew`, `run` outlives the loss of a session. path: the
    same for all members; made as a container when it is missing. items: the same for all members; names that a znode
    can have. grace: seconds that work has to end by itself once another member wants its item; then it is cancelled.
    acl: of our znodes.

    **No two members work on one item at a time**: a member begins when the previous holder's work has ended and its
    lock was given back, or its session is over. A process that was paused beyond its session may still write: give the
    fence with writes that must then be refused. Each item is worked on, as soon as its last holder has let go of it,
    while there are members.

    items: those that are worked on here now. losses: how many sessions `run` has outlived.
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
        if isinstance(items, str):
            raise TypeError(f"items: expected names, not the string {items!r}")
        self._items = sorted(set(items))
        for item in self._items:
            if not isinstance(item, str) or not item or "/" in item:
                raise BadArguments(path, f"item {item!r}: expected the name of a znode, without a slash")
        if not grace >= 0:
            raise BadArguments(path, f"grace={grace!r}: expected seconds, 0 or more")
        self.losses: int = 0
        self.items: set[str] = set()
        self._client = client
        self._path = paths.check(path)
        self._grace = grace
        self._acl = acl
        self._works: dict[str, _Work] = {}

    async def run(self, work: Callable[[Partition], Awaitable[object]]) -> None:
        """Join, and await `work(partition)` in a task of its own for each item of our share, until cancelled.

        `work` is cancelled when its item is lost or wanted elsewhere. When it returns while the item is ours, it is
        called again, after a pause if it took less than a second. Its exception cancels all other work, and is raised
        here in an ExceptionGroup. So is the error that ended the client for good: SessionExpired, ClientClosed. A
        cancellation that comes while the other work ends is raised instead, with that ExceptionGroup as its cause.
        """
        if self._works:
            raise RuntimeError(f"{self._path}: run() is running already")
        members = f"{self._path}/members"
        group = Group(self._client, members, acl=self._acl)
        # Collected here: a task group that its tasks' errors end raises only these, even if this task was cancelled.
        errors: list[Exception] = []
        try:
            async with group.stay() as presence, ChildrenCache(self._client, members) as cache:
                async with anyio.create_task_group() as tasks:

                    def fail(error: Exception) -> None:
                        errors.append(error)
                        tasks.cancel_scope.cancel()

                    async def own(item: str, mine: _Work) -> None:
                        try:
                            await self._own(item, mine, work)
                        except Exception as error:
                            fail(error)

                    last: list[str] | None = None
                    try:
                        while True:
                            (there,) = await cache.wait_until(partial(_others_than, last))
                            last, self.losses = there, presence.losses
                            self._share_out(divide(self._items, there).get(presence.name, []), tasks, own)
                    except Exception as error:
                        fail(error)
                raise self._failure(errors)
        except anyio.get_cancelled_exc_class() as cancellation:
            if errors:
                raise cancellation from self._failure(errors)
            raise
        finally:
            self._works.clear()

    def _failure(self, errors: list[Exception]) -> ExceptionGroup[Exception]:
        return ExceptionGroup(f"the work on the items of {self._path} has failed", errors)

    def _share_out(
        self, mine: list[str], tasks: "anyio.abc.TaskGroup", own: Callable[[str, _Work], Coroutine[Any, Any, None]]
    ) -> None:
        for item in self._works.keys() - set(mine):
            self._works.pop(item).end(self._grace)
        for item in mine:
            if item not in self._works:
                self._works[item] = _Work()
                tasks.start_soon(own, item, self._works[item])

    async def _own(self, item: str, own: _Work, work: Callable[[Partition], Awaitable[object]]) -> None:
        async def do(partition: Partition) -> None:
            self.items.add(item)
            own.begun = True
            try:
                await work(partition)
            except Exception as error:
                own.error = error
                raise
            finally:
                self.items.discard(item)
                own.begun = False
            if own.wanted_elsewhere.is_set():
                own.scope.cancel()  # the work has ended in time, and must not begin again

        def begin() -> _Claim:
            return _Claim(self._client, f"{self._path}/items/{item}", "lock-", LockLost, acl=self._acl)

        renewal = Renewal(self._client, f"item {item} of {self._path}", log)
        with own.scope:
            await hold_again(
                self._client, renewal, begin, lambda tenure: Partition(tenure, item, own.wanted_elsewhere), do
            )
        if own.error is not None:  # raised after a cancellation, and lost at an await while the item was given back
            raise own.error


def _others_than(last: list[str] | None, cache: ChildrenCache) -> tuple[list[str]] | None:
    """The ids of the members, in a tuple; None if they are `last`."""
    found = sorted({id_of(name, MARKER) for name in in_order(cache.names(), MARKER)})
    return None if found == last else (found,)
