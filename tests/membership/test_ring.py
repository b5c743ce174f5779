"""Consistent hashing: the same owners everywhere, even shares, few moves."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.errors import BadArguments
from recipes.membership import HashRing

EXPECTED = "aaccbcaccbabaccaaaaaacccccabbaab"
KEYS = [f"key-{number}" for number in range(100)]
names = st.text(min_size=1, max_size=8)
weights = st.dictionaries(names, st.sampled_from([0.5, 1, 2]), min_size=1, max_size=8)


def owners(ring):
    return {key: ring.owner(key) for key in KEYS}


def test_owners_are_the_same_in_every_process():
    """What these were when the ring was first released: they must never change."""
    ring = HashRing(["a", "b", "c"])
    assert "".join(ring.owner(f"key-{number}") for number in range(32)) == EXPECTED
    script = (
        "from recipes.membership import HashRing; ring = HashRing(['c', 'a', 'b']);"
        "print(''.join(ring.owner(f'key-{n}') for n in range(32)))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        assert done.stdout.strip() == EXPECTED


@given(weights, names, st.sampled_from([0.5, 1, 2]))
def test_a_member_that_comes_or_goes_moves_its_own_keys_only(members, newcomer, weight):
    members.pop(newcomer, None)
    ring = HashRing(members)
    before = owners(ring) if members else {}
    ring.add(newcomer, weight)
    after = owners(ring)
    assert all(owner in (before.get(key), newcomer) for key, owner in after.items())
    assert after == owners(HashRing({newcomer: weight, **members}))  # the order does not matter
    ring.remove(newcomer)
    assert not members or owners(ring) == before


@given(weights, names)
def test_more_weight_only_takes_and_less_only_gives(members, chosen):
    ring = HashRing({**members, chosen: 1})
    before = owners(ring)
    ring.add(chosen, 2)
    heavier = owners(ring)
    assert all(owner in (before[key], chosen) for key, owner in heavier.items())
    ring.add(chosen, 1)
    assert owners(ring) == before and ring.weights[chosen] == 1


@given(weights, st.integers(0, 10), st.sampled_from(KEYS))
def test_several_owners_are_different_and_begin_with_the_first(members, n, key):
    ring = HashRing(members)
    found = ring.owners(key, n)
    assert len(found) == len(set(found)) == min(n, len(members)) and set(found) <= set(members)
    assert not n or found[0] == ring.owner(key)
    if len(found) > 1:  # the next takes over
        ring.remove(found[0])
        assert ring.owner(key) == found[1]


@pytest.mark.parametrize("count", [2, 5, 20])
def test_shares_are_even_and_follow_the_weights(count):
    keys = 20_000
    ring = HashRing([f"10.0.0.{number}:8080" for number in range(count)])
    shares = Counter(ring.owner(b"%d" % number) for number in range(keys))
    assert all(0.7 < share * count / keys < 1.3 for share in shares.values()) and len(shares) == count
    ring.add("heavy", 3)
    share = sum(ring.owner(b"%d" % number) == "heavy" for number in range(keys)) / keys
    assert 0.8 < share / (3 / (count + 3)) < 1.2


def test_a_ring_without_members_and_what_is_none():
    ring = HashRing()
    assert len(ring) == 0 and ring.owners("a", 2) == []
    with pytest.raises(LookupError, match="no members"):
        ring.owner("a")
    with pytest.raises(KeyError):
        ring.remove("a")
    ring.add("a")
    ring.add("a")
    assert list(ring) == ["a"] and "a" in ring and ring.owners("x", 3) == ["a"]
    assert HashRing(["a", "a"]).owners("x", 3) == ["a"]
    for weight in (0, -1, float("nan"), float("inf"), True, "1"):
        with pytest.raises(BadArguments, match="weight="):
            ring.add("b", weight)
    for points in (0, True, 1.5):
        with pytest.raises(BadArguments, match="points="):
            HashRing(points=points)
    with pytest.raises(BadArguments, match="n="):
        ring.owners("a", -1)
    for member in (1, b"a", None):
        with pytest.raises(TypeError, match="member: expected a string"):
            ring.add(member)
    with pytest.raises(TypeError, match="the string 'abc'"):
        HashRing("abc")
    assert list(ring) == ["a"]
