"""Group membership: an ephemeral znode for each member, gone with its session (ZooKeeper Recipes, Group Membership)."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

from recipes.cache.children import ChildrenCache
from recipes.contender import Contender, participant_of, read_line
from recipes.core.errors import MembershipLost
from recipes.hold import RELEASED, Block, Hold, Tenure
from recipes.line import Participant, id_of, in_order
from recipes.membership.presence import Presence

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

MARKER: str = "member-"


class Member(Hold):
    """A membership, as its holder has it; see Hold. id: of this membership, chosen at random."""

    __slots__ = ("id",)

    def __init__(self, tenure: "Membership") -> None:
        super().__init__(tenure)
        self.id: str = id_of(self.path.rpartition("/")[2], MARKER)

    async def update(self, data: bytes) -> None:
        """Replace our znode's data, which the others see. Raises NoNode when the znode is gone: it is never made anew.

        Raises ConnectionLoss when the outcome is unknown; repeating the update is safe.
        """
        await self._tenure.client.set(self.path, data)

    async def leave(self) -> None:
        """Leave the group, and return once the server has confirmed it. The block goes on without the membership.

        Any task may call it, more than once. Raises RuntimeError in another thread, event loop or process.
        """
        await self._tenure.release(RELEASED)


class Group:
    """The members of a group, at `path`.

    client: a connected Client; a membership lives and dies with its session. path: the parent znode; made as a
    container, with its ancestors, when missing. acl: of our znode, and of `path` if it is made here; without it
    everybody may do everything.

    Each membership is an ephemeral znode of its own with a random id. So members on one host, or of one client, do not
    take each other's place, and a member that returns after a crash does not collide with its old znode.
    """

    def __init__(self, client: "Client", path: str, *, acl: "Sequence[ACL] | None" = None) -> None:
        self._client = client
        self._path = path
        self._acl = acl

    def join(self, data: bytes = b"") -> AbstractAsyncContextManager[Member]:
        """`async with group.join(b"10.0.0.1:80") as member`: be a member as long as the block goes on.

        data: shown to the other members. A short disconnect changes nothing. When the session is over, the client was
        closed or somebody else deleted our znode, the block is cancelled and MembershipLost raised. Joining raises what
        every call of the client raises: see Lock.
        """
        return Block(lambda: Membership(self._client, self._path, data, self._acl), Member, None)  # type: ignore[return-value]  # never None

    def stay(self, data: bytes = b"") -> "Stay":
        """`async with group.stay(b"10.0.0.1:80") as presence`: be a member as long as the block, whatever happens.

        Like `join`, but a lost membership cancels nothing. When our znode was deleted, or the session of a client that
        was made with `renew` is over, we join again, with the same id and the newest data. See Presence; `name` is our
        id.
        """
        name = f"{self._client.random.getrandbits(64):016x}"
        client, path, acl = self._client, self._path, self._acl
        return Stay(client, lambda newest: Membership(client, path, newest, acl, name), data, name)

    async def members(self) -> list[Participant]:
        """The members in the order of joining, as the connected server has them. Raises NoAuth, SessionExpired."""
        return await read_line(self._client, self._path, MARKER)

    async def watch(self) -> AsyncIterator[list[Participant]]:
        """Yield the members now and after each change; of quick changes only the last is seen.

        While the connection is lost nothing is yielded, and the members seen last may be out of date. An empty list
        means that there are no members. Raises NoAuth, SessionExpired, ClientClosed.
        """
        async with ChildrenCache(self._client, self._path) as cache:
            last: list[Participant] | None = None
            while True:
                (members,) = await cache.wait_until(partial(_others_than, last))
                last = members
                yield members


class Stay(Presence):
    """A membership that goes on; see Presence. name: the id that the others see, in each session."""

    def __init__(self, client: "Client", begin: Callable[[bytes], Tenure], data: bytes, name: str) -> None:
        super().__init__(client, begin, data)
        self.name: str = name


class Membership(Contender):
    """A place in a line in which nobody waits: everybody in it is a member."""

    def __init__(
        self, client: "Client", path: str, data: bytes, acl: "Sequence[ACL] | None", name: str | None = None
    ) -> None:
        super().__init__(client, path, MARKER, MembershipLost, data, acl, once=False, name=name)

    async def obtain(self, wait: bool) -> bool:
        """Join; return whether our znode is there."""
        await self.join()
        return not self.ended.is_set()


def _others_than(last: list[Participant] | None, cache: ChildrenCache) -> tuple[list[Participant]] | None:
    """The members in the cache, in a tuple; None if they are those of `last`."""
    names = in_order(cache.names(), MARKER)
    found = [participant_of(name, f"{cache.path.rstrip('/')}/{name}", *cache[name]) for name in names]
    return None if found == last else (found,)
