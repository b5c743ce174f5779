"""The blocking names offer what the async ones do, with the same arguments."""

import inspect

import pytest

import recipes
from recipes import blocking

COUNTERPARTS = [
    "AtomicValue", "Barrier", "Cache", "Changes", "ChildrenCache", "Client", "CountDownLatch", "Counter", "DeadLetters",
    "DoubleBarrier", "Election", "Ended", "Grant", "Group", "Hold", "IdGenerator", "LeaderLatch", "Lock", "Lockable",
    "Member", "Message", "Messages", "Multi", "MultiGrant", "MultiLock", "NodeCache", "Queue", "ReadWriteLock",
    "ReentrantLock", "Round", "Semaphore", "SemaphoreGrant", "SharedValue", "Term", "Transaction", "TreeCache", "Watch",
    "WatchStream", "WriteGrant", "Coordinator", "EphemeralNode", "GlobalTransaction", "Partition", "Partitioner",
    "Presence", "Provider", "Registration", "ServiceRegistry", "Stay", "Termination",
    "TtlNode",
]  # fmt: skip
NOT_THERE = {
    "Client.start_create": "a thread that does not wait gives the call to another thread",
    "Client.start_children": "as start_create",
    "Client.start_delete": "as start_create",
    "Client.start_multi_read": "as start_create",
    "Multi.start": "as start_create",
    "Multi.count": "for recipes",
    "Multi.extend": "for recipes",
    "Multi.append": "for recipes",
    "Multi.encoded": "for recipes",
    "Multi.size": "for recipes",
    "Client.add_state_listener": "calls back in the event loop; for recipes",
    "Client.watching": "for recipes",
    "Client.bound": "for recipes",
    "Client.watch_creation": "calls back in the event loop; a thread waits for `exists_watch`",
    "Client.watch_deletion": "calls back in the event loop; a thread waits for `exists_watch`",
    "Client.session_scope": "cancels a task; a thread looks at `ended`",
    "Client.look_after": "runs a coroutine; for recipes",
    "Ended.set": "for recipes",
    "Ended.tell": "called in the event loop; for recipes",
    "Ended.listen": "for recipes",
    "Ended.ignore": "for recipes",
    **dict.fromkeys(("Lock.client", "Lockable.client", "Semaphore.client"), "for recipes"),
    "Changes.note": "called by the cache",
    "Watch.join": "for recipes",
    "Watch.fire": "called by the session",
    "WatchStream.fire": "called by the session",
}
OTHER_ARGUMENTS = {
    "Client.node_view": "`changed` would be called in the event loop",
    "Client.children_view": "as node_view",
    "Client.exists_watch": "`watch` is for recipes",
    "Client.get_watch": "`watch` is for recipes",
    "Client.children_watch": "`watch` is for recipes",
    "Ended.wait": "`timeout`, as threading.Event has it",
}
RECIPES = {
    "AtomicValue", "Barrier", "ChildrenCache", "CountDownLatch", "Counter", "DoubleBarrier", "Election", "Group",
    "IdGenerator", "LeaderLatch", "Lock", "MultiLock", "NodeCache", "Queue", "ReadWriteLock", "ReentrantLock",
    "Semaphore", "SharedValue", "TreeCache", "Coordinator", "EphemeralNode", "Partitioner", "ServiceRegistry",
    "Termination", "TtlNode",
}  # fmt: skip


def public(cls: type) -> dict[str, object]:
    return {
        name: member
        for name, member in inspect.getmembers_static(cls)
        if (not name.startswith("_") or (name == "__init__" and cls.__name__ in RECIPES))
    }


def of_tasks(name: str) -> type:
    return getattr(recipes, name)


def arguments(function: object) -> list[tuple[str, object, object]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


def test_every_class_that_waits_has_a_counterpart():
    waiting = {
        name
        for name in recipes.__all__
        if isinstance(cls := getattr(recipes, name), type)
        and any(
            inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
            for _, member in inspect.getmembers_static(cls)
        )
    }
    views = {"ChildrenView", "NodeView"}  # one class, View, for both
    without = {"Call", "SessionScope"}  # what `start_*` and `session_scope` give; see NOT_THERE
    without |= {"FileBranch", "PostgresBranch", "RemoteBranch", "SqlBranch"}  # `enlist` gives what has their methods
    without |= {name for name in recipes.__all__ if name.endswith("Participant")}  # whom a coordinator calls
    assert waiting - views - without <= set(COUNTERPARTS)
    assert set(COUNTERPARTS) | {"Event", "EnlistedBranch", "View", "connect"} == set(blocking.__all__)


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_nothing_is_missing_but_what_has_a_reason(name: str):
    theirs, ours = public(of_tasks(name)), public(getattr(blocking, name))
    assert {f"{name}.{each}" for each in theirs.keys() - ours.keys()} == {
        each for each in NOT_THERE if each.partition(".")[0] == name
    }


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_arguments_are_the_same_but_for_a_limit_of_time(name: str):
    theirs, ours = public(of_tasks(name)), public(getattr(blocking, name))
    for each in theirs.keys() & ours.keys():
        if not callable(theirs[each]) or f"{name}.{each}" in OTHER_ARGUMENTS:
            continue
        expected, found = arguments(theirs[each]), arguments(ours[each])
        if "within" not in inspect.signature(theirs[each]).parameters:
            found = [argument for argument in found if argument[0] != "within"]
        assert found == expected, each


def test_connect_takes_the_same_arguments():
    assert arguments(blocking.connect) == arguments(recipes.connect)


@pytest.mark.parametrize("name", ["ChildrenView", "NodeView"])
def test_a_view_has_what_the_async_one_has(name: str):
    assert set(public(of_tasks(name))) - {"fire"} <= set(public(blocking.View))


@pytest.mark.parametrize("name", blocking.__all__)
def test_every_name_says_what_it_does(name: str):
    found = getattr(blocking, name)
    assert found.__doc__
    assert found.__module__.startswith("recipes.blocking")
    for each, member in public(found).items() if isinstance(found, type) else ():
        if each != "__init__" and (callable(member) or isinstance(member, property)):
            assert member.__doc__, each
