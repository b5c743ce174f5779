"""The client's own task: it keeps the connection, and finishes clean-up that callers had to leave.

It belongs to the client and not to the caller's scope, so that a client can be opened in one task and closed in
another, as test fixtures do.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import anyio.abc

from recipes.core.client.connector import Connector
from recipes.core.client.late_scope import LateScope
from recipes.core.client.session import ConnectionState, Session
from recipes.core.errors import SessionExpired

log: logging.Logger = logging.getLogger("recipes.client")

Job = Callable[[], Awaitable[None]]


def start_task(run: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None] | None:
    """Run `run`, which must not raise, in a task that belongs to no scope of the caller.

    On asyncio it returns the task, which the caller must keep a reference to; on trio it starts a system task.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        trio.lowlevel.spawn_system_task(run, name=name)
        return None
    return loop.create_task(run(), name=name)


class ClientTask:
    """Runs a Connector, and the jobs that `hand_over` is given.

    changed: called when the session is lost.
    """

    def __init__(self, session: Session, connector: Connector, changed: Callable[[ConnectionState], None]) -> None:
        self.ended: anyio.Event = anyio.Event()
        self._session: Session = session
        self._connector: Connector = connector
        self._changed: Callable[[ConnectionState], None] = changed
        self._scope: LateScope = LateScope()
        self._jobs: list[Job] = []
        self._job_added: anyio.Event = anyio.Event()
        self._unfinished: int = 0
        self._finished: anyio.Event = anyio.Event()
        self._task: asyncio.Task[None] | None = None  # on asyncio, which keeps no strong reference to tasks

    def start(self) -> None:
        """Start the task."""
        self._task = start_task(self._run, "recipes-client")

    async def stop(self) -> None:
        """End the task and wait until it has ended."""
        self._scope.cancel()
        await self.ended.wait()

    def hand_over(self, job: Job) -> None:
        """Run `job` until it ends or the client stops. Returns at once."""
        if not self._unfinished:
            self._finished = anyio.Event()
        self._unfinished += 1
        self._jobs.append(job)
        self._job_added.set()

    async def wait_jobs(self) -> None:
        """Return once no job is left."""
        while self._unfinished:
            await self._finished.wait()

    async def _run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._connector.run)
                    group.start_soon(self._take_jobs, group)
                    # Hang up as soon as the session is lost here: pings would keep its ephemeral znodes alive.
                    await self._connector.watch_deadline()
                    group.cancel_scope.cancel()
        except Exception:
            log.exception("the client's task failed, so its session is over")
            self._session.end(partial(SessionExpired, "the client failed"))
        finally:
            self.ended.set()
            if self._session.lost:
                self._changed(ConnectionState.LOST)

    async def _take_jobs(self, group: anyio.abc.TaskGroup) -> None:
        try:
            while True:
                while self._jobs:
                    group.start_soon(self._finish, self._jobs.pop())
                self._job_added = anyio.Event()
                await self._job_added.wait()
        finally:
            # Handed over just before the client stops: they begin, and are cancelled, so that they can clean up.
            while self._jobs:
                group.start_soon(self._finish, self._jobs.pop())

    async def _finish(self, job: Job) -> None:
        try:
            await job()
        finally:
            self._unfinished -= 1
            if not self._unfinished:
                self._finished.set()
