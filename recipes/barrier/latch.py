"""A gate that opens after a number of things have happened."""

from contextlib import suppress
from typing import TYPE_CHECKING

from recipes.agreement import agree
from recipes.core import paths
from recipes.core.errors import BadArguments, ConnectionLoss, NodeExists, NoNode

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_MARK = "done-"
_TRIES = 3  # how often a connection may break under one request before the caller hears of it


class CountDownLatch:
    """`wait` returns once `count_down` was called `count` times, with as many different tokens.

    client: a connected Client. path: the latch's znode, persistent, with one child per count. count: at least 1; all
    users of one path give the same (SettingsDiffer). A latch is used once: `remove` clears it away.

    Counts are names and not a number that is decremented, so that one that is sent again counts once.
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

        token: what is counted, such as the name of a finished job: it counts once, whoever says it and however often.
        Without one, every call counts. After a lost reply the answer may be False although this call counted. Raises
        BadArguments (a token that is no znode's name), SettingsDiffer, NoAuth, ConnectionLoss, SessionExpired.
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
                self._agreed = False  # it was removed
                await self._agree()
            except ConnectionLoss:  # the name is the token's, so that a second try counts nothing twice
                losses += 1
                if losses == _TRIES:
                    raise
            else:
                return True

    async def wait(self) -> None:
        """Return once the count is reached, at once when it is. A lost connection changes nothing.

        Raises SettingsDiffer, SessionExpired, ClientClosed, NoAuth.
        """
        await self._agree()
        with self._client.children_view(self._path) as children:
            await children.wait_until(lambda names: True if self._left(names) == 0 else None)

    async def remaining(self) -> int:
        """How often `count_down` still has to be called; 0 once the latch is open. Raises NoAuth, SessionExpired."""
        try:
            return self._left(await self._client.children(self._path))
        except NoNode:
            return self._count

    async def remove(self) -> None:
        """Delete the latch with its counts; those that wait go on waiting for a new one to be counted down.

        Raises NoAuth, SessionExpired, and ConnectionLoss, after which it can be called again.
        """
        self._agreed = False
        try:
            for name in await self._client.children(self._path):
                await self._delete(f"{self._path}/{name}")
        except NoNode:
            return
        await self._delete(self._path)

    async def _delete(self, path: str) -> None:
        with suppress(NoNode):
            for _ in range(_TRIES - 1):
                try:
                    return await self._client.delete(path)
                except ConnectionLoss:  # a second try finds what the first one did
                    continue
            await self._client.delete(path)

    async def _agree(self) -> None:
        if not self._agreed:
            await agree(self._client, self._path, {"count": self._count})
            self._agreed = True

    def _left(self, names: list[str] | None) -> int:
        counted = sum(name.startswith(_MARK) for name in names or ())
        return max(0, self._count - counted)
