"""Ephemeral znodes that stay, for threads and processes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from recipes.blocking.block import Entered
from recipes.blocking.hold import documented_by
from recipes.blocking.portal import Portal, portal_of
from recipes.core.errors import RecipesError
from recipes.membership import group, presence
from recipes.membership import ttl as of_ttl

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL

P = TypeVar("P", bound=presence.Presence)


@documented_by(presence.Presence)
class Presence(Entered[P]):
    """`with`: an ephemeral znode of ours that exists as long as the block goes on, as far as that is possible.

    See recipes.Presence. Any thread may use it.
    """

    def __repr__(self) -> str:
        return repr(self.of_tasks)

    @property
    def losses(self) -> int:
        """How many sessions it has outlived."""
        return self.of_tasks.losses

    @property
    def error(self) -> RecipesError | None:
        """The error that ended it for good; None while it goes on."""
        return self.of_tasks.error

    @property
    def present(self) -> bool:
        return self.of_tasks.present

    @property
    def path(self) -> str:
        return self.of_tasks.path

    @property
    def fence(self) -> int:
        return self.of_tasks.fence

    @property
    def data(self) -> bytes:
        return self.of_tasks.data

    def wait_present(self, *, within: float | None = None) -> None:
        """Return once our znode exists.

        within: seconds to wait at most, for ever without; then TimeoutError. Raises the error that ended this for good.
        """
        self._portal.call(self.of_tasks.wait_present, within)

    def update(self, data: bytes, *, within: float | None = None) -> None:
        """Replace our znode's data, and return once they are stored. If it does not exist now, it is made with them.

        within: seconds to wait at most, for ever without; then TimeoutError, and the data are written at the next
        occasion. Raises the error that ended this for good.
        """
        self._portal.call(lambda: self.of_tasks.update(data), within)


class Stay(Presence[group.Stay]):
    """A membership that goes on; see Presence. name: the id that the others see, in each session."""

    def __init__(self, portal: Portal, of_tasks: group.Stay) -> None:
        super().__init__(portal, of_tasks)
        self.name: str = of_tasks.name


class TtlNode(Presence[Any]):
    """`with TtlNode(client, path, data, ttl=3600.0) as node:` a znode that outlives its writer; see recipes.TtlNode."""

    def __init__(
        self, client: "Client", path: str, data: bytes = b"", *, ttl: float, acl: "Sequence[ACL] | None" = None
    ) -> None:
        super().__init__(portal_of(client), of_ttl.TtlNode(client.of_tasks, path, data, ttl=ttl, acl=acl))


class EphemeralNode(Presence[Any]):
    """`with EphemeralNode(client, path, data) as node:` a znode that is kept present; see recipes.EphemeralNode."""

    def __init__(self, client: "Client", path: str, data: bytes = b"", *, acl: "Sequence[ACL] | None" = None) -> None:
        super().__init__(portal_of(client), presence.EphemeralNode(client.of_tasks, path, data, acl=acl))
