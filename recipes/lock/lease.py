"""A permit of a semaphore as kazoo and Curator keep it: a znode that is created while a separate lock is held.

Sources: kazoo 2.11, recipe/lock.py, Semaphore; Curator 5.4, InterProcessSemaphoreV2.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes.contender import Contender, read_line, read_places
from recipes.core.client.backoff import Backoff
from recipes.core.errors import ConnectionLoss, LockLost, NoNode
from recipes.line import Participant, standing
from recipes.naming import Leases, is_kazoos
from recipes.shared_settings import agree

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.watch import Watch
    from recipes.core.jute.records import ACL

_TRIES = 5


class Lease(Contender):
    """One permit: a child of `leases.path`, which may have `limit` children.

    To get one, a client takes the lock first and holds it until a permit is free, so the line is the lock's line. The
    permit's znode is created in one multi with a check that we still hold the lock.
    """

    permits: int = 1

    def __init__(self, client: "Client", leases: Leases, limit: int, data: bytes, acl: "Sequence[ACL] | None") -> None:
        super().__init__(client, leases.path, leases.marker, LockLost, data, acl)
        self.limit: int = limit
        self._leases: Leases = leases

    async def obtain(self, wait: bool) -> bool:
        """Take a permit and return whether we have one; with `wait`, wait until we do."""
        if is_kazoos(self._marker):  # compares the limit each time: a request is cheaper than a wrong limit
            await self._make_parent()
        where = self._leases
        lock = Contender(self.client, where.lock_path, where.lock_marker, LockLost, self._data, self._acl, once=False)
        if not await lock.enter(None if wait else 0, as_block=False):
            return False
        try:
            got = await self._take_one(lock, wait)
        except BaseException as error:
            await lock.exit(error)
            raise
        await lock.exit(None)
        return got

    async def _take_one(self, lock: Contender, wait: bool) -> bool:
        backoff = Backoff(self.client.random)
        while not lock.ended.is_set():
            try:
                names, watch = await self._list()
                try:
                    if self._fits(names):
                        return await self._make(lock)
                    if not wait:
                        return False
                    _, watch = await self.client.exists_watch(lock.path, watch=watch)
                    await watch.wait()
                finally:
                    watch.cancel()
            except NoNode:
                pass  # the parent was removed, since it was empty: list once more, which makes it anew
            except ConnectionLoss:
                if backoff.failures + 1 >= _TRIES:
                    raise
                await self.client.sync(self._parent)
                await self._adopt(await self._line())
                if self.path:
                    return True
                await backoff.pause()
        raise lock.refusal()

    def _fits(self, names: Sequence[str]) -> bool:
        """Whether one more permit is free: every child counts as one, whatever its name."""
        ours = f"_r_-permits-1-{len(names):010d}"
        return standing(ours, [*(f"_r_-permits-1-{at:010d}" for at in range(len(names))), ours], self.limit).holds

    def _order(self, names: list[str]) -> list[str]:
        return names

    async def _list(self) -> tuple[list[str], "Watch"]:
        while True:
            try:
                return await self.client.children_watch(self._parent)
            except NoNode:
                await self._make_parent()

    async def _make(self, lock: Contender) -> bool:
        multi = self.client.multi()
        multi.create(self._prefix, self._data, ephemeral=True, sequential=True, acl=self._acl)
        self.asked: bool = True
        outcome = await multi.start(guards=[lock.path]).result()
        if outcome.error is not None:
            self.asked = False
            if isinstance(outcome.error, NoNode) and outcome.failed_at == 0:
                lock._gone()
                raise lock.refusal()
            raise outcome.error
        self.path: str = str(outcome.results[-1])
        stat = await self.client.exists(self.path)
        if stat is None:
            self._gone()
            return False
        self._take(self.path, stat)
        return True

    async def _make_parent(self) -> None:
        if is_kazoos(self._marker):
            await agree(self.client, self._parent, self.limit, self._acl)
        else:
            await super()._make_parent()


async def read_leases(client: "Client", leases: Leases) -> list[list[Participant]]:
    """The holders of permits, in the order of creation, and everyone in line for the separate lock."""
    try:
        places = await read_places(client, leases.path, await client.children(leases.path))
    except NoNode:
        places = []
    holders = [place._replace(kind="permits", permits=1) for place in places]
    holders.sort(key=lambda each: each.fence)
    return [holders, await read_line(client, leases.lock_path, leases.lock_marker)]
