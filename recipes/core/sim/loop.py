"""An asyncio event loop under virtual time, one per simulated process: the real client and the real recipes run on it.

Each turn of a loop is an event of the world's timeline, so that processes and servers take turns in one thread. The
order within a turn is asyncio's: input that has arrived joins the ready callbacks, then timers that are due join, and
then each of these callbacks runs once. Tasks have a serial number as their hash, and anyio's scopes keep their tasks in
order of arrival. So no memory address decides an order, and a seed repeats.
"""

import asyncio
import contextvars
import inspect
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

from anyio._backends import _asyncio as anyio_asyncio

from recipes.core.sim.chance import Random
from recipes.core.sim.client_tap import ClientTap
from recipes.core.sim.network import Network, Side
from recipes.core.sim.timeline import Timeline

_CLOCK_STARTS_S = 1000.0
_LONGEST_TURN_US = 60
_NEXT = 1  # µs until the next turn of a loop that rounding woke too early


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its serial number: a set of tasks then has the same order in every run."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: "SimLoop", **how: Any) -> None:
        self._number = loop.next_number()  # before anything can hash the task
        super().__init__(coro, loop=loop, **how)

    def __hash__(self) -> int:
        return self._number


def _close_what_it_waits_to_run(task: asyncio.Task[Any]) -> None:
    """Close the coroutine in an anyio task that has not begun: once the task is cancelled, nothing else would."""
    coro = task.get_coro()
    if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED and coro.cr_frame:
        for each in list(coro.cr_frame.f_locals.values()):
            given = getattr(each, "_coro", each)  # anyio may have wrapped it in a handle
            if inspect.iscoroutine(given):
                given.close()


class SimLoop(asyncio.AbstractEventLoop):
    """The loop of one process.

    site: the process's number in the network. hosts: address -> site of the server there, such as {"10.0.0.1": 1}.
    rate_pm: the speed of its clock, in thousandths. tap: observes its connections.
    problems: errors that nothing in the process handled. paused: the process stands still, and input waits.
    dead: the process has ended.
    """

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        chance: Random,
        site: int,
        hosts: dict[str, int],
        rate_pm: int = 1000,
        tap: ClientTap | None = None,
    ) -> None:
        self.site = site
        self.paused: bool = False
        self.dead: bool = False
        self.problems: list[str] = []
        self._timeline = timeline
        self._network = network
        self._chance = chance
        self._hosts = hosts
        self._rate_pm = rate_pm
        self._tap = tap or ClientTap()
        self._ahead_s = 0.0  # how far `bury` has advanced the clock of a dead process
        self._ready: deque[asyncio.Handle] = deque()
        self._incoming: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._wake_us = -1  # time and number of the scheduled turn; -1 without one
        self._wake_number = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._running = False

    # Time and turns.

    def time(self) -> float:
        """The process's monotonic clock, in seconds."""
        return _CLOCK_STARTS_S + self._ahead_s + self._timeline.now_us * self._rate_pm / 1e9

    def next_number(self) -> int:
        """The next serial number, from 1."""
        self._numbers += 1
        return self._numbers

    def _when_us(self, time_s: float) -> int:
        return -int((_CLOCK_STARTS_S - time_s) * 1e9 // self._rate_pm)

    def _set_turn(self) -> None:
        """Schedule the next turn for the time at which there is something to do."""
        if self.paused or self.dead or self._running:
            return
        if self._ready or self._incoming:
            when_us = self._timeline.now_us + 1 + self._chance.randrange(_LONGEST_TURN_US)
        elif self._timers:
            when_us = max(self._when_us(self._timers[0][0]), self._timeline.now_us + _NEXT)
        else:
            return
        if self._wake_us < 0 or when_us < self._wake_us:
            self._wake_us = when_us
            self._wake_number += 1
            self._timeline.at(when_us, self._wake, self._wake_number)

    def _wake(self, number: int) -> None:
        if number == self._wake_number:
            self._wake_us = -1
            if not self.paused and not self.dead:
                self._turn()
                self._set_turn()

    def _turn(self) -> None:
        ready, timers = self._ready, self._timers
        ready.extend(self._incoming)
        self._incoming.clear()
        now = self.time()
        while timers and (timers[0][0] <= now or timers[0][2].cancelled()):
            ready.append(heappop(timers)[2])
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._close_generator)
        asyncio._set_running_loop(self)
        self._running = True
        try:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            self._running = False
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def pause(self) -> None:
        """Stand still."""
        self.paused = True

    def resume(self) -> None:
        """Go on, with the input that arrived meanwhile."""
        self.paused = False
        self._wake_us = -1
        self._set_turn()

    def arrived(self, callback: Callable[..., object], *args: Any) -> None:
        """Input has arrived from outside: call `callback(*args)` in the next turn."""
        if not self.dead:
            self._incoming.append(asyncio.Handle(callback, args, self, contextvars.Context()))
            self._set_turn()

    def kill(self) -> None:
        """End the process: nothing of it runs any more."""
        self.dead = True

    def bury(self, turns: int = 100_000) -> None:
        """End a dead process's tasks, so that the garbage collector does not run their clean-up at some later time.

        Each task is cancelled and runs to its end, without effect outside. Raises RuntimeError if one does not end.
        """
        self.dead = True
        for _ in range(turns):
            for task in self._tasks:
                if not task.cancelling():
                    _close_what_it_waits_to_run(task)
                    task.cancel()
            if not self._ready and not self._incoming:
                if not self._tasks or not self._timers:
                    break
                self._ahead_s += max(0.0, self._timers[0][0] - self.time()) + 1e-6
            self._turn()
        if self._tasks:
            raise RuntimeError(f"tasks do not end: {[task.get_coro() for task in self._tasks]}")

    # The methods that asyncio and anyio call.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """See asyncio."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._set_turn()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """See asyncio; there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, self.next_number(), handle))
        self._set_turn()
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a cancelled handle, which `_turn` will skip."""

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **how: Any) -> asyncio.Task[Any]:
        """See asyncio."""
        task = SimTask(coro, loop=self, **how)
        self._tasks[task] = None
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def get_task_factory(self) -> None:
        """None: `create_task` makes all tasks."""

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self.dead:
            self.create_task(generator.aclose())

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int, **how: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """A connection to a simulated server; see asyncio. Raises OSError."""
        connected: asyncio.Future[Side | None] = self.create_future()

        def settle(side: Side | None) -> None:
            if not connected.done():
                connected.set_result(side)
            elif side is not None:
                side.close()

        def take(side: Side) -> None:
            if self.dead:
                side.close()
            else:
                self.arrived(settle, side)

        if self.dead or host not in self._hosts:
            raise OSError(f"no host at {host}")
        self._network.dial(self.site, self._hosts[host], "client", take, lambda: self.arrived(settle, None))
        side = await connected
        if side is None:
            raise ConnectionRefusedError(f"{host}:{port} refuses connections")
        protocol = protocol_factory()
        transport = SimTransport(self, side, protocol, self._tap)
        protocol.connection_made(transport)
        return transport, protocol

    def get_debug(self) -> bool:
        """False: debug mode costs time."""
        return False

    def is_running(self) -> bool:
        """Whether this loop is in a turn."""
        return self._running

    def is_closed(self) -> bool:
        """Whether the process has ended."""
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Add an unhandled error to `problems`."""
        if not self.dead:
            error = context.get("exception")
            self.problems.append(f"{context['message']}: {error!r}")


class SimTransport(asyncio.Transport):
    """A process's end of a connection."""

    def __init__(self, loop: SimLoop, side: Side, protocol: asyncio.Protocol, tap: ClientTap) -> None:
        super().__init__()
        self._loop = loop
        self._side = side
        self._protocol = protocol
        self._tap = tap.connection()
        self._ended = False
        side.own(lambda data: loop.arrived(self._receive, data), lambda: loop.arrived(self._end))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio."""
        if not self._ended and not self._loop.dead:
            self._tap.sent(bytes(data))
            self._side.send(bytes(data))

    def close(self) -> None:
        """See asyncio."""
        self._end()

    def abort(self) -> None:
        """See asyncio."""
        self._end()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._ended

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Always the default."""
        return default

    def _receive(self, data: bytes) -> None:
        if self._ended:
            return
        passed, breaks = self._tap.received(data)
        if passed:
            self._protocol.data_received(passed)
        if breaks:
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._side.close()
            self._loop.call_soon(self._protocol.connection_lost, None)


class _InOrder(dict[Any, None]):
    """A set that iterates in order of insertion."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]

    def discard(self, item: Any) -> None:
        self.pop(item, None)


@contextmanager
def scopes_in_order() -> Iterator[None]:
    """Until the block ends, anyio's cancel scopes iterate their tasks and inner scopes in order of arrival.

    anyio keeps both in sets, whose order depends on memory addresses. Raises RuntimeError if this version of anyio
    keeps them elsewhere: runs would not repeat.
    """
    scope_class = anyio_asyncio.CancelScope
    original = scope_class.__init__
    if not {"_tasks", "_child_scopes"} <= {*scope_class.__slots__}:
        raise RuntimeError("this version of anyio keeps tasks and scopes in an unknown way: runs would not repeat")

    def init(self: Any, *args: Any, **how: Any) -> None:
        original(self, *args, **how)
        self._tasks, self._child_scopes = _InOrder(), _InOrder()

    scope_class.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        scope_class.__init__ = original  # type: ignore[method-assign]
