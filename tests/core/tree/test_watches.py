from random import Random

import pytest

from recipes.core.jute.opcodes import (
    EVENT_CHILDREN,
    EVENT_CREATED,
    EVENT_DATA,
    EVENT_DELETED,
    WATCH_ANY,
    WATCH_CHILDREN,
    WATCH_DATA,
    WATCH_PERSISTENT,
    WATCH_PERSISTENT_RECURSIVE,
)
from recipes.core.tree.watches import WatchTable

KINDS = (WATCH_CHILDREN, WATCH_DATA, WATCH_ANY, WATCH_PERSISTENT, WATCH_PERSISTENT_RECURSIVE)


@pytest.fixture
def table():
    return WatchTable()


def by_watcher(table):
    return {watcher: list(watched) for watcher, watched in table.by_watcher()}


def is_empty(table):
    return (table.total, table.summary(), dict(table.by_path()), by_watcher(table)) == (0, (0, 0, 0), {}, {})


def test_nobody_hears_when_nobody_watches(table):
    assert not table.fire_created(b"/a")
    assert not table.fire_deleted(b"/a")
    assert not table.fire_data_changed(b"/a")


def test_data_watch_fires_once_for_each_kind_of_event(table):
    for fire, event in (
        (table.fire_created, EVENT_CREATED),
        (table.fire_data_changed, EVENT_DATA),
        (table.fire_deleted, EVENT_DELETED),
    ):
        table.add_data(b"/a", "w")
        table.add_data(b"/a", "w")  # arming again is the same watch
        assert fire(b"/a") == [("w", event, b"/a")]
        assert not fire(b"/a")
    assert is_empty(table)


def test_child_watch_fires_on_the_list_of_children_not_on_data(table):
    table.add_child(b"/a", "w")
    assert not table.fire_data_changed(b"/a")
    assert not table.fire_data_changed(b"/a/b")
    assert not table.fire_created(b"/a/b/c")
    assert table.fire_created(b"/a/b") == [("w", EVENT_CHILDREN, b"/a")]
    assert is_empty(table)


def test_child_watch_on_the_root(table):
    table.add_child(b"/", "w")
    assert table.fire_deleted(b"/a") == [("w", EVENT_CHILDREN, b"/")]


def test_child_watch_hears_of_the_deletion_of_its_own_znode(table):
    table.add_child(b"/a", "w")
    assert table.fire_deleted(b"/a") == [("w", EVENT_DELETED, b"/a")]


def test_both_watches_on_a_deleted_znode_give_one_event_and_are_both_spent(table):
    table.add_data(b"/a", "w")
    table.add_child(b"/a", "w")
    table.add_child(b"/a", "other")
    assert table.fire_deleted(b"/a") == [("w", EVENT_DELETED, b"/a"), ("other", EVENT_DELETED, b"/a")]
    assert is_empty(table)


def test_deletion_is_told_before_the_parents_change(table):
    table.add_child(b"/a", "parent")
    table.add_data(b"/a/b", "child")
    assert table.fire_deleted(b"/a/b") == [("child", EVENT_DELETED, b"/a/b"), ("parent", EVENT_CHILDREN, b"/a")]


def test_watchers_hear_in_the_order_they_registered(table):
    names = [f"w{(number * 7) % 20}" for number in range(20)]
    for name in names:
        table.add_data(b"/a", name)
    assert [watcher for watcher, _, _ in table.fire_data_changed(b"/a")] == names


def test_persistent_watch_stays_and_hears_everything_at_its_path_alone(table):
    table.add_persistent(b"/a", "w", False)
    for _ in range(2):
        assert table.fire_created(b"/a") == [("w", EVENT_CREATED, b"/a")]
        assert table.fire_data_changed(b"/a") == [("w", EVENT_DATA, b"/a")]
        assert table.fire_created(b"/a/b") == [("w", EVENT_CHILDREN, b"/a")]
        assert not table.fire_data_changed(b"/a/b")
        assert table.fire_deleted(b"/a") == [("w", EVENT_DELETED, b"/a")]


def test_recursive_watch_hears_of_all_below_but_never_of_child_lists(table):
    table.add_persistent(b"/a", "w", True)
    for path in (b"/a", b"/a/b", b"/a/b/c"):
        assert table.fire_created(path) == [("w", EVENT_CREATED, path)]
        assert table.fire_data_changed(path) == [("w", EVENT_DATA, path)]
        assert table.fire_deleted(path) == [("w", EVENT_DELETED, path)]
    assert not table.fire_created(b"/ab")  # a longer name is not below


def test_recursive_watch_on_the_root_covers_all(table):
    table.add_persistent(b"/", "w", True)
    assert table.fire_created(b"/x/y") == [("w", EVENT_CREATED, b"/x/y")]


def test_watcher_hears_once_though_several_of_its_watches_cover_the_path(table):
    table.add_persistent(b"/", "w", True)
    table.add_persistent(b"/a", "w", True)
    table.add_persistent(b"/a/b", "w", False)
    table.add_data(b"/a/b", "w")
    table.add_child(b"/a/b", "w")
    assert table.fire_data_changed(b"/a/b") == [("w", EVENT_DATA, b"/a/b")]
    assert table.fire_deleted(b"/a/b") == [("w", EVENT_DELETED, b"/a/b")]


def test_a_fired_one_shot_leaves_the_persistent_watch_on_its_path(table):
    table.add_persistent(b"/a", "w", False)
    table.add_data(b"/a", "w")
    assert table.has(b"/a", "w", WATCH_DATA)
    for _ in range(2):
        assert table.fire_data_changed(b"/a") == [("w", EVENT_DATA, b"/a")]
    assert not table.has(b"/a", "w", WATCH_DATA)
    assert table.has(b"/a", "w", WATCH_PERSISTENT)


@pytest.mark.parametrize(
    ("arm", "kinds"),
    [
        (lambda table: table.add_data(b"/a", "w"), {WATCH_DATA, WATCH_ANY}),
        (lambda table: table.add_child(b"/a", "w"), {WATCH_CHILDREN, WATCH_ANY}),
        (lambda table: table.add_persistent(b"/a", "w", False), {WATCH_PERSISTENT, WATCH_ANY}),
        (lambda table: table.add_persistent(b"/a", "w", True), {WATCH_PERSISTENT_RECURSIVE, WATCH_ANY}),
    ],
)
def test_each_kind_is_found_and_removed_as_itself_or_as_any(arm, kinds):
    for kind in KINDS:
        table = WatchTable()
        arm(table)
        assert table.has(b"/a", "w", kind) is (kind in kinds)
        assert not table.has(b"/a", "other", kind)
        assert not table.has(b"/b", "w", kind)
        assert table.remove(b"/a", "w", kind) is (kind in kinds)
        assert is_empty(table) is (kind in kinds)


def test_removing_one_kind_leaves_the_others(table):
    table.add_data(b"/a", "w")
    table.add_child(b"/a", "w")
    table.add_persistent(b"/a", "w", False)
    table.add_persistent(b"/a", "w", True)
    for kind in (WATCH_DATA, WATCH_CHILDREN, WATCH_PERSISTENT):
        assert table.remove(b"/a", "w", kind)
        assert not table.remove(b"/a", "w", kind)
        assert table.has(b"/a", "w", WATCH_PERSISTENT_RECURSIVE)
    assert table.remove(b"/a", "w", WATCH_ANY)
    assert is_empty(table)


def test_registering_a_recursive_watch_twice_needs_one_removal(table):
    table.add_persistent(b"/a", "w", True)
    table.add_persistent(b"/a", "w", True)
    assert table.remove(b"/a", "w", WATCH_PERSISTENT_RECURSIVE)
    assert not table.fire_created(b"/a/b")


def test_forgetting_a_watcher_leaves_the_others(table):
    for watcher in ("gone", "stays"):
        table.add_data(b"/a", watcher)
        table.add_child(b"/b", watcher)
        table.add_persistent(b"/c", watcher, True)
        table.add_persistent(b"/d", watcher, False)
    assert not table.forget("gone", 3)  # of four paths
    assert table.forget("gone", 3)
    assert table.forget("gone", 3)
    assert by_watcher(table) == {"stays": [b"/a", b"/c", b"/d"]}
    assert table.fire_created(b"/c/x") == [("stays", EVENT_CREATED, b"/c/x")]
    assert table.forget("stays", 100)
    assert is_empty(table)


def test_counts_show_data_watches_and_the_total_both(table):
    table.add_data(b"/a", "one")
    table.add_data(b"/a", "two")
    table.add_data(b"/b", "one")
    table.add_child(b"/c", "three")
    assert table.summary() == (2, 2, 3)
    assert table.total == 4
    assert dict(table.by_path()) == {b"/a": ["one", "two"], b"/b": ["one"]}
    assert by_watcher(table) == {"one": [b"/a", b"/b"], "two": [b"/a"]}


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_watches_is_kept_as_a_plain_list_of_them_would_be(seed):
    random, table, kept = Random(seed), WatchTable(), {}  # (path, watcher, kind) -> None, in order
    paths, kinds = (b"/a", b"/b"), KINDS[:2] + KINDS[3:]
    arms = {
        WATCH_DATA: table.add_data,
        WATCH_CHILDREN: table.add_child,
        WATCH_PERSISTENT: lambda path, watcher: table.add_persistent(path, watcher, False),
        WATCH_PERSISTENT_RECURSIVE: lambda path, watcher: table.add_persistent(path, watcher, True),
    }
    for _ in range(200):
        path, watcher, kind = random.choice(paths), random.choice("xyz"), random.choice(kinds)
        step = random.randrange(5)
        if step < 2:
            arms[kind](path, watcher)
            kept[path, watcher, kind] = None
        elif step == 2:
            assert table.remove(path, watcher, kind) == ((path, watcher, kind) in kept)
            kept.pop((path, watcher, kind), None)
        elif step == 3:
            heard = {one for at, one, kind in kept if at == path and kind != WATCH_CHILDREN}
            assert {one for one, _, _ in table.fire_data_changed(path)} == heard
            kept = {each: None for each in kept if each[::2] != (path, WATCH_DATA)}
        elif not random.randrange(4):
            while not table.forget(watcher, 1):
                pass
            kept = {each: None for each in kept if each[1] != watcher}
        for at in paths:
            for one in "xyz":
                assert [table.has(at, one, kind) for kind in kinds] == [(at, one, kind) in kept for kind in kinds]
                assert table.has(at, one, WATCH_ANY) == any((at, one, kind) in kept for kind in kinds)
        assert {one: table.count_of(one) for one in "xyz"} == {
            one: len({at for at, other, _ in kept if other == one}) for one in "xyz"
        }
