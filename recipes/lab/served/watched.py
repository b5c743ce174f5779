"""A Replica and its links with a watcher around them: what goes through is told to a Part, and nothing is changed.

It works from outside: classes of the servers may be compiled, and have no subclasses and no replaced methods then.
"""

from collections.abc import Iterator
from typing import Any, cast

from recipes.core.jute.votes import Notification
from recipes.core.outbox import Outbox, PeerLink
from recipes.core.replication import Operation, Ready, Recovered, Replica, ReplicaSettings, ReplicationProtocol
from recipes.lab.served.part import Part, Stream


def watched(protocol: ReplicationProtocol, part: Part) -> ReplicationProtocol:
    """The same protocol; the Replica that it starts is watched."""

    def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
        replica = protocol.start(settings, found, now_ms)
        part.guarded(part.started, settings, found, replica)
        return cast(Replica, WatchedReplica(replica, part))

    return protocol._replace(start=start)


class WatchedLink:
    """One connection: a PeerLink. out: what leaves, once it was told."""

    def __init__(self, link: Any, part: Part, sid: int) -> None:
        self.out: list[bytes | Iterator[bytes]] = []
        self._link = link
        self._part = part
        self._dialled = sid  # -1 where the other end has connected
        self._incoming, self._outgoing = part.stream(), part.stream()

    def __getattr__(self, name: str) -> Any:
        """All else is the link's."""
        return getattr(self._link, name)

    @property
    def _sid(self) -> int:
        sid: int = self._link.sid
        return self._dialled if sid == -1 else sid

    def receive(self, data: bytes) -> None:
        """Take in bytes."""
        part, link = self._part, self._link
        came = part.guarded(part.arrives, link.key, self._incoming, data)
        link.receive(data)
        if came:
            part.guarded(part.came_from, self._sid, came)
        self._check(self._incoming)

    def lost(self) -> None:
        """The socket is closed."""
        self._part.guarded(self._part.gone, self._link.key, self._sid)
        self.out.clear()
        self._link.lost()

    def send(self) -> None:
        """Tell what the link wants to send, and let it leave."""
        out: list[bytes | Iterator[bytes]] = self._link.out
        for item in out:
            if isinstance(item, bytes):
                self._tell(item)
            self.out.append(item if isinstance(item, bytes) else self._told(item))
        out.clear()

    def _told(self, dump: Iterator[bytes]) -> Iterator[bytes]:
        for slice_ in dump:
            self._tell(slice_)
            yield slice_

    def _tell(self, data: bytes) -> None:
        self._part.guarded(self._part.leaves, self._link.key, self._sid, self._outgoing, data)
        self._check(self._outgoing)

    def _check(self, stream: Stream) -> None:
        """A server closes a connection that it cannot read."""
        if stream.misread is not None and not self._link.wants_close:
            self._part.guarded(self._part.misread, stream.misread)


class WatchedReplica:
    """A Replica."""

    def __init__(self, replica: Replica, part: Part) -> None:
        self._replica = replica
        self._part = part
        self._links: dict[int, WatchedLink] = {}

    def __getattr__(self, name: str) -> Any:
        """All else is the Replica's."""
        return getattr(self._replica, name)

    def tick(self) -> None:
        """Do what is due."""
        self._part.guarded(self._part.ticked)
        self._replica.tick()

    def accept(self) -> WatchedLink | None:
        """A server has connected."""
        return self._watch(self._replica.accept(), -1)

    def dialled(self, sid: int) -> WatchedLink | None:
        """The connection asked for is up."""
        return self._watch(self._replica.dialled(sid), sid)

    def _watch(self, link: PeerLink | None, sid: int) -> WatchedLink | None:
        if link is None:
            return None
        self._links = {key: each for key, each in self._links.items() if not each.closed}
        watched = self._links[link.key] = WatchedLink(link, self._part, sid)
        return watched

    def notified(self, sid: int, note: Notification) -> None:
        """A notification has come."""
        self._part.guarded(self._part.notified, sid, note)
        self._replica.notified(sid, note)

    def take_outbox(self) -> Outbox | None:
        """What leaves; it is told before it does."""
        outbox = self._replica.take_outbox()
        if outbox is not None:
            touched: list[Any] = [self._links.get(link.key, link) for link in outbox.touched]
            for link in touched:
                if isinstance(link, WatchedLink):
                    link.send()
            outbox.touched = touched
            self._part.guarded(self._part.turned, outbox.votes)
        return outbox

    def take_ready(self) -> Ready:
        """What goes to the disk and to the Member."""
        ready = self._replica.take_ready()
        if ready.writes:
            self._part.guarded(self._part.decided, ready.writes)
        return ready

    def flushed(self, zxid: int) -> None:
        """Entries are on disk."""
        self._part.guarded(self._part.flushed, zxid)
        self._replica.flushed(zxid)

    def written(self, operation: Operation, last_zxid: int) -> None:
        """An operation is on disk."""
        self._part.guarded(self._part.written, operation)
        self._replica.written(operation, last_zxid)
