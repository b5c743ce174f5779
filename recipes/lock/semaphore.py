"""A limited number of permits (ZooKeeper Recipes and Solutions, Shared Locks, with a limit)."""

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any

from recipes.contender import Contender, check_within, read_holders
from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import (
    BadArguments,
    BadVersion,
    ConnectionLoss,
    LockLost,
    NoNode,
    RecipesError,
    SettingsDiffer,
    ThrottledOp,
)
from recipes.hold import Block, OnSuspend
from recipes.line import ALL, DIGITS, Participant, holding, in_order
from recipes.lock.grant import Grant
from recipes.lock.lease import Lease, read_leases
from recipes.lock.lockable import Lockable
from recipes.naming import Leases, Naming, leases_of
from recipes.shared_settings import agree, compare

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL


class Limit:
    """The limit as one Semaphore object knows it.

    given: the limit that the object was made with, and the stored one after the first successful comparison.
    agreed: whether that comparison was made; from then on the stored limit counts.
    """

    def __init__(self, path: str, given: int) -> None:
        self.path: str = path
        self.given: int = given
        self.agreed: bool = False

    def read(self, data: bytes) -> tuple[int, int]:
        """The stored limit and the highest limit there ever was. Raises SettingsDiffer."""
        if not self.agreed:
            compare(self.path, data, {"limit": self.given})
            self.agreed = True
        self.given, most = stored_limit(self.path, data)
        return self.given, most


def stored_limit(path: str, data: bytes) -> tuple[int, int]:
    """The limit and the highest limit there ever was, from stored data. Raises SettingsDiffer for other data."""
    try:
        stored = json.loads(data)
        limit = int(stored["limit"])
        return limit, max(limit, int(stored.get("most", 0)))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise SettingsDiffer(path, f"expected a limit, and the znode holds other data: {data[:60]!r}") from None


def kept_permits(data: bytes) -> frozenset[str]:
    """The sequence numbers of places that keep their permits although the limit went down below them."""
    try:
        return frozenset(json.loads(data).get("kept", ()))
    except (ValueError, TypeError, AttributeError):
        return frozenset()


class Claimant(Contender):
    """A place in line that asks for permits of a semaphore."""

    def __init__(self, client: "Client", limit: Limit, permits: int, data: bytes, acl: "Sequence[ACL] | None") -> None:
        super().__init__(client, limit.path, f"permits-{permits}-", LockLost, data, acl)
        self.permits: int = permits
        self._agreement: Limit = limit
        self._unset: bool = False  # whether the parent has no limit yet
        self._followed: bool = False  # whether anybody was behind us at the last listing
        self._heard: tuple[str, int] = ("", 0)  # the place in front of us that we watched last, and its data's version

    async def join(self, *, make_parent: bool = True) -> list[str]:
        """Make our znode, store the limit if it is missing, and return the line as it was after that."""
        order = await super().join(make_parent=make_parent)
        if self._unset:
            await self._make_parent()
            order = await self._line()
        return order

    async def obtain(self, wait: bool) -> bool:
        """Join the line and return whether we hold; with `wait`, return once we do or our znode is gone."""
        got = await super().obtain(wait)
        if got and self._followed:
            self.client.look_after(self._pass_on)
        return got

    async def _pass_on(self) -> None:
        """Set our znode's data, to wake the waiter just behind us: it has to watch the holders from now on."""
        backoff = Backoff(self.client.random)
        while self.asked and not self.client.session.lost:
            try:
                await self.client.set(self.path, self._data, 0)
            except (ConnectionLoss, ThrottledOp):
                await backoff.pause()
            except RecipesError:
                return  # our znode is gone, or somebody else changed its data, which woke the waiter
            else:
                return

    def _order(self, names: list[str]) -> list[str]:
        order = super()._order(names)
        self._followed = self._name in order and order[-1] != self._name
        return order

    def _start_listing(self) -> "Call":
        return self.client.start_multi_read([("get", self._parent), ("children", self._parent)])

    def _listed(self, result: Any) -> list[str]:
        for each in result:
            if isinstance(each, RecipesError):
                raise each
        names: list[str] = result[1]
        self._take_limit(result[0][0])
        return names

    def _take_limit(self, data: bytes) -> None:
        self._unset = not data and not self._agreement.agreed  # a parent made by `ensure_path`, for example
        if self._unset:
            return
        limit, most = self._agreement.read(data)
        self.limit: int = limit
        self.most: int = most
        if self.permits > self.limit:
            raise too_many(self._parent, self.permits, self.limit)

    async def _make_parent(self) -> None:
        limit = self._agreement.given
        await agree(self.client, self._parent, {"limit": limit}, self._acl)

    async def _wait_behind(self, name: str, order: list[str]) -> bool:
        """Wait for an event at `name` (if it is "", a change of the children), or for a change of the limit."""
        before = self.limit, self.most
        try:
            data, _, watch = await self.client.get_watch(self._parent)
        except NoNode:
            return False
        try:
            self._take_limit(data)
            if (self.limit, self.most) != before:
                return True
            if name:
                stat, watch = await self.client.exists_watch(paths.join(self._parent, name), watch=watch)
                found = stat is not None
                if stat is not None and (name, stat.version) != self._heard:
                    # It may have passed the sign on since our listing, before our watch was there: list once more.
                    self._heard = name, stat.version
                    found = not stat.version
            else:
                names, watch = await self.client.children_watch(self._parent, watch=watch)
                found = names == self.names
            if found:
                await watch.wait()
        except NoNode:
            return False
        else:
            return True
        finally:
            watch.cancel()


class SemaphoreGrant(Grant):
    """Given to a holder of permits; see Hold. permits: how many it has."""

    __slots__ = ("permits",)

    def __init__(self, claimant: Claimant | Lease) -> None:
        super().__init__(claimant)
        self.permits: int = claimant.permits


class Semaphore(Lockable[SemaphoreGrant]):
    """At most `limit` permits over `path` at a time, granted in order of arrival.

    client, data, acl, on_suspend: see Lock. path: the parent znode, persistent, which holds the limit; created if it is
    missing.
    limit: number of permits, 1 or more. The first user stores it. If another limit is stored, taking a permit raises
    SettingsDiffer, which names both. `resize` changes the stored limit; objects that have agreed before follow it.

    naming: "kazoo" or "curator" to share permits with kazoo's Semaphore, or with Curator's InterProcessSemaphoreV2; see
        Lock. With these, a grant is one permit, and `resize` raises BadArguments. Curator stores no limit, so all users
        must give the same one.

    A permit is an ephemeral znode and nothing else: when its session ends, it is free again. Nobody overtakes, so a
    request for many permits is not starved by requests for few. A release wakes one waiter.

    Raises the errors of Lock, at the same points: LockLost, and RuntimeError in a task that has permits and asks again.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        limit: int,
        data: bytes = b"",
        *,
        acl: "Sequence[ACL] | None" = None,
        naming: Naming = "native",
        on_suspend: OnSuspend = "wait",
    ) -> None:
        super().__init__(client, path, "permits-", on_suspend)
        self._naming: str = naming
        self._leases: Leases | None = leases_of(path, naming, data)
        self._agreement: Limit = Limit(self.path, _checked(path, "limit", limit))
        self._data: bytes = data
        self._acl: Sequence[ACL] | None = acl

    async def acquire(self, permits: int = 1) -> SemaphoreGrant:
        """Take permits for longer than a block: `grant = await semaphore.acquire(2)`, later `await grant.release()`.

        It takes all of them or none. Any task may release them. A loss cancels nobody: check `grant.ended`.
        Raises BadArguments for more than the limit, even if the limit is lowered while this waits, and the errors of
        entering the block.
        """
        return await self._acquire(self._claim(permits))

    def try_acquire(
        self, permits: int = 1, *, within: float = 0.0
    ) -> AbstractAsyncContextManager[SemaphoreGrant | None]:
        """`async with semaphore.try_acquire(2, within=5.0) as grant`: None if they were not free in time.

        within: seconds to wait at most, 0 or more; the block itself may last longer. Raises BadArguments for another
        number and as `acquire` does, and the errors of entering the block.
        """
        self._check(permits)
        return Block(lambda: self._claim(permits), self._show, check_within(self.path, within))

    async def resize(self, limit: int) -> None:
        """Store another limit. Waiters follow it at once.

        When the limit goes down, holders keep their permits, and `holders` still lists them.

        Raises BadArguments (always with another library's naming), SettingsDiffer when the path holds other data,
        NoAuth, SessionExpired, ClientClosed, and ConnectionLoss, after which it can be called again.
        """
        _checked(self.path, "limit", limit)
        if self._leases is not None:
            raise BadArguments(self.path, f"resize({limit}): naming={self._naming!r} does not support it")
        while not await self._store(limit):
            pass  # somebody else was quicker
        self._agreement.given, self._agreement.agreed = limit, True

    async def _store(self, limit: int) -> bool:
        """Try once to store the limit; return whether it is stored."""
        try:
            data, stat = await self._client.get(self.path)
        except NoNode:
            data = b""
        if not data:
            with suppress(SettingsDiffer):
                await agree(self._client, self.path, {"limit": limit}, self._acl)
                return True
            return False
        now, most = stored_limit(self.path, data)
        if now != limit:
            stored: dict[str, int | list[str]] = {"limit": limit, "most": max(most, limit)}
            line = in_order(await self._client.children(self.path), self._marker)
            holders = line[: holding(line, now, kept_permits(data))]
            if beyond := holders[holding(line, limit) :]:
                stored["kept"] = [name[-DIGITS:] for name in beyond]
            try:
                async with self._client.multi() as multi:
                    for name in holders if beyond else ():  # if one has left, another may hold instead
                        multi.check(paths.join(self.path, name))
                    multi.set(self.path, json.dumps(stored, separators=(",", ":")).encode(), stat.version)
            except (BadVersion, NoNode):
                return False
        return True

    def _contend(self) -> Contender:
        return self._claim(1)

    def _show(self, contender: Contender) -> SemaphoreGrant:
        return SemaphoreGrant(contender)  # type: ignore[arg-type]  # made by `_claim`

    def _claim(self, permits: int) -> "Claimant | Lease":
        self._check(permits)
        claim: Claimant | Lease
        if self._leases is None:
            claim = Claimant(self._client, self._agreement, permits, self._data, self._acl)
        else:
            claim = Lease(self._client, self._leases, self._agreement.given, self._data, self._acl)
        claim.on_suspend = self._on_suspend
        return claim

    def _check(self, permits: int) -> None:
        if _checked(self.path, "permits", permits) > 1 and self._leases is not None:
            raise BadArguments(self.path, f"permits={permits}: naming={self._naming!r} supports one at a time")
        # After the agreement somebody may have resized it, so only the store knows the limit.
        if permits > self._agreement.given and not self._agreement.agreed:
            raise too_many(self.path, permits, self._agreement.given)

    async def _participants(self) -> list[list[Participant]]:
        if self._leases is not None:
            return await read_leases(self._client, self._leases)
        limit, kept = self._agreement.given, frozenset[str]()
        try:
            data, _ = await self._client.get(self.path)
        except NoNode:
            data = b""
        if data:
            limit, kept = self._agreement.read(data)[0], kept_permits(data)
        return await read_holders(self._client, self.path, self._marker, limit, kept)


def too_many(path: str, permits: int, limit: int) -> BadArguments:
    """The error for a request for more permits than the limit."""
    return BadArguments(path, f"permits={permits}: expected no more than the limit of this semaphore, {limit}")


def _checked(path: str, name: str, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number < ALL:
        raise BadArguments(path, f"{name}={number!r}: expected a whole number from 1 to {ALL - 1}")
    return number
