"""Group membership for threads and processes."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from recipes.blocking.block import Block
from recipes.blocking.hold import Hold, documented_by
from recipes.blocking.portal import Portal, portal_of
from recipes.blocking.presence import Stay
from recipes.line import Participant
from recipes.membership import group

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


@documented_by(group.Member)
class Member(Hold):
    """A membership, as its holder has it; see Hold. id: of this membership, chosen at random."""

    __slots__ = ("id",)

    _hold: group.Member

    def __init__(self, portal: Portal, hold: group.Member) -> None:
        super().__init__(portal, hold)
        self.id: str = hold.id

    def update(self, data: bytes) -> None:
        self._portal.call(lambda: self._hold.update(data))

    def leave(self) -> None:
        self._portal.call(self._hold.leave)


@documented_by(group.Group)
class Group:
    """The members of a group, at `path`; see recipes.Group."""

    def __init__(self, client: "Client", path: str, *, acl: "Sequence[ACL] | None" = None) -> None:
        self._portal = portal_of(client)
        self._group = group.Group(client.of_tasks, path, acl=acl)

    def join(self, data: bytes = b"") -> AbstractContextManager[Member]:
        """`with group.join(b"10.0.0.1:80") as member`: be a member as long as the block goes on.

        data: shown to the other members. When the membership is lost, `member.ended` is set, and MembershipLost is
        raised at the end of the block.
        """
        return Block(self._portal, lambda: self._group.join(data), lambda member: Member(self._portal, member))

    def stay(self, data: bytes = b"") -> Stay:
        """`with group.stay(b"10.0.0.1:80") as presence`: be a member as long as the block, whatever happens.

        See recipes.Group.stay.
        """
        return Stay(self._portal, self._group.stay(data))

    def members(self) -> list[Participant]:
        return self._portal.call(self._group.members)

    def watch(self, *, within: float | None = None) -> Iterator[list[Participant]]:
        """Yield the members now and after each change; of quick changes only the last is seen.

        within: seconds to wait for the next change at most; then the iteration ends. See recipes.Group.watch.
        """
        return self._portal.iterate(self._group.watch(), within)
