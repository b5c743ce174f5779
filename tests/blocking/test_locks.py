"""Read/write locks, semaphores, several locks at once and one lock several times, for threads."""

import pytest

from recipes import BadArguments, LeadershipLost, LockLost, NodeExists
from recipes.blocking import Election, Lock, MultiLock, ReadWriteLock, ReentrantLock, Semaphore, connect
from tests.blocking.conftest import SECONDS, Worker, until


def test_readers_are_inside_together_and_a_writer_goes_on_reading(client, root):
    rw = ReadWriteLock(client, root)
    with rw.write() as grant:
        reader = Worker(lambda: rw.acquire_read(within=SECONDS))
        until(rw.waiters)
        with pytest.raises(RuntimeError, match="is inside the read/write lock"), rw.read():
            pass
        before = grant.path
        grant.downgrade()
        assert grant.reading and grant.path != before and not grant.ended.is_set()
        held = reader.finish()
        assert [who.kind for who in rw.holders()] == ["read", "read"]
    assert Worker(lambda: try_write(rw)).finish() is None
    held.release()
    assert Worker(lambda: try_write(rw)).finish()
    with rw.try_read() as grant:
        assert grant is not None
    rw.acquire_write(within=SECONDS).release()


def try_write(rw):
    with rw.try_write() as grant:
        return grant and grant.fence


def test_permits(client, root):
    semaphore = Semaphore(client, root, 3)
    grant = semaphore.acquire(2)
    assert grant.permits == 2
    taken = Worker(lambda: semaphore.acquire(within=SECONDS)).finish()

    def take_two():
        with semaphore.try_acquire(2, within=0.05) as none:
            return none

    assert Worker(take_two).finish() is None
    waiting = Worker(lambda: semaphore.acquire(2, within=SECONDS))
    until(semaphore.waiters)
    semaphore.resize(5)
    waiting.finish().release()
    taken.release()
    grant.release()
    with semaphore as grant:
        assert (grant.permits, len(semaphore.holders())) == (1, 1)
    with pytest.raises(BadArguments, match="permits=6"):
        semaphore.acquire(6)


def test_writes_that_are_applied_only_while_it_is_held(client, root, our_server):
    lock = Lock(client, root)
    with lock as grant:
        with grant.guarded() as multi:
            multi.create(f"{root}-a")
        assert multi.results == [f"{root}-a"]
        with pytest.raises(NodeExists), grant.guarded() as multi:
            multi.create(f"{root}-a")
    with pytest.raises(LockLost), lock as grant:
        with connect(our_server.hosts) as operator:
            operator.delete(grant.path)
        with pytest.raises(LockLost), grant.guarded() as multi:
            multi.create(f"{root}-b")
        assert client.exists(f"{root}-b") is None


def test_writes_that_are_applied_only_while_a_term_goes_on(client, root):
    with Election(client, root).lead() as term:
        with term.guarded() as multi:
            multi.create(f"{root}-a")
        term.resign()
        with pytest.raises(LeadershipLost), term.guarded() as multi:
            multi.create(f"{root}-b")
    assert (client.exists(f"{root}-a") is None, client.exists(f"{root}-b") is None) == (False, True)


def test_one_that_is_asked_to_give_it_up_sees_it_in_any_thread(client, root):
    lock = Lock(client, root)
    with lock as grant:
        assert not grant.revoke_requested.is_set()
        worker = Worker(lambda: grant.revoke_requested.wait(SECONDS))
        assert [who.revoke_requested for who in lock.revoke()] == [True]
        assert worker.finish() is True
        assert grant.revoke_requested.is_set() and not grant.ended.is_set()


def test_several_locks_at_once_or_none(client, root):
    one, rw, permits = Lock(client, f"{root}/a"), ReadWriteLock(client, f"{root}/b"), Semaphore(client, f"{root}/c", 2)
    both = MultiLock([permits, rw.read(), one])
    with both as grant:
        assert sorted(grant.fences) == [f"{root}/a", f"{root}/b", f"{root}/c"]
        assert grant.grants[f"{root}/c"].permits == 1
        with grant.guarded() as multi:
            multi.check(root)

        def try_all():
            with MultiLock([Lock(client, f"{root}/0"), one]).try_acquire(within=0.05) as none:
                return none

        assert Worker(try_all).finish() is None
        assert client.children(f"{root}/0") == []
    assert (grant.ended.is_set(), grant.why, grant.lost) == (True, "released", False)
    both.acquire(within=SECONDS).release()
    assert one.holders() == rw.holders() == permits.holders() == []
    with pytest.raises(BadArguments, match="locks: expected one or more"):
        MultiLock([])


def test_a_thread_takes_its_lock_again_and_another_thread_waits(client, root):
    lock = ReentrantLock(client, root)
    with lock as outer, lock as inner, lock.try_acquire() as third:
        assert outer.fence == inner.fence == third.fence

        def try_it(owner=None):
            with lock.try_acquire(within=0.05, owner=owner) as grant:
                return grant and grant.fence

        assert Worker(try_it).finish() is None
        assert len(lock.holders()) == 1
    assert lock.holders() == []
    with lock.by("request 7") as grant:
        assert Worker(lambda: try_it("request 7")).finish() == grant.fence
        assert Worker(lambda: try_it("request 8")).finish() is None


def test_a_lock_by_the_names_of_kazoo(client, root):
    with Lock(client, root, naming="kazoo") as grant:
        assert grant.path.endswith("__lock__0000000000")
