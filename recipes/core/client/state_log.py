"""Log lines for each change of a client's state."""

import logging
from typing import TYPE_CHECKING

from recipes.core.client.session import CONNECTED, ConnectionState

if TYPE_CHECKING:
    from recipes.core.client.connector import Connector
    from recipes.core.client.session import Session

log: logging.Logger = logging.getLogger("recipes.client")


def log_state(state: ConnectionState, session: "Session", connector: "Connector", asked_timeout: float) -> None:
    """Log the client's new state. asked_timeout: the session timeout that `connect` was given, in seconds."""
    if state in CONNECTED:
        only = " (read-only)" if session.read_only else ""
        asked = "" if session.timeout == asked_timeout else f", asked for {asked_timeout:g} s"
        log.info(
            "connected to %s%s: session 0x%x, timeout %g s%s",
            connector.server,
            only,
            session.id,
            session.timeout,
            asked,
        )
    elif state is ConnectionState.SUSPENDED:
        log.info("suspended, the connection of session 0x%x broke: %s", session.id, connector.last_failure)
    elif state is ConnectionState.LOST:
        log.info("session 0x%x is lost: %s", session.id, session.ending(path=""))
    elif state is ConnectionState.CONNECTING:
        log.info("looking for a server, to begin another session")
    elif session.id:
        log.info("session 0x%x is closed", session.id)
