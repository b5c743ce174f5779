"""kazoo, the threaded client from PyPI, against both servers: its znodes, watches and recipes."""

from __future__ import annotations

import queue
import threading

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
)
from kazoo.protocol.states import KazooState
from kazoo.security import make_digest_acl

SECONDS = 60


@pytest.fixture
def open_kazoo(server):
    opened = []

    def open_one(suffix: str = "", **options):
        client = KazooClient(hosts=server.hosts + suffix, timeout=10, **options)
        client.start(SECONDS)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.stop()
        client.close()


@pytest.fixture
def zk(open_kazoo):
    return open_kazoo()


def test_znodes(zk, root):
    assert zk.create(root, b"one") == root
    with pytest.raises(NodeExistsError):
        zk.create(root)
    assert zk.get(root)[0] == b"one"
    assert zk.set(root, b"two").version == 1
    with pytest.raises(BadVersionError):
        zk.set(root, b"three", version=0)
    zk.create(f"{root}/child")
    assert zk.get_children(root) == ["child"]
    with pytest.raises(NotEmptyError):
        zk.delete(root)
    zk.delete(root, recursive=True)
    assert zk.exists(root) is None
    with pytest.raises(NoNodeError):
        zk.get(root)


def test_watches(zk, root):
    events: queue.Queue = queue.Queue()
    assert zk.exists(root, watch=events.put) is None
    zk.create(root)
    assert events.get(timeout=SECONDS).type == "CREATED"
    zk.get(root, watch=events.put)
    zk.set(root, b"x")
    assert events.get(timeout=SECONDS).type == "CHANGED"
    zk.get_children(root, watch=events.put)
    zk.create(f"{root}/child")
    assert events.get(timeout=SECONDS).type == "CHILD"


def test_ephemerals_and_sequence(open_kazoo, zk, root):
    owner = open_kazoo()
    zk.ensure_path(root)
    names = [owner.create(f"{root}/n-", ephemeral=True, sequence=True) for _ in range(3)]
    assert names == [f"{root}/n-{number:010d}" for number in range(3)]
    assert zk.get(names[0])[1].owner_session_id == owner.client_id[0]
    owner.stop()
    assert zk.get_children(root) == []


def test_lock_and_semaphore(open_kazoo, root):
    first, second = open_kazoo(), open_kazoo()
    held, waiting = first.Lock(root, "first"), second.Lock(root, "second")
    assert held.acquire(timeout=SECONDS)
    assert not waiting.acquire(blocking=False)
    held.release()
    assert waiting.acquire(timeout=SECONDS)
    waiting.release()
    seats = [first.Semaphore(f"{root}-s", max_leases=2) for _ in range(3)]
    assert seats[0].acquire() and seats[1].acquire()
    assert not seats[2].acquire(blocking=False)
    seats[0].release()
    assert seats[2].acquire(timeout=SECONDS)


def test_election(open_kazoo, root):
    led: queue.Queue = queue.Queue()
    threads = []
    for name in ("first", "second"):
        election = open_kazoo().Election(root, name)
        threads.append(threading.Thread(target=election.run, args=(led.put, name)))
        threads[-1].start()
    for thread in threads:
        thread.join(SECONDS)
    assert {led.get_nowait(), led.get_nowait()} == {"first", "second"}


def test_counter_party_queue(zk, root):
    counter = zk.Counter(f"{root}-counter")
    counter += 5
    counter -= 2
    assert counter.value == 3
    party = zk.Party(f"{root}-party", "me")
    party.join()
    assert list(party) == ["me"]
    party.leave()
    assert len(party) == 0
    line = zk.Queue(f"{root}-queue")
    line.put(b"one")
    line.put(b"two")
    assert [line.get(), line.get(), line.get()] == [b"one", b"two", None]


def test_transaction(zk, root):
    zk.create(root, b"x")
    good = zk.transaction()
    good.create(f"{root}/a", b"1")
    good.check(root, 0)
    good.set_data(root, b"y")
    made, checked, stat = good.commit()
    assert (made, checked, stat.version) == (f"{root}/a", True, 1)
    bad = zk.transaction()
    bad.create(f"{root}/b")
    bad.check(root, 7)
    rolled_back, mismatch = bad.commit()
    assert isinstance(rolled_back, RolledBackError)
    assert isinstance(mismatch, BadVersionError)
    assert zk.exists(f"{root}/b") is None


def test_digest_acl(open_kazoo, root):
    owner = open_kazoo(auth_data=[("digest", "bob:secret")])
    owner.create(root, b"private", acl=[make_digest_acl("bob", "secret", all=True)])
    stranger = open_kazoo()
    for forbidden in (
        lambda: stranger.get(root),
        lambda: stranger.set(root, b""),
        lambda: stranger.create(f"{root}/x"),
    ):
        with pytest.raises(NoAuthError):
            forbidden()
    stranger.add_auth("digest", "bob:secret")
    assert stranger.get(root)[0] == b"private"


def test_chroot(open_kazoo, zk, root):
    zk.create(root)
    inside = open_kazoo(root)
    assert inside.create("/below", b"x") == "/below"
    assert zk.get(f"{root}/below")[0] == b"x"


def test_reconnect_keeps_the_session(start_server, root):
    server = start_server("ours")
    client = KazooClient(hosts=server.hosts, timeout=10)
    client.start(SECONDS)
    suspended, connected = threading.Event(), threading.Event()

    def listen(state: str) -> None:
        if state == KazooState.SUSPENDED:
            suspended.set()
        elif state == KazooState.CONNECTED and suspended.is_set():
            connected.set()

    try:
        before = client.client_id
        client.create(root, b"mine", ephemeral=True)
        client.add_listener(listen)
        server.restart()
        assert suspended.wait(SECONDS) and connected.wait(SECONDS)
        assert client.client_id == before
        assert client.get(root)[0] == b"mine"
    finally:
        client.stop()
        client.close()
        server.stop()
