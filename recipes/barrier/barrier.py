"""A gate that one client opens for all (ZooKeeper Recipes and Solutions, Barriers)."""

from typing import TYPE_CHECKING

from recipes.core import paths
from recipes.core.errors import ConnectionLoss, NodeExists, NoNode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from recipes.core.client.client import Client
    from recipes.core.client.view import Node
    from recipes.core.jute.records import ACL

_TRIES = 3  # tries of a request that breaks its connection, before the caller gets ConnectionLoss


class Barrier:
    """A gate: closed while the znode `path` exists. `wait` returns once it is gone.

    client: a connected Client. path: the gate's own znode. It is persistent, so the gate outlives its creator. A
    Barrier of kazoo at the same path is the same gate. acl: for the znode; without it everybody may do everything.
    """

    def __init__(self, client: "Client", path: str, *, acl: "Sequence[ACL] | None" = None) -> None:
        self._client = client
        self._path = paths.check(path)
        self._acl = acl

    async def create(self) -> bool:
        """Close the gate. True when this call closed it, False when it was closed already.

        After a lost reply it may return False although this call did it. Raises NoAuth, ConnectionLoss, SessionExpired.
        """
        return await self._settle(self._create)

    async def remove(self) -> bool:
        """Open the gate for all. True when this call opened it, False when it was open already.

        After a lost reply it may return False although this call did it. Raises NoAuth, ConnectionLoss, SessionExpired.
        """
        return await self._settle(self._delete)

    async def wait(self) -> None:
        """Return once the gate is open, at once if it is. It keeps waiting through lost connections.

        Raises SessionExpired, ClientClosed, NoAuth.
        """
        with self._client.node_view(self._path) as gate:
            await gate.wait_until(_is_open)

    async def _settle(self, act: "Callable[[], Awaitable[bool]]") -> bool:
        """Try `act` up to _TRIES times. Creating and deleting are safe to repeat: a second try finds the first's
        result."""
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
