"""A pool of open connections to one database."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recipes.transaction.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

_IDLE = 8  # connections kept open


class Connections:
    """A pool that several threads use. open_one: opens a connection. database: its kind, once one was opened."""

    def __init__(self, open_one: Callable[[], Any], database: Callable[[], Database]) -> None:
        self.closed: bool = False
        self._open_one = open_one
        self._database = database
        self._idle: deque[Any] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> "Iterator[Any]":
        """A connection for statements outside of a branch. It is given back unless the block raises."""
        connection = self.take()
        try:
            self._database().for_statements(connection)
            yield connection
            connection.commit()
        except BaseException:
            connection.close()
            self._close_idle()  # they may all be broken
            raise
        self.give_back(connection)

    def take(self) -> Any:
        """A connection that the server has not closed."""
        while True:
            with self._lock:
                connection = self._idle.popleft() if self._idle else None
            if connection is None:
                return self._open_one()
            if not self._database().is_stale(connection):
                return connection
            connection.close()

    def give_back(self, connection: Any) -> None:
        """Return a connection, which must not be in a transaction."""
        with self._lock:
            if len(self._idle) < _IDLE and not self.closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections now, and those in use when they are given back."""
        with self._lock:
            self.closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with self._lock:
            connections = list(self._idle)
            self._idle.clear()
        for connection in connections:
            connection.close()
