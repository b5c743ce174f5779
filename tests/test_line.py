"""The one rule of who holds what, against a plain model of locks, readers, writers and permits."""

from hypothesis import given
from hypothesis import strategies as st

from recipes.line import ALL, fence_of, holding, id_of, in_order, kind_of, permits_of, place_behind, standing

LOCKS = ("lock-", "read-", "write-", "permits-")


def name(kind, number):
    return f"_r_{number:016x}-{kind}-{number:010d}"


def line(kinds):
    return [name(kind, number) for number, kind in enumerate(kinds)]


exclusive = st.lists(st.just("lock"), max_size=8)
readers_and_writers = st.lists(st.sampled_from(["read", "write", "lock"]), max_size=12)
permits = st.lists(st.integers(1, 4).map(lambda count: f"permits-{count}"), max_size=12)


@given(exclusive)
def test_of_a_lock_the_first_holds_and_each_other_watches_the_one_in_front(kinds):
    order = line(kinds)
    for place, each in enumerate(order):
        assert standing(each, order) == (place == 0, order[place - 1] if place else "")


@given(readers_and_writers)
def test_u10_readers_hold_together_a_writer_alone_and_only_those_in_front_count(kinds):
    order = line(kinds)
    for place, each in enumerate(order):
        front = kinds[:place]
        may = not front if kinds[place] != "read" else all(kind == "read" for kind in front)
        found = standing(each, order)
        assert found.holds == may
        assert found == standing(each, order[: place + 1])  # nobody behind counts
        if not may:  # the last one in front that cannot hold together with it
            last = max(
                at for at, kind in enumerate(front) if "read" not in (kind, kinds[place]) or kind != kinds[place]
            )
            assert found.behind == order[last]


@given(permits, st.integers(1, 10))
def test_u11_permits_are_what_live_znodes_in_front_leave(kinds, limit):
    order = line(kinds)
    counts = [int(kind.partition("-")[2]) for kind in kinds]
    holders = 0
    for place, each in enumerate(order):
        fits = sum(counts[: place + 1]) <= limit
        assert standing(each, order, limit, limit).holds == fits
        holders += fits
    assert holding(order, limit) == holders
    assert sum(counts[:holders]) <= limit


@given(st.one_of(exclusive, readers_and_writers, permits), st.integers(4, 10), st.integers(0, 5), st.data())
def test_whoever_waits_is_told_of_every_change_that_lets_it_in(kinds, limit, above, data):
    """What is watched must have changed when the next look would say yes: no wake-up is missed."""
    order = line(kinds)
    limit = limit if kinds and kinds[0].startswith("permits") else ALL
    most = limit + above if limit != ALL else ALL
    for place, each in enumerate(order):
        found = standing(each, order, limit, most)
        if found.holds or limit == ALL or found.behind == "":
            continue
        left = data.draw(st.sets(st.sampled_from(order[:place])))
        later = [other for other in order if other not in left]
        if standing(each, later, limit, most).holds and found.behind not in left:
            # The one in front has not left, so it got its turn, which it had not before, and gives a sign of that.
            assert standing(found.behind, later, limit, most).holds
            assert sum(map(permits_of, order[:place])) > most


@given(readers_and_writers, st.data())
def test_a_lock_that_may_go_on_was_told(kinds, data):
    order = line(kinds)
    for place, each in enumerate(order):
        found = standing(each, order)
        if not found.holds:
            left = data.draw(st.sets(st.sampled_from(order[:place])))
            later = [other for other in order if other not in left]
            if standing(each, later).holds:
                assert found.behind in left


@given(permits, st.integers(4, 10), st.integers(4, 10), st.data())
def test_holders_keep_what_they_have_when_the_limit_goes_down(kinds, limit, smaller, data):
    """One that held under a limit before is never taken for one that certainly waits."""
    order = line(kinds)
    most = max(limit, smaller)
    held = [each for each in order if standing(each, order, limit, most).holds]
    left = data.draw(st.sets(st.sampled_from(order))) if order else set()
    later = [each for each in order if each not in left]
    for each in later:
        behind = standing(each, later, smaller, most).behind
        alone = behind and permits_of(behind) + permits_of(each) > smaller
        assert behind not in held or alone


def test_one_that_is_not_in_line_holds_nothing():
    assert standing("gone", line(["read"])) == (False, "")


@given(st.sampled_from(["lock", "read", "write", "permits-3"]), st.integers(-(2**31), 2**31 - 1))
def test_all_kinds_of_locks_are_in_one_order(kind, number):
    names = [f"_r_ab-{kind}-{number:010d}"]
    assert in_order(names, LOCKS) == names
    assert in_order(names, "lead-") == []
    assert kind_of(names[0]) == kind.partition("-")[0]
    assert permits_of(names[0]) == {"read": 1, "permits-3": 3}.get(kind, ALL)


@given(st.integers(1, 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_reader_in_the_place_of_a_writer_inherits_its_place_and_fence(fence, number):
    writer = f"_r_00ff-write-{number:010d}"
    reader = place_behind(writer, "read", fence)
    assert reader.endswith(f"-read-{number:010d}") and kind_of(reader) == "read"
    assert fence_of(reader) == fence and fence_of(writer) == 0
    assert id_of(reader, "read-").startswith("00ff.")
    assert in_order([reader, f"_r_x-write-{(number + 1 + 2**31) % 2**32 - 2**31:010d}"], LOCKS)[0] == reader
