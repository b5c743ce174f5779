"""A client for threads on a server that the tests of a file share."""

import threading
import time
from collections.abc import Callable, Iterator

import anyio
import pytest

from recipes.blocking import Client, connect
from recipes.testing import expire_session

SECONDS = 60.0


@pytest.fixture
def client(our_server) -> Iterator[Client]:
    with connect(our_server.hosts) as client:
        yield client


@pytest.fixture
def expire(our_server) -> Callable[[Client], None]:
    """expire(client): return once its session is over."""
    return lambda client: anyio.run(expire_session, client.of_tasks, our_server.hosts)


def until(condition: Callable[[], object], what: str = "") -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what or condition} does not come true"
        time.sleep(0.01)


class Worker(threading.Thread):
    """A thread whose result, or error, comes out of `finish`."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: BaseException | None = None
        self._result: object = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def finish(self) -> object:
        self.join(SECONDS)
        assert not self.is_alive(), "the thread does not end"
        if self._error is not None:
            raise self._error
        return self._result
