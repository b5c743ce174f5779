"""A cancel scope that callbacks of the event loop may make and cancel, before the task that enters it has begun.

anyio makes its scopes in tasks only. In a callback, such as one that has read from a socket, it may not know which
event loop runs: it does under anyio.run, and under asyncio.run it does not where the package sniffio is installed.
"""

from types import TracebackType

import anyio


class LateScope:
    """Enter it once, with `with`, in the task that is to be cancelled."""

    __slots__ = ("_cancelled", "_scope")

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self._cancelled: bool = False

    def cancel(self) -> None:
        """Cancel what is inside, or will be."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def __enter__(self) -> "LateScope":
        scope = anyio.CancelScope()
        scope.__enter__()
        self._scope = scope
        if self._cancelled:
            scope.cancel()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        scope, self._scope = self._scope, None
        return scope is not None and scope.__exit__(kind, error, trace)
