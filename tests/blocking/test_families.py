"""Each family of recipes for threads, once, on a real server."""

import threading
from itertools import islice

import anyio
import pytest
from pydantic import BaseModel

import recipes
from recipes import BadArguments, EventType, LeadershipLost, LockLost, NodeExists, NoNode
from recipes.blocking import Barrier, CountDownLatch, DoubleBarrier, Election, LeaderLatch, Lock, Queue, connect
from tests.blocking.conftest import SECONDS, Worker, until


class Job(BaseModel):
    number: int


def test_the_client_does_what_the_async_one_does(client, root):
    assert client.create(root, b"1") == root
    with pytest.raises(NodeExists):
        client.create(root)
    data, stat = client.get(root)
    assert (data, stat.version) == (b"1", 0)
    assert client.set(root, b"2", stat.version).version == 1
    client.ensure_path(f"{root}/a/b")
    assert (client.children(root), client.count_descendants(root)) == (["a"], 2)
    assert client.exists(f"{root}/c") is None
    with client.multi() as multi:
        multi.check(root, 1)
        multi.create(f"{root}/c", ephemeral=True)
        multi.delete(f"{root}/a/b")
    assert multi.results == [None, f"{root}/c", None]
    with pytest.raises(NoNode), client.multi() as multi:
        multi.delete(f"{root}/d")
    assert client.ephemerals(root) == [f"{root}/c"]
    assert client.multi_read(("children", path) for path in [root])[0] == ["a", "c"]
    acl, stat = client.get_acl(root)
    assert client.set_acl(root, acl, stat.aversion).aversion == 1
    client.add_auth("digest", "user:password")
    assert "digest" in [who.scheme for who in client.who_am_i()]
    client.sync(root)
    client.delete_later(f"{root}/c")
    until(lambda: client.exists(f"{root}/c") is None)
    assert next(client.states()) is client.state
    assert list(client.states(within=0.01)) == [client.state]


def test_watches_wait_in_the_thread_that_asks_and_end_in_time(client, root):
    stat, watch = client.exists_watch(root)
    assert stat is None
    with pytest.raises(TimeoutError):
        watch.wait(within=0.01)
    with client.watch(root, recursive=True, within=0.01) as events, client.node_view(root) as view:
        assert list(events) == []
        client.create(root, b"1")
        assert watch.wait(within=SECONDS).type is EventType.CREATED
        assert view.wait_until(lambda node: node and node.data, within=SECONDS) == b"1"
        client.set(root, b"2")
        with pytest.raises(TimeoutError):
            view.wait_until(lambda node: None, within=0.01)
        client.sync(root)
        assert [event.type for event in events] == [EventType.CREATED, EventType.DATA_CHANGED]
    client.get_watch(root)[2].cancel()
    client.children_watch(root)[1].cancel()
    with client.children_view(root) as names:
        names.wait_current(within=SECONDS)
        assert (names.value, names.current, names.error) == ([], True, None)


def test_threads_of_one_client_exclude_one_another_and_a_thread_does_not_wait_for_itself(client, root):
    inside = 0

    def work() -> None:
        nonlocal inside
        for _ in range(5):
            with lock as grant:
                inside += 1
                assert inside == 1
                fences.append(grant.fence)
                inside -= 1

    lock, fences = Lock(client, root), []
    for worker in [Worker(work) for _ in range(4)]:
        worker.finish()
    assert len(set(fences)) == 20
    assert fences == sorted(fences)
    with lock as grant:
        for again in (lock, Lock(client, root), lock.try_acquire(within=SECONDS)):
            with pytest.raises(RuntimeError, match="thread 'MainThread' is inside the lock"), again:
                pass
        with pytest.raises(RuntimeError, match="inside the lock"):
            lock.acquire()
        assert [who.path for who in lock.holders()] == [grant.path]
        worker = Worker(lambda: lock.acquire(within=SECONDS))
        until(lock.waiters)
        assert not grant.ended.wait(0)
    assert grant.ended.wait(0)
    assert (grant.why, grant.lost) == ("released", False)
    of_worker = worker.finish()
    of_worker.release()  # by another thread than the one that has it
    with lock:
        pass


def test_a_lock_that_is_not_to_be_had_in_time(client, root, our_server):
    lock = Lock(client, root)
    with connect(our_server.hosts) as other, Lock(other, root):
        with lock.try_acquire(within=0.05) as grant:
            assert grant is None
        with lock.try_acquire() as grant:
            assert grant is None
        with pytest.raises(TimeoutError):
            lock.acquire(within=0.05)
        until(lambda: not lock.waiters())
        with pytest.raises(BadArguments, match="within=-1"):
            lock.try_acquire(within=-1)
    with lock.try_acquire(within=SECONDS) as grant:
        assert grant is not None


def test_an_exception_of_the_body_releases_and_goes_on_as_it_is(client, root):
    lock = Lock(client, root)
    for error in (ValueError("of the body"), StopIteration(), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as caught, lock:
            raise error
        assert caught.value is error
        assert error.__cause__ is None
    assert lock.holders() == []


def test_an_election(client, root, our_server):
    election = Election(client, root, b"here")
    with election.lead() as term:
        leader = election.leader()
        assert leader is not None
        assert (leader.data, leader.fence) == (b"here", term.fence)
        assert [who.data for who in election.candidates()] == [b"here"]
        with pytest.raises(RuntimeError, match="inside the election"), election.try_lead():
            pass
        with connect(our_server.hosts) as other, Election(other, root).try_lead(within=0.05) as none:
            assert none is None
        assert next(election.observe(within=SECONDS)) == leader
        term.resign()
        assert term.ended.is_set()
    terms = []

    def lead(term: recipes.Term) -> None:
        assert threading.current_thread() is threading.main_thread()
        if terms:
            raise InterruptedError
        terms.append(term)
        client.delete(term.path)  # as an operator breaks it
        assert term.ended.wait(SECONDS)

    with pytest.raises(InterruptedError):
        election.run(lead)
    assert terms[0].lost


def test_a_latch_that_leads_announces_and_hands_over(client, root, our_server):
    with connect(our_server.hosts) as other:
        with LeaderLatch(client, root, b"one") as one:
            term = one.wait_leader(within=SECONDS)
            assert one.is_leader and one.term is not None and one.term.fence == term.fence
            with LeaderLatch(other, root, b"two", weight=3) as two:
                with pytest.raises(TimeoutError):
                    two.wait_leader(within=0.05)
                assert list(two.changes(within=0.01)) == [False]
                term.announce(b"going")
                line = Election(client, root).candidates()
                assert [(each.data, each.weight) for each in line] == [(b"going", 0), (b"two", 3)]
                assert term.transfer(line[1]) is True
                assert two.wait_leader(within=SECONDS).fence > term.fence
                until(lambda: len(Election(client, root).candidates()) == 2)  # it stands again, behind
            one.wait_leader(within=SECONDS)
            one.stop()
            assert list(one.changes()) == [False] and not one.is_leader
        with pytest.raises(RuntimeError, match="was started already"):
            one.start()
    with pytest.raises(LeadershipLost, match="stood down"), Election(client, root, min_hold=0.0).lead() as led:
        worker = Worker(lambda: client_leads(our_server.hosts, root))
        assert led.ended.wait(SECONDS)
    worker.finish()


def client_leads(hosts: str, root: str) -> None:
    with connect(hosts) as client, Election(client, root, weight=1).lead():
        pass


def test_a_gate_and_a_latch(client, root):
    gate = Barrier(client, f"{root}/gate")
    client.create(root)
    assert gate.create()
    worker = Worker(lambda: gate.wait(within=SECONDS))
    with pytest.raises(TimeoutError):
        gate.wait(within=0.01)
    assert gate.remove()
    worker.finish()
    latch = CountDownLatch(client, f"{root}/latch", 2)
    worker = Worker(lambda: latch.wait(within=SECONDS))
    assert [latch.count_down("a"), latch.count_down("a")] == [True, False]
    with pytest.raises(TimeoutError):
        latch.wait(within=0.01)
    assert latch.remaining() == 1
    latch.count_down()
    worker.finish()
    latch.remove()


def test_rounds_of_threads(client, root):
    barrier = DoubleBarrier(client, root, 2, within=SECONDS)

    def work() -> list[int]:
        numbers = []
        for _ in range(2):
            with barrier as entered:
                assert len(entered.members) == 2
                assert not entered.broken.wait(0)
                numbers.append(entered.number)
                with pytest.raises(RuntimeError, match="inside the barrier"), barrier:
                    pass
        return numbers

    assert [worker.finish() for worker in [Worker(work), Worker(work)]] == [[1, 2], [1, 2]]
    alone = DoubleBarrier(client, root, 2, within=0.05)
    with pytest.raises(TimeoutError), alone:
        pass


def test_a_queue(client, root):
    queue = Queue[Job](client, root, max_deliveries=2, retry_delay=0)
    assert queue.put(Job(number=1), key="one")
    assert not queue.put(Job(number=1), key="one")
    queue.put_many(Job(number=number) for number in (2, 3, 4))
    with pytest.raises(ValueError, match="of the body"), queue.receive() as message:
        raise ValueError("of the body")
    with queue.try_receive(within=SECONDS) as message:
        assert (message.data, message.attempt, message.key) == (Job(number=1), 2, "one")
        message.extend()
        with client.multi() as multi:
            message.check(multi)
            multi.create(f"{root}-done")
        message.release()
    assert (queue.size(), queue.counts(), queue.peek()) == (4, (4, 0, 0), [Job(number=1)])
    assert queue.age() >= 0
    with pytest.raises(KeyError), queue.receive():
        raise KeyError
    assert [number for _, _, number in queue.dead_letters.reasons()] == [2]
    assert queue.dead_letters.redrive() == 1
    done = []

    def work(count: int) -> None:
        for message in islice(messages, count):
            with message:
                done.append(message.data.number)

    with queue.consume(concurrency=2, prefetch=2, within=SECONDS) as messages:
        for worker in [Worker(lambda: work(2)) for _ in range(2)]:
            worker.finish()
        queue.put(Job(number=5))
        work(1)
        messages.drain(within=SECONDS)
    assert sorted(done) == [1, 2, 3, 4, 5]
    with queue.consume(within=0.01) as nothing:
        assert list(nothing) == []
    with queue.try_receive() as message:
        assert message is None
    with pytest.raises(TimeoutError):
        queue.take(within=0.01)
    queue.put(Job(number=6))
    assert queue.take(within=SECONDS) == Job(number=6)
    assert queue.purge() == 0


def test_a_client_of_the_wrong_kind_is_named(root, client):
    for recipe in (Lock, Election, LeaderLatch, Barrier, Queue):
        with pytest.raises(TypeError, match=r"expected one of recipes\.blocking\.connect\(\), not <Client not conn"):
            recipe(recipes.connect(), root)
    for recipe in (DoubleBarrier, CountDownLatch):
        with pytest.raises(TypeError, match="expected one of"):
            recipe(recipes.connect(), root, 2)


def test_where_an_event_loop_runs_it_says_to_use_the_async_names(client, root):
    async def main() -> None:
        with pytest.raises(RuntimeError, match="use the async names of `recipes`"):
            client.exists(root)
        with pytest.raises(RuntimeError, match="use the async names"), connect(private=True):
            pass
        with pytest.raises(RuntimeError, match="use the async names"), Lock(client, root):
            pass
        assert await anyio.to_thread.run_sync(client.exists, root) is None

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)


def test_a_client_is_used_inside_its_block(our_server, root):
    client = connect(our_server.hosts)
    lock = Lock(client, root)
    with pytest.raises(recipes.ClientClosed, match="with connect"), lock:
        pass
    with client:
        with lock:
            pass
        with pytest.raises(RuntimeError, match="entered once"), client:
            pass
        lock.acquire()
    with pytest.raises(recipes.ClientClosed), lock:
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "recipes-client"]


def test_a_client_that_closes_tells_the_bodies_of_other_threads_first(our_server, root):
    told = threading.Event()

    def work() -> None:
        with lock as grant:
            entered.set()
            assert grant.ended.wait(SECONDS)
            assert client.session_id  # it still is open: nobody else has been let in
            told.set()

    def wait() -> None:
        with lock:
            pass

    entered = threading.Event()
    with connect(our_server.hosts) as client:
        lock = Lock(client, root)
        worker = Worker(work)
        assert entered.wait(SECONDS)
        waiting = Worker(wait)
        until(lock.waiters)
    assert told.is_set()
    for each in (worker, waiting):
        with pytest.raises(LockLost, match="the client was closed"):
            each.finish()
