"""The store in memory under virtual time: requests and replies take a while, and a server may fall silent.

The client is the real one, with its owner task and its way to close; only what goes over the wire is played.
"""

import asyncio
import heapq
import itertools
import selectors
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

import anyio
import pytest

from recipes.core.client.call import Call
from recipes.core.client.connector import Connector
from recipes.core.client.home import Home
from recipes.core.client.session import ConnectionState
from recipes.core.client.task import ClientTask
from recipes.core.errors import BadVersion, ConnectionLoss, NodeExists, NoNode, SessionExpired
from recipes.core.jute import opcodes as op
from tests.lock.conftest import MemoryClient, MemoryStore

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
TIMEOUT = 6.0  # of a session, in virtual seconds


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: where it would, time goes on."""

    passed = 0.0

    def select(self, timeout=None):
        events = super().select(0 if timeout is None or timeout > 0 else timeout)
        if events:
            return events
        if timeout is None:
            return super().select(None)
        self.passed += max(timeout, 0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.passed


def run(backend, main):
    """Run `main(clock)` to its end under virtual time."""
    if backend == "asyncio":
        loops = []

        def make_loop():
            loops.append(VirtualLoop())
            return loops[0]

        return anyio.run(lambda: main(lambda: loops[0].time()), backend_options={"loop_factory": make_loop})
    import trio.testing

    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(lambda: main(clock.current_time), backend="trio", backend_options={"clock": clock})


class VirtualStore(MemoryStore):
    """delay: seconds that a request is under way, and its reply as long. removing: called before a znode goes."""

    def __init__(self, clock, delay):
        super().__init__()
        self.clock, self.delay = clock, delay
        self.removing = lambda path: None
        self._due, self._serial, self._more = [], itertools.count(), anyio.Event()

    def later(self, seconds, act):
        heapq.heappush(self._due, (self.clock() + seconds, next(self._serial), act))
        self._more.set()

    async def carry(self):
        """What is under way arrives."""
        while True:
            self._more = anyio.Event()
            while self._due and self._due[0][0] <= self.clock() + 1e-9:
                heapq.heappop(self._due)[2]()
            left = self._due[0][0] - self.clock() if self._due else float("inf")
            with anyio.move_on_after(left):
                await self._more.wait()

    def remove(self, path):
        if path in self.nodes:
            self.removing(path)
        super().remove(path)


class VirtualCall:
    def __init__(self, path):
        self.path, self.value, self.error = path, None, None
        self.done = self.abandoned = False
        self._event = anyio.Event()

    def settle(self, value, error):
        if not self.done:
            self.value, self.error, self.done = value, error, True
            self._event.set()

    async def result(self):
        await self._event.wait()
        if self.error is not None:
            raise self.error
        return self.value


class _Pings(Connector):
    """In the place of what keeps connections: it keeps the session alive."""

    client = None

    async def run(self):
        while not self.client.session.lost:
            self.client._start("ping", "", lambda: None)
            await anyio.sleep(TIMEOUT / 3)


class VirtualClient(MemoryClient):
    """`silent`: from then on nothing arrives, there or here; `cut`: and the client knows it."""

    def __init__(self, store):
        super().__init__(store)
        self.clock = store.clock
        self.silent = self.gone = False
        self.calls, self.unsent = [], []
        self._entered, self._closed = False, True

    async def __aenter__(self):
        self._entered, self._closed = True, False
        self.home = Home()
        self.session.timeout = TIMEOUT
        self.session.expires_at = self.heard_at = self.clock() + TIMEOUT
        self._connector = _Pings(
            self.session, [], random=self.random, clock=self.clock, tls=None, read_only=False, changed=self._set_state
        )
        self._connector.client = self
        self._task = ClientTask(self.session, self._connector, self._set_state)
        self._task.start()
        self.store.later(TIMEOUT, self._expire)
        return self

    def fall_silent(self):
        self.silent = True

    def cut(self):
        self.silent = True
        self._set_state(ConnectionState.SUSPENDED)
        for call in self.calls:
            if call.write:
                call.settle(None, ConnectionLoss(path=call.path, maybe_applied=True))

    def mend(self):
        self.silent = False
        self._set_state(ConnectionState.CONNECTED)
        for arrive in self.unsent:
            self.store.later(self.store.delay, arrive)

    def _submit(self, call: Call):
        assert call.op == op.CLOSE_SESSION
        if self._closed or self.session.lost:
            raise self._unusable()
        self.home.check()
        self._start("close", "", self._leave_store, heard=lambda: call.succeed(None))
        return call

    def deliver(self, event):
        self.store.later(self.store.delay, lambda: None if self.silent else event())

    def look_after(self, job):
        super(MemoryClient, self).look_after(job)

    def delete_later(self, path, *, prefix=False):
        super(MemoryClient, self).delete_later(path, prefix=prefix)

    def _start(self, name, path, act, *, write=False, heard=lambda: None):
        if self._closed or self.session.lost:
            raise self._unusable(path)
        self.home.check()
        call, sent_at, delay = VirtualCall(path), self.clock(), self.store.delay
        call.write = write
        self.calls = [each for each in self.calls if not each.done] + [call]
        self.store.requests.append((name, path))

        def arrive():
            if self.silent:
                return
            if self.gone:
                self.store.later(delay, self._told_expired)
                return
            self.heard_at = self.store.clock()
            value = error = None
            try:
                value = act()
            except (NoNode, NodeExists, BadVersion) as failure:
                error = failure
            self.store.later(delay, partial(reply, value, error))

        def reply(value, error):
            if not self.silent and not self.session.lost:
                self.session._acknowledged(sent_at)
                call.settle(value, error)
                heard()

        if self._state is ConnectionState.SUSPENDED:
            self.unsent.append(arrive)
        else:
            self.store.later(delay, arrive)
        return call

    def _expire(self):
        """The server's clock: it heard nothing for the timeout."""
        left = self.heard_at + TIMEOUT - self.store.clock()
        if self.gone:
            return
        if left > 1e-9:
            self.store.later(left, self._expire)
        else:
            self._leave_store()

    def _leave_store(self):
        self.gone = True
        for path in [path for path, (_, stat) in self.store.nodes.items() if stat.ephemeral_owner == self.session.id]:
            self.store.remove(path)

    def _told_expired(self):
        if not self.silent:
            self._connector.end(SessionExpired)

    def _set_state(self, state):
        super()._set_state(state)
        if self.session.lost:
            for call in self.calls:
                call.settle(None, SessionExpired(path=call.path))


class Thread:
    """A thread that is asked, and answers while the loop waits: what code that runs in threads sees."""

    def __init__(self):
        self._questions, self._answers = SimpleQueue(), SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def ask(self, question):
        self._questions.put(question)
        return self._answers.get(timeout=60)

    def close(self):
        self._questions.put(None)
        self._thread.join(60)

    def _serve(self):
        while (question := self._questions.get()) is not None:
            answer = None
            with suppress(Exception):
                answer = question()
            self._answers.put(answer)


def on_virtual_time(backend, delay, scene):
    """Run `scene(store, client, clock)` with one connected client."""

    async def main(clock):
        store = VirtualStore(clock, delay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.carry)
            async with VirtualClient(store) as client:
                await scene(store, client, clock)
            tasks.cancel_scope.cancel()

    run(backend, main)
