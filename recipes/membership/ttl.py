"""A znode that outlives its writers by a fixed time and no longer (Curator's PersistentTtlNode)."""

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import (
    BadArguments,
    ConnectionLoss,
    HoldLost,
    NodeExists,
    NoNode,
    NotEmpty,
    RecipesError,
    StoreError,
    ThrottledOp,
)
from recipes.hold import Tenure
from recipes.membership.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL, Stat

_CHILD = "touch"  # the name that Curator gives it
_TOUCHES = 3  # in the time that the znode may live without one


class TtlNode(Presence):
    """`async with TtlNode(client, "/jobs/nightly", b"host a", ttl=3600.0) as node:` a znode that outlives its writer.

    client: a connected Client; made with `renew`, the znode is touched in the next session, too. path: of the znode, a
    container; missing ancestors are made, as containers. data: of the znode; `node.update(data)` replaces them. ttl:
    seconds that the znode stays after the last touch, 1 or more, plus the time in which servers look for such znodes, a
    minute by default. acl: of the znode and its child; without it everybody may do everything.

    Its child "touch" has the ttl and is written three times in that time. When that ends, the servers delete first the
    child and then the container. So unlike an EphemeralNode it survives a lost session and a short restart of the
    program. Leaving the block deletes it at once. Several clients may keep the same znode: it has the newest data.

    A znode that stands there already is used. If it is no container (servers do not show that), it stays when its child
    goes.

    Entering raises Unimplemented if the servers have no znodes with a ttl (ZooKeeper's have them with
    `extendedTypesEnabled=true`), NoChildrenForEphemerals if an ephemeral znode stands there, and the errors of Lock.
    Raises BadArguments for another ttl.
    """

    def __init__(
        self, client: "Client", path: str, data: bytes = b"", *, ttl: float, acl: "Sequence[ACL] | None" = None
    ) -> None:
        paths.check(path)
        if not ttl >= 1:
            raise BadArguments(path, f"ttl={ttl!r}: expected seconds, 1 or more")
        super().__init__(client, lambda newest: _Touched(client, path, newest, ttl, acl), data)


class _Touched(Tenure):
    """A session's part in keeping the znode: it is made or found, and touched."""

    def __init__(self, client: "Client", path: str, data: bytes, ttl: float, acl: "Sequence[ACL] | None") -> None:
        super().__init__(client, path, path, HoldLost)
        self._at = path
        self._child = paths.join(path, _CHILD)
        self._data = data
        self._ttl = ttl
        self._acl = acl

    async def obtain(self, wait: bool) -> bool:
        """Make the znode and its child, as far as they are missing. It waits for nobody."""
        backoff = Backoff(self.client.random)
        while True:
            self.asked = True
            try:
                await self._make()
                stat = await self._join()
            except NoNode:
                above = self._at.rpartition("/")[0]
                if not above:
                    raise  # the chroot is missing
                await self.client.ensure_path(above, container=True)
            except ConnectionLoss:
                await backoff.pause()
            else:
                if stat is not None:
                    self.path: str = self._at
                    self.fence: int = stat.czxid
                    self.client.look_after(self._keep_touching)
                    return True

    async def _make(self) -> None:
        with suppress(NodeExists):
            async with self.client.multi() as multi:
                multi.create(self._at, self._data, container=True, acl=self._acl)
                multi.create(self._child, ttl=self._ttl, acl=self._acl)

    async def _join(self) -> "Stat | None":
        """Write to the znode that is there, and return its Stat; None if it is gone, perhaps only just now."""
        stat = await self.client.exists(self._at)
        if stat is not None:
            try:
                await self._touch()
                await self.client.set(self._at, self._data)
            except NoNode:
                return None
        return stat

    async def _touch(self) -> None:
        try:
            await self.client.set(self._child, b"")
        except NoNode:
            with suppress(NodeExists):
                await self.client.create(self._child, ttl=self._ttl, acl=self._acl)

    async def _keep_touching(self) -> None:
        backoff = Backoff(self.client.random)
        while not self.ended.is_set():
            try:
                with anyio.move_on_after(self._ttl / _TOUCHES):
                    await self.ended.wait()
                    return
                await self._touch()
            except (NoNode, ConnectionLoss, ThrottledOp):  # if the znode is gone, its watch has it made again
                await backoff.pause()
            except RecipesError as error:
                if isinstance(error, StoreError):
                    self.ended.set(str(error), lost=True)
                return

    def _hand_over(self) -> None:
        # What is left behind is deleted by the servers, when its time is up.
        self.asked: bool = False

    async def _delete(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        with suppress(NoNode, NotEmpty, ConnectionLoss):
            await self.client.delete(self._child)
            await self.client.delete(self._at)
        self.asked = False
