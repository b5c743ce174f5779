"""Counters, values, transactions, caches and groups, for threads."""

import pytest
from pydantic import BaseModel

from recipes import ChangeKind, MembershipLost, NoNode
from recipes.blocking import (
    AtomicValue,
    ChildrenCache,
    Counter,
    Group,
    IdGenerator,
    NodeCache,
    SharedValue,
    TreeCache,
    connect,
)
from tests.blocking.conftest import SECONDS, Worker, until


class Settings(BaseModel):
    size: int


def test_threads_add_to_one_counter(client, root):
    counter = Counter(client, root)
    for worker in [Worker(lambda: [counter.add() for _ in range(5)]) for _ in range(4)]:
        worker.finish()
    assert (counter.get(), counter.set(7)) == (20, 20)
    assert (counter.compare_and_set(7, 8), counter.update(lambda n: n * 2)) == (True, (8, 16))
    with pytest.raises(ZeroDivisionError):
        counter.update(lambda n: n // 0)
    ids = IdGenerator(client, f"{root}-ids", block=3)
    found = [each for worker in [Worker(lambda: [next(ids), ids.next()]) for _ in range(4)] for each in worker.finish()]
    assert len(set(found)) == 8


def test_values_of_a_type(client, root):
    value = AtomicValue[Settings](client, root)
    assert value.get() is None
    value.set(Settings(size=1))
    assert value.update(lambda now: Settings(size=now.size + 1)) == (Settings(size=1), Settings(size=2))
    assert value.compare_and_set(Settings(size=1), None) is False
    with SharedValue[Settings](client, root, within=0.05) as shared:
        assert (shared.value, shared.current) == (Settings(size=2), True)
        assert list(shared) == [Settings(size=2)]
        before = shared.version
        value.set(Settings(size=3))
        until(lambda: shared.value == Settings(size=3))
        assert shared.version > before
    with NodeCache[Settings](client, root) as cache:
        assert (cache.value, cache.node.data) == (Settings(size=3), b'{"size":3}')


def test_a_transaction_runs_in_the_thread_that_asks_again_where_others_were_quicker(client, root):
    import threading

    runs = []

    def move(transaction):
        runs.append(threading.current_thread())
        n = int(transaction.get(f"{root}/a"))
        if len(runs) == 1:
            client.set(f"{root}/a", b"5")  # somebody else
        transaction.set(f"{root}/a", b"%d" % (n - 1))
        transaction.create(f"{root}/b", b"1")
        assert transaction.exists(f"{root}/b") and "b" in transaction.children(root)
        return n

    client.create(f"{root}/a", b"9", make_parents=True)
    assert client.atomically(move) == 5
    assert runs == [threading.main_thread()] * 2
    assert (client.get(f"{root}/a")[0], client.get(f"{root}/b")[0]) == (b"4", b"1")
    for error in (KeyError("mine"), KeyboardInterrupt()):

        def fail(transaction, error=error):
            transaction.delete(f"{root}/a")
            raise error

        with pytest.raises(type(error)):
            client.atomically(fail)
    with pytest.raises(NoNode):
        client.atomically(lambda transaction: transaction.get(f"{root}/missing"))

    async def not_here(transaction):
        pass

    with pytest.raises(TypeError, match="expected a plain function"):
        client.atomically(not_here)
    assert client.get(f"{root}/a")[0] == b"4"


def test_parts_of_the_store_in_memory(client, root):
    client.create(f"{root}/a/b", b"1", make_parents=True)
    with TreeCache(client, root) as tree, ChildrenCache(client, f"{root}/a") as children:
        assert tree.paths() == list(tree) == [root, f"{root}/a", f"{root}/a/b"]
        assert (len(tree), f"{root}/a" in tree, list(tree.children(f"{root}/a"))) == (3, True, ["b"])
        assert (children.names(), children["b"].data, len(children)) == (["b"], b"1", 1)
        assert children.parent is not None and dict(children.items())["b"].data == b"1"
        changes = children.changes(initial=True, within=0.05)
        assert [(change.kind, change.path) for change in changes] == [(ChangeKind.ADDED, f"{root}/a/b")]
        client.set(f"{root}/a/b", b"2")
        assert tree.wait_until(lambda cache: cache[f"{root}/a/b"].data == b"2", within=SECONDS)
        assert tree.state == "current" and tree.error is None and tree.refused == {} and tree.stale_since is None
        children.wait_until(lambda cache: cache["b"].data == b"2", within=SECONDS)
        assert [change.kind for change in changes] == [ChangeKind.UPDATED]
        with pytest.raises(TimeoutError):
            tree.wait_until(lambda cache: False, within=0.01)
    assert tree.paths() == [root, f"{root}/a", f"{root}/a/b"]  # as it was read last


def test_a_cache_stays_readable_behind_its_client(root, our_server):
    with connect(our_server.hosts) as client:
        client.create(root, b"1")
        cache = TreeCache(client, root)
        cache.__enter__()
    assert (cache.paths(), cache[root].data, cache.state) == ([root], b"1", "stale")


def test_a_group(client, root, our_server):
    group = Group(client, root)
    assert next(group.watch()) == []
    with group.join(b"one") as member:
        assert [(who.id, who.data) for who in group.members()] == [(member.id, b"one")]
        member.update(b"uno")
        (there,) = next(group.watch(within=SECONDS))
        assert there.data == b"uno"
        member.leave()
        assert group.members() == []
    with pytest.raises(MembershipLost), group.join() as member, connect(our_server.hosts) as operator:
        operator.delete(member.path)
        assert member.ended.wait(SECONDS)
