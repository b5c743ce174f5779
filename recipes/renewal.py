"""How recipes that outlive their session go on in the next one."""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from recipes.core.client.backoff import Backoff
from recipes.core.errors import ConnectionLoss, HoldLost, SessionError, invariant
from recipes.damping import Damping
from recipes.hold import Block, Hold, Tenure

if TYPE_CHECKING:
    from recipes.core.client.client import Client

T = TypeVar("T", bound=Tenure)
H = TypeVar("H", bound=Hold)


class Renewal:
    """Carries one recipe from session to session of a client that renews.

    about: the recipe and its path, for the log. log: gets a line at INFO for each new session.
    losses: how many sessions it has outlived.
    """

    def __init__(self, client: "Client", about: str, log: logging.Logger) -> None:
        self.losses: int = 0
        self._client = client
        self._about = about
        self._log = log
        self._session_id = client.session_id
        self._backoff = Backoff(client.random)

    @property
    def over(self) -> bool:
        """Whether the session that the recipe uses is over."""
        session = self._client.session
        return session.lost or session.id != self._session_id

    async def after(self, error: Exception) -> None:
        """Return once the recipe can go on after `error`: if its session ended, once the client has another one.

        After a ConnectionLoss in a live session it returns after a pause, which grows to 2 s. It raises any other
        `error`, and the client's own error if no other session follows.
        """
        client = self._client
        if not (isinstance(error, HoldLost | SessionError) and client.renews):
            raise error
        if not self.over and client.session.id:
            if not isinstance(error, ConnectionLoss):
                raise error
            await self._backoff.pause()
            return
        self._backoff = Backoff(client.random)
        self._session_id = await client.outlive(self._session_id)
        self.losses += 1
        self._log.info("%s was interrupted and continues in session 0x%x: %s", self._about, self._session_id, error)


async def hold_again(
    client: "Client",
    renewal: Renewal,
    begin: Callable[[], T],
    show: Callable[[T], H],
    func: Callable[[H], Awaitable[object]],
    count: Callable[[], object] = lambda: None,
    damping: Damping | None = None,
    was_lost: Callable[[H | None], bool] = lambda hold: hold is not None and hold.lost,
) -> None:
    """Hold something again and again, awaiting `func(hold)` each time, until cancelled or until `func` raises.

    After a loss it tries again, unless the client has ended.

    begin, show: see Block. count: called after each loss that was outlived. damping: the pauses between holds; without
    it, a pause follows a hold of less than a second. was_lost: whether a hold (None: there was none) was lost.
    """
    damping = damping or Damping(client)
    while True:
        block = Block(begin, show, None)
        hold: H | None = None
        damping.begin()
        try:
            async with block as hold:
                invariant(hold is not None)
                damping.begin()
                await func(hold)  # type: ignore[arg-type]
        except (HoldLost, SessionError) as error:
            if error is not block.loss and (hold is not None or isinstance(error, HoldLost)):
                raise  # the error is `func`'s
            if renewal.over or error is not block.loss:
                await renewal.after(error)
                count()
        await damping.rest(lost=was_lost(hold))
