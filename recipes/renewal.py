"""Going on after the loss of a session: what all recipes do that run for longer than one."""

import logging
from typing import TYPE_CHECKING

from recipes.core.client.backoff import Backoff
from recipes.core.errors import ConnectionLoss, HoldLost, SessionError

if TYPE_CHECKING:
    from recipes.core.client.client import Client


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
