"""Going on after the loss of a session: what all recipes do that run for longer than one."""

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
    """One recipe's way from session to session of a client that renews.

    about: the recipe and its path, for the log. log: where it says that it goes on, at INFO.
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
        """Whether the session that it began with, or went on with, is over."""
        session = self._client.session
        return session.lost or session.id != self._session_id

    async def after(self, error: Exception) -> None:
        """Return once the client has another session, when the end of the one before it explains `error`.

        After a ConnectionLoss in a session that lives it returns as well, behind a pause that grows to 2 s. Raises
        `error` otherwise, and what ended the client when no other session follows.
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
        self._log.info("%s goes on in session 0x%x: %s", self._about, self._session_id, error)


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

    begin, show: see Block. count: called after each loss that was outlived. damping: the rests in between; without it,
    a pause after what lasted less than a second. was_lost: whether a hold, if there was one, was taken from its holder.
    A loss, when it is not the end of the client, is followed by another try.
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
                raise  # what `func` raised
            if renewal.over or error is not block.loss:
                await renewal.after(error)
                count()
        await damping.rest(lost=was_lost(hold))
