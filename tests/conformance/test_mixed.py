"""Our servers and Apache ZooKeeper's in one ensemble, each kind leading in turn: clients see one store.

Raw connections compare bytes; each server is asked for a `sync` before it is compared.
"""

from __future__ import annotations

import select
import struct
import time
from typing import NamedTuple

import pytest

from tests.wire import OPEN_ACL, Wire

pytestmark = pytest.mark.apache

SECONDS = 60.0
SHORT_MS = 1000  # the shortest session that servers with tickTime 500 grant
REAPING = {"znode.container.checkIntervalMs": 300}
EPHEMERAL = 1
NO_NODE, NO_AUTH, NODE_EXISTS, BAD_VERSION = -101, -102, -110, -103
CREATED, DELETED, CHANGED, CHILD = 1, 2, 3, 4


class Cast(NamedTuple):
    """An ensemble, and which kind leads it."""

    kinds: tuple[str, ...]
    leader: str
    observers: tuple[str, ...] = ()

    def __str__(self) -> str:
        seen = f" observed by {self.observers[0]}" if self.observers else ""
        return f"{'-'.join(self.kinds)}{seen} led by {self.leader}"


# Each kind leads, follows and observes the other in the first two; the rest are for who has the time to start them.
CASTS = [
    Cast(("ours", "apache", "ours"), "ours", ("apache",)),
    Cast(("apache", "ours", "apache"), "apache", ("ours",)),
]
MORE_CASTS = [
    Cast(("ours", "apache", "ours"), "ours"),
    Cast(("ours", "apache", "ours"), "apache"),
    Cast(("apache", "ours", "apache"), "ours"),
    Cast(("apache", "ours", "apache"), "apache"),
    Cast(("apache", "apache", "apache"), "apache", ("ours",)),
    Cast(("ours", "ours", "ours"), "ours", ("apache",)),
]


@pytest.fixture(
    scope="module", params=[*CASTS, *(pytest.param(cast, marks=pytest.mark.thorough) for cast in MORE_CASTS)], ids=str
)
def ensemble(request, start_ensemble):
    cast: Cast = request.param
    with start_ensemble(*cast.kinds, observers=cast.observers, **REAPING) as started:
        if cast.leader not in {started.kinds[started.leader()]}:
            started.make_leader(next(sid for sid in started.voters if started.kinds[sid] == cast.leader))
        assert started.kinds[started.leader()] == cast.leader
        yield started


@pytest.fixture
def clients(ensemble, wire):
    """A raw connection with a session of its own to each server, by its sid."""
    return {sid: wire(ensemble.port(sid)) for sid in ensemble.servers}


def sync(client: Wire) -> None:
    assert client.call(9, client.text("/"))[0] == 0


def read(client: Wire, path: str) -> tuple[int, bytes]:
    """Data and Stat as they come off the wire."""
    return client.call(4, client.text(path) + b"\0")


def write(client: Wire, path: str, data: bytes, version: int = -1) -> int:
    return client.call(5, client.text(path) + client.text(data) + struct.pack(">i", version))[0]


def delete(client: Wire, path: str) -> int:
    return client.call(2, client.text(path) + struct.pack(">i", -1))[0]


def read_everywhere(clients: dict[int, Wire], path: str) -> tuple[int, bytes]:
    """What every server answers, which is the same."""
    for client in clients.values():
        sync(client)
    answers = {sid: read(client, path) for sid, client in clients.items()}
    assert len(set(answers.values())) == 1, answers
    return answers[1]


def wait_until_gone(client: Wire, path: str) -> None:
    """By an exists watch, unless it is gone already."""
    error, _ = client.call(3, client.text(path) + b"\1")
    if error == 0:
        assert await_event(client) == (DELETED, client.text(path))


def await_event(client: Wire) -> tuple[int, bytes]:
    """The next watch event: what has come already, or what comes before the answer to anything else."""
    if not client.events:
        payload = client.receive()
        assert struct.unpack_from(">i", payload)[0] == -1
        client.events.append((struct.unpack_from(">i", payload, 16)[0], payload[28 - 4 :]))
    kind, path = client.events.pop(0)
    return kind, path


# What clients see.


def test_writes_through_each_are_read_from_each(ensemble, clients, root):
    for sid, client in clients.items():
        path = f"{root}-{sid}"
        assert client.create(path, b"new") == 0
        assert write(client, path, f"by {sid}".encode()) == 0
        error, answer = read_everywhere(clients, path)
        assert error == 0 and f"by {sid}".encode() in answer
    first = f"{root}-1"
    for client in clients.values():
        assert client.create(f"{first}/n-", flags=2) == 0
    error, answer = read_everywhere(clients, first)
    assert error == 0 and struct.unpack_from(">i", answer, len(answer) - 12)[0] == len(clients)
    for client in clients.values():
        error, names = client.call(8, client.text(first) + b"\0")
        assert error == 0 and names.count(b"n-000000000") == len(clients)


def test_a_session_moves_with_its_ephemerals(ensemble, clients, wire, root):
    session = wire(ensemble.port(1))
    assert session.create(root, flags=EPHEMERAL) == 0
    for sid in [*ensemble.servers, *ensemble.servers]:
        moved = wire(ensemble.port(sid), session=session.session)
        assert moved.session_id == session.session_id
        assert write(moved, root, f"on {sid}".encode()) == 0
        # Where it was, it is no more: the old connection is closed, or its write refused and then closed.
        with pytest.raises((EOFError, OSError)):
            assert write(session, root, b"from the old connection") != 0
            session.receive()
        session.close()
        session = moved
    assert read_everywhere(clients, root)[0] == 0
    session.close_session()
    assert read_everywhere(clients, root)[0] == NO_NODE
    for sid in ensemble.servers:
        over = wire(ensemble.port(sid), session=session.session)
        assert over.timeout_ms == 0


def test_ephemerals_go_everywhere_when_their_sessions_expire(ensemble, clients, wire, root):
    """On each server one client falls silent and one goes on; a watch on another server tells of it."""
    waiting, alive = {}, {}
    for sid, watcher in clients.items():
        other = sid % len(clients) + 1
        silent = wire(ensemble.port(other), timeout_ms=SHORT_MS)
        assert silent.create(f"{root}-{other}", flags=EPHEMERAL) == 0
        alive[other] = wire(ensemble.port(other), timeout_ms=5 * SHORT_MS)  # a loaded machine stands still for long
        assert alive[other].create(f"{root}-alive-{other}", flags=EPHEMERAL) == 0
        sync(watcher)
        assert watcher.call(3, watcher.text(f"{root}-{other}") + b"\1")[0] == 0
        waiting[watcher] = f"{root}-{other}"
        silent.close()
    deadline = time.monotonic() + SECONDS
    while waiting:
        assert time.monotonic() < deadline
        told = select.select([watcher.sock for watcher in waiting], [], [], SHORT_MS / 5000)[0]
        for sid, client in alive.items():  # at the pace of a client's pings
            try:
                client.post(11, xid=-2)
                assert client.reply()[2] == 0
            except (EOFError, OSError):  # ours hang up while the leader has not been heard for a tick: come back
                alive[sid] = wire(ensemble.port(sid), timeout_ms=5 * SHORT_MS, session=client.session)
        for watcher in [watcher for watcher in waiting if watcher.sock in told]:
            assert await_event(watcher) == (DELETED, watcher.text(waiting.pop(watcher)))
    for sid in clients:
        assert read_everywhere(clients, f"{root}-{sid}")[0] == NO_NODE
        assert read_everywhere(clients, f"{root}-alive-{sid}")[0] == 0
        alive[sid].close_session()
        assert read_everywhere(clients, f"{root}-alive-{sid}")[0] == NO_NODE


def test_watches_fire_on_each_for_writes_on_another(ensemble, clients, root):
    sids = list(clients)
    for at, sid in enumerate(sids):
        watcher, writer = clients[sid], clients[sids[at - 1]]
        path = f"{root}-{sid}"
        assert watcher.call(3, watcher.text(path) + b"\1")[0] == NO_NODE
        assert writer.create(path) == 0
        assert await_event(watcher) == (CREATED, watcher.text(path))
        assert watcher.call(4, watcher.text(path) + b"\1")[0] == 0
        assert watcher.call(8, watcher.text(path) + b"\1")[0] == 0
        assert writer.create(f"{path}/child") == 0
        assert await_event(watcher) == (CHILD, watcher.text(path))
        assert write(writer, path, b"x") == 0
        assert await_event(watcher) == (CHANGED, watcher.text(path))
        assert watcher.call(3, watcher.text(f"{path}/child") + b"\1")[0] == 0
        assert delete(writer, f"{path}/child") == 0
        assert await_event(watcher) == (DELETED, watcher.text(f"{path}/child"))


def test_acls_hold_on_each(ensemble, clients, wire, root):
    auth = struct.pack(">i", 0) + Wire.text("digest") + Wire.text("ben:secret")
    only_me = struct.pack(">ii", 1, 31) + Wire.text("auth") + Wire.text("")
    for sid in ensemble.servers:
        owner, path = wire(ensemble.port(sid)), f"{root}-{sid}"
        assert owner.call(100, auth)[0] == 0
        assert owner.call(1, owner.text(path) + owner.text("x") + only_me + struct.pack(">i", 0))[0] == 0
        for other in clients.values():
            sync(other)
            assert read(other, path)[0] == NO_AUTH
            assert write(other, path, b"y") == NO_AUTH
        owner.close_session()
    for sid in ensemble.servers:
        owner = wire(ensemble.port(sid))
        assert owner.call(100, auth)[0] == 0
        for of in ensemble.servers:
            assert write(owner, f"{root}-{of}", f"by {sid}".encode()) == 0
            error, acl = owner.call(6, owner.text(f"{root}-{of}"))
            assert error == 0 and b"ben:" in acl
        owner.close_session()


def multi(client: Wire, *operations: tuple[int, bytes]) -> tuple[int, bytes]:
    body = b"".join(struct.pack(">i?i", op, False, -1) + record for op, record in operations)
    return client.call(14, body + struct.pack(">i?i", -1, True, -1))


def test_a_multi_is_all_or_nothing_on_each(ensemble, clients, root):
    text = Wire.text
    for sid, client in clients.items():
        path = f"{root}-{sid}"
        create = (1, text(path) + text("x") + OPEN_ACL + struct.pack(">i", 0))
        child = (1, text(f"{path}/a") + text("x") + OPEN_ACL + struct.pack(">i", 0))
        change = (5, text(path) + text("two") + struct.pack(">i", 0))
        assert multi(client, create, child, change, (13, text(path) + struct.pack(">i", 1)))[0] == 0
        error, answer = read_everywhere(clients, path)
        assert error == 0 and answer.startswith(text("two"))
        again = (5, text(path) + text("three") + struct.pack(">i", 1))
        stale = (2, text(f"{path}/a") + struct.pack(">i", 7))
        error, answer = multi(client, again, stale, again)
        errors = [struct.unpack_from(">i", answer, at + 5)[0] for at in range(0, 39, 13)]
        assert error == 0 and errors == [0, BAD_VERSION, -2]
        assert read_everywhere(clients, path)[1].startswith(text("two"))
        assert read_everywhere(clients, f"{path}/a")[0] == 0


def test_containers_and_ttls_are_removed_everywhere(ensemble, clients, root):
    text = Wire.text
    for sid, client in clients.items():
        box, mortal = f"{root}-box-{sid}", f"{root}-ttl-{sid}"
        assert client.call(19, text(box) + text("") + OPEN_ACL + struct.pack(">i", 4))[0] == 0
        ttl = struct.pack(">iq", 5, 1)
        assert client.call(21, text(mortal) + text("") + OPEN_ACL + ttl)[0] == 0
        assert client.create(f"{box}/child") == 0
        assert delete(client, f"{box}/child") == 0
    for sid in clients:
        for client in clients.values():
            wait_until_gone(client, f"{root}-box-{sid}")
            wait_until_gone(client, f"{root}-ttl-{sid}")


def test_all_have_the_same_tree_and_saw_the_same_digests(ensemble, clients):
    """Last of those above, on the same ensemble: every txn they made was checked by every server."""
    ensemble.wait_synced()
    ensemble.assert_same()
    assert len({ensemble.mntr(sid)["zk_znode_count"] for sid in ensemble.servers}) == 1
