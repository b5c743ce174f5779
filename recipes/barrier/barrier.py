"""A gate that one opens for all (ZooKeeper Recipes and Solutions, Barriers)."""

from typing import TYPE_CHECKING

from recipes.core import paths
from recipes.core.errors import ConnectionLoss, NodeExists, NoNode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from recipes.core.client.client import Client
    from recipes.core.client.view import Node
    from recipes.core.jute.records import ACL

_TRIES = 3  # how often a connection may break under one request before the caller hears of it


class Barrier:
    """A gate: closed while the znode `path` exists. `wait` returns once it is gone.

    client: a connected Client. path: the gate's own znode, persistent: it outlives its maker, as a gate should, and
    kazoo's Barrier at the same path is the same gate. acl: for the znode; everybody may do everything without it.
    """

    def __init__(self, client: "Client", path: str, *, acl: "Sequence[ACL] | None" = None) -> None:
        self._client = client
        self._path = paths.check(path)
        self._acl = acl

    async def create(self) -> bool:
        """Close the gate. True when this call did it, False when it was closed already.

        After a lost reply it may say False although this call did it. Raises NoAuth, ConnectionLoss, SessionExpired.
        """
        return await self._settle(self._create)

    async def remove(self) -> bool:
        """Open the gate for all. True when this call did it, False when it was open already.

        After a lost reply it may say False although this call did it. Raises NoAuth, ConnectionLoss, SessionExpired.
        """
        return await self._settle(self._delete)

    async def wait(self) -> None:
        """Return once the gate is open, at once when it is. A lost connection changes nothing.

        Raises SessionExpired, ClientClosed, NoAuth.
        """
        with self._client.node_view(self._path) as gate:
            await gate.wait_until(_is_open)

    async def _settle(self, act: "Callable[[], Awaitable[bool]]") -> bool:
        """Both changes can be repeated: a second try finds what the first one did."""
        for _ in range(_TRIES - 1):
            try:
                return await act()
            except ConnectionLoss:
                continue
        return await act()

    async def _create(self) -> bool:
        try:
            await self._client.create(self._path, acl=self._acl, make_parents=True)
        except NodeExists:
            return False
        return True

    async def _delete(self) -> bool:
        try:
            await self._client.delete(self._path)
        except NoNode:
            return False
        return True


def _is_open(gate: "Node | None") -> bool | None:
    return True if gate is None else None
