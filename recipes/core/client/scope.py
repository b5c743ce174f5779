"""A block that ends with the session."""

from types import TracebackType

import anyio

from recipes.core.client.session import Session


class SessionScope:
    """`with client.session_scope() as session:` a block that is cancelled when the session is lost.

    The cancellation ends at the edge of the block: look at `session.lost` behind it. It must be left in the task
    that entered it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._scope = anyio.CancelScope()

    def __enter__(self) -> Session:
        self._scope.__enter__()
        self._session.scopes[self._scope] = None
        if self._session.lost:
            self._scope.cancel()
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._session.scopes.pop(self._scope, None)
        return self._scope.__exit__(kind, error, trace)

    def cancel(self) -> None:
        """Cancel the block for a reason of the caller's own."""
        self._scope.cancel()
