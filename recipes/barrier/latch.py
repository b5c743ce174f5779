"""A gate that opens after a number of counts."""

from contextlib import suppress
from typing import TYPE_CHECKING

from recipes.core import paths
from recipes.core.errors import BadArguments, ConnectionLoss, NodeExists, NoNode, NotEmpty
from recipes.shared_settings import agree

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_MARK = "done-"
_TRIES = 3  # tries of a request that breaks its connection, before the caller gets ConnectionLoss


class CountDownLatch:
    """`wait` returns once `count_down` was called with `count` different tokens.

    client: a connected Client. path: the latch's znode, persistent, with one child per count. count: 1 or more; all
    users of one path must give the same, else SettingsDiffer. A latch is used once: `remove` deletes it.

    Each count is a znode with the token's name, not a decremented number, so a count that is sent twice counts once.
    """

    def __init__(self, client: "Client", path: str, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise BadArguments(path, f"count={count!r}: expected a whole number from 1 on")
        self._client = client
        self._path = paths.check(path)
        self._count = count
        self._agreed = False

    async def count_down(self, token: str | None = None) -> bool:
        """Count once. False when this token was counted already.

        token: names what is counted, such as a finished job. A token counts once, however often and by whomever it is
        given. Without a token, every call counts. After a lost reply it may return False although this call counted.
        Raises BadArguments (an invalid token), SettingsDiffer, NoAuth, ConnectionLoss, SessionExpired.
        """
        if token is None:
            token = f"{self._client.random.getrandbits(64):016x}"
        path = f"{self._path}/{_MARK}{token}"
        if not token or "/" in token:
            raise BadArguments(path, f"token={token!r}: expected the name of a znode, without a slash")
        await self._agree()
        losses = 0
        while True:
            try:
                await self._client.create(path)
            except NodeExists:
                return False
            except NoNode:
                self._agreed = False  # the latch was removed
                await self._agree()
            except ConnectionLoss:  # safe to repeat: the token is the znode's name, so it counts once
                losses += 1
                if losses == _TRIES:
                    raise
            else:
                return True

    async def wait(self) -> None:
        """Return once the count is reached, at once if it is. It keeps waiting through lost connections.

        Raises SettingsDiffer, SessionExpired, ClientClosed, NoAuth.
        """
        await self._agree()
        with self._client.children_view(self._path) as children:
            await children.wait_until(lambda names: True if self._left(names) == 0 else None)

    async def remaining(self) -> int:
        """How many counts are missing; 0 once the latch is open. Raises NoAuth, SessionExpired."""
        try:
            return self._left(await self._client.children(self._path))
        except NoNode:
            return self._count

    async def remove(self) -> None:
        """Delete the latch with its counts. Tasks in `wait` keep waiting, for a new latch at the same path.

        Raises NoAuth, SessionExpired, and ConnectionLoss, after which it can be called again.
        """
        self._agreed = False
        while True:
            try:
                for name in await self._client.children(self._path):
                    await self._delete(f"{self._path}/{name}")
                return await self._delete(self._path)
            except NotEmpty:
                continue  # somebody counted meanwhile
            except NoNode:
                return None

    async def _delete(self, path: str) -> None:
        with suppress(NoNode):
            for _ in range(_TRIES - 1):
                try:
                    return await self._client.delete(path)
                except ConnectionLoss:  # safe to repeat
                    continue
            await self._client.delete(path)

    async def _agree(self) -> None:
        if not self._agreed:
            await agree(self._client, self._path, {"count": self._count})
            self._agreed = True

    def _left(self, names: list[str] | None) -> int:
        counted = sum(name.startswith(_MARK) for name in names or ())
        return max(0, self._count - counted)
