"""A store in memory with the client's interface, in which every request is a place to cancel or to lose a reply."""

import asyncio
import random
from functools import partial
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from recipes.core.client.client import Client
from recipes.core.client.multi import Outcome
from recipes.core.client.session import ConnectionState, EventType, WatchEvent
from recipes.core.errors import BadVersion, ConnectionLoss, NodeExists, NoNode, SessionExpired


class MemoryStore:
    """The znodes, and the faults that a test has ordered."""

    def __init__(self):
        self.nodes = {}  # path -> (data, stat)
        self.zxid = 0
        self.counters = {}
        self.watches = []
        self.requests = []
        self.lose_reply = None  # number of the request whose reply is lost
        self.lose_request = False  # then the request itself is lost, too

    def client(self):
        return MemoryClient(self)

    def names(self, path):
        return sorted(name[len(path) + 1 :] for name in self.nodes if name.rpartition("/")[0] == path)

    def changed(self, path, parent=None):
        """A znode has changed, and, if `parent` is given, also the parent's children."""
        for watch in [each for each in self.watches if each.path == path or (each.children and each.path == parent)]:
            self.watches.remove(watch)
            watch.fire()

    def remove(self, path):
        if path not in self.nodes:
            raise NoNode(path)
        del self.nodes[path]
        self.zxid += 1
        self.changed(path, path.rpartition("/")[0])


class MemoryWatch:
    def __init__(self, client, path, children=False):
        self.client, self.store, self.path, self.fired = client, client.store, path, anyio.Event()
        self.children, self.event = children, None
        self.store.watches.append(self)

    async def wait(self):
        await self.fired.wait()
        return self.event

    def fire(self):
        kind = EventType.CHILDREN_CHANGED if self.children else EventType.DATA_CHANGED
        self.event = WatchEvent(kind if self.path in self.store.nodes else EventType.DELETED, self.path)
        self.client.deliver(self.fired.set)

    def cancel(self):
        if self in self.store.watches:
            self.store.watches.remove(self)


class MemoryCouple:
    """Two watches of which the first event counts."""

    def __init__(self, *watches):
        self.watches = watches

    async def wait(self):
        return await self.watches[0].wait()

    def cancel(self):
        for watch in self.watches:
            watch.cancel()


class MemoryMulti:
    """A multi: all its changes are made, or none."""

    def __init__(self, client):
        self.client, self.changes, self.results = client, [], []

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        if kind is None:
            outcome = await self.start().result()
            self.results = outcome.results
            if outcome.error is not None:
                raise outcome.error

    def create(self, path, data=b"", *, ephemeral=False, sequential=False, container=False, acl=None):
        self.changes.append((path, lambda: self.client._create(path, data, ephemeral, sequential)[0]))

    def set(self, path, data, version=-1):
        self.changes.append((path, lambda: self.client._set(path, data, version)))

    def delete(self, path, version=-1):
        self.changes.append((path, lambda: self.client.store.remove(path)))

    def check(self, path, version=-1):
        self.changes.append((path, lambda: self.client._get(path) and None))

    def start(self, heard=None, *, guards=()):
        for path in reversed(guards):
            self.changes.insert(0, (path, lambda path=path: self.client._get(path) and None))
        call = self.client._start("multi", self.changes[0][0], self.apply, write=True)
        if heard is not None:
            heard(call)
        return call

    def apply(self):
        store, results, quiet = self.client.store, [], []
        before, changed = dict(store.nodes), store.changed
        store.changed = lambda *paths: quiet.append(paths)
        try:
            for number, (_, change) in enumerate(self.changes):
                try:
                    results.append(change())
                except (NoNode, NodeExists, BadVersion) as error:
                    store.nodes = before
                    quiet.clear()
                    return Outcome([], number, error)
        finally:
            store.changed = changed
        for paths in quiet:
            store.changed(*paths)
        return Outcome(results, -1, None)


class MemoryDeletionWatch(MemoryWatch):
    def __init__(self, client, path, gone, seen):
        super().__init__(client, path)
        self.gone, self.seen, self.is_set = gone, seen, True

    def fire(self):
        if self.path in self.store.nodes:
            self.store.watches.append(self)
            if self.seen is not None:
                self.client.deliver(lambda: self.gone and self.seen(self.store.nodes[self.path][1]))
        else:
            self.client.deliver(self.tell)

    def tell(self):
        gone, self.gone = self.gone, None
        if gone is not None:
            gone()

    def cancel(self):
        super().cancel()
        self.gone = None


class MemoryCall:
    """A request that has been carried out; its reply is on the way."""

    def __init__(self, client, path, answer, error):
        self.client, self.path, self.value, self.error = client, path, answer, error
        self.done = self.abandoned = False
        client.pending.append(self)

    async def result(self):
        if not self.done:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
        self.client.replied(self)
        if self.error is not None:
            raise self.error
        return self.value


class MemoryClient(Client):
    """A client whose requests reach the store at once, and whose replies take two turns of the loop."""

    sessions = 0

    def __init__(self, store):
        super().__init__(None, session_timeout=15)
        MemoryClient.sessions += 1
        self.store = store
        self.random = random.Random(MemoryClient.sessions)
        self.session.id = MemoryClient.sessions
        self.pending = []
        self._entered, self._closed = True, False
        self._state = ConnectionState.CONNECTED

    def deliver(self, event):
        """Send a watch's event, which arrives later."""
        event()

    def replied(self, call):
        """Replies come in the order of the requests; without a session there are none."""
        while not call.done:
            earlier = self.pending.pop(0)
            earlier.done = True

    def lose_session(self):
        self.session.end(SessionExpired)
        self.session.unsent.clear()
        for call in self.pending:
            call.value, call.error, call.done = None, SessionExpired(path=call.path), True
        self.pending.clear()
        for path in [path for path, (_, stat) in self.store.nodes.items() if stat.ephemeral_owner == self.session.id]:
            self.store.remove(path)

    def _start(self, name, path, act, *, write=False):
        if self.session.lost:
            raise SessionExpired(path=path)
        self.send()
        self.store.requests.append((name, path))
        lost = write and len(self.store.requests) == self.store.lose_reply
        answer, error = None, None
        if not (lost and self.store.lose_request):
            try:
                answer = act()
            except (NoNode, NodeExists, BadVersion) as failure:
                error = failure
        if lost:
            error = ConnectionLoss(path=path, maybe_applied=True)
        return MemoryCall(self, path, answer, error)

    async def _request(self, name, path, act, *, write=False):
        return await self._start(name, path, act, write=write).result()

    def _create(self, path, data, ephemeral, sequential):
        parent = path.rpartition("/")[0]
        if parent and parent not in self.store.nodes:
            raise NoNode(path)
        if sequential:
            counter = self.store.counters.get(parent, 0)
            self.store.counters[parent] = (counter + 1 + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            path = f"{path}{counter:010d}"
        if path in self.store.nodes:
            raise NodeExists(path)
        self.store.zxid += 1
        stat = SimpleNamespace(
            czxid=self.store.zxid,
            ephemeral_owner=self.session.id if ephemeral else 0,
            ctime=self.store.zxid,
            version=0,
            data_length=len(data),
        )
        self.store.nodes[path] = (data, stat)
        self.store.changed(path, parent)
        return path, stat

    def start_create(self, path, data=b"", *, ephemeral=False, sequential=False, acl=None):
        return self._start("create2", path, lambda: self._create(path, data, ephemeral, sequential), write=True)

    def start_children(self, path):
        return self._start("children", path, lambda: (self._get(path), self.store.names(path))[1])

    def start_multi_read(self, reads):
        def read(kind, path):
            try:
                return self._get(path) if kind == "get" else (self._get(path), self.store.names(path))[1]
            except NoNode as error:
                return error

        reads = list(reads)
        return self._start("multi_read", reads[0][1], lambda: [read(kind, path) for kind, path in reads])

    def multi(self):
        return MemoryMulti(self)

    async def create(self, path, *, container=False, acl=None):
        return await self._request("create", path, lambda: self._create(path, b"", False, False)[0], write=True)

    async def create2(self, path, data=b"", *, acl=None, make_parents=False):
        if make_parents and path.rpartition("/")[0]:
            await self.ensure_path(path.rpartition("/")[0])
        return await self._request("create2", path, lambda: self._create(path, data, False, False), write=True)

    def _set(self, path, data, version):
        _, stat = self._get(path)
        if version not in (-1, stat.version):
            raise BadVersion(path)
        self.store.zxid += 1
        stat = SimpleNamespace(**{**vars(stat), "version": stat.version + 1, "data_length": len(data)})
        self.store.nodes[path] = (data, stat)
        self.store.changed(path)
        return stat

    async def set(self, path, data, version=-1):
        return await self._request("set", path, lambda: self._set(path, data, version), write=True)

    def look_after(self, job):
        spawn(job)

    async def ensure_path(self, path, *, container=False):
        parts = path.split("/")
        for end in range(2, len(parts) + 1):
            try:
                await self.create("/".join(parts[:end]), container=container)
            except NodeExists:
                continue

    async def delete(self, path):
        await self._request("delete", path, lambda: self.store.remove(path), write=True)

    def start_delete(self, path, heard):
        """It leaves with the next request, and at the latest in the next turn of the loop."""
        deletion = SimpleNamespace(path=path, heard=heard)
        self.session.unsent.append(deletion)

        async def next_turn():
            self.send()

        spawn(next_turn)
        return deletion

    def send(self):
        """Send what waits for the next request."""
        while self.session.unsent:
            each = self.session.unsent.popleft()
            each.heard(self._start("delete", each.path, partial(self.store.remove, each.path), write=True))

    def _get(self, path):
        if path not in self.store.nodes:
            raise NoNode(path)
        return self.store.nodes[path]

    async def get(self, path):
        return await self._request("get", path, lambda: self._get(path))

    async def exists(self, path):
        return await self._request("exists", path, lambda: self.store.nodes.get(path, (None, None))[1])

    async def sync(self, path):
        await self._request("sync", path, lambda: None)

    async def children(self, path):
        return await self.start_children(path).result()

    def watch_deletion(self, path, gone, seen=None):
        self._start("watch_deletion", path, lambda: None)
        watch = MemoryDeletionWatch(self, path, gone, seen)
        if path not in self.store.nodes:
            watch.cancel()
            gone()
        return watch

    async def _watched(self, name, path, act, other=None):
        watch = None

        def read():
            nonlocal watch
            answer = act()
            watch = MemoryWatch(self, path, name == "children_watch")
            if other is not None:
                watch.fired = other.fired
            return answer

        try:
            answer = await self._request(name, path, read)
        except BaseException:
            for each in (watch, other):
                if each is not None:
                    each.cancel()
            raise
        return answer, watch if other is None else MemoryCouple(other, watch)

    async def exists_watch(self, path, *, watch=None):
        return await self._watched("exists_watch", path, lambda: self.store.nodes.get(path, (None, None))[1], watch)

    async def children_watch(self, path, *, watch=None):
        return await self._watched("children_watch", path, lambda: (self._get(path), self.store.names(path))[1], watch)

    async def get_watch(self, path):
        (data, stat), watch = await self._watched("get_watch", path, lambda: self._get(path))
        return data, stat, watch

    def delete_later(self, path, czxid=None, *, prefix=False):
        for found in [name for name in self.store.nodes if name == path or (prefix and name.startswith(path))]:
            self.store.remove(found)


def spawn(work):
    """A task without a task group, like those of fixtures, frameworks and the client."""
    try:
        task = asyncio.get_running_loop().create_task(work())
    except RuntimeError:
        import trio

        return trio.lowlevel.spawn_system_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


_tasks = set()


@pytest.fixture
def store():
    return MemoryStore()
