from random import Random

import pytest

from recipes.core.tree import children as rooms
from recipes.core.tree.children import Children


@pytest.mark.parametrize("seed", range(10))
def test_children_are_listed_in_order_of_creation_whatever_comes_and_goes(seed):
    random, children, places = Random(seed), Children(), {}
    for number in range(5 * rooms._BLOCK):
        if places and random.random() < 0.4:
            gone = random.choice(list(places))
            children.remove(gone, places.pop(gone))
        else:
            places[b"/%d" % number] = children.add(b"/%d" % number)
        assert (children.paths(), children.count) == (list(places), len(places))


def test_blocks_that_are_empty_are_not_kept():
    children = Children()
    places = {b"/%d" % number: children.add(b"/%d" % number) for number in range(4 * rooms._BLOCK)}
    for path, place in list(places.items())[:-1]:
        children.remove(path, place)
    assert len(list(children.blocks())) == 2  # the first and the last
    assert children.paths() == [path for path in places][-1:]


def test_a_child_that_its_parent_does_not_know_is_no_error():
    children = Children()
    children.add(b"/a")
    for number in (0, 7):
        children.remove(b"/b", number)
    assert (children.paths(), children.count) == ([b"/a"], 1)


def test_children_that_come_and_go_while_the_blocks_are_listed_move_no_others():
    children = Children()
    old = {b"/%d" % number: children.add(b"/%d" % number) for number in range(3 * rooms._BLOCK)}
    listed: list[bytes] = []
    for turn, block in enumerate(children.blocks()):
        listed += block
        children.remove(b"/%d" % turn, old[b"/%d" % turn])
        for number in range(2 * rooms._BLOCK):
            children.add(b"/new/%d/%d" % (turn, number))
    assert [path for path in listed if path in old] == list(old)
