import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.tree.sessions import SessionIds, SessionTracker, password_matches, session_password

TICK = 2000


@pytest.mark.parametrize(
    ("session_id", "password"),
    [
        (0x01000012515B0000, "0703eab788c56436bd16c16311c58265"),
        (0x01000012515B0002, "e1c0f5b7482ea6acd390f20c6ab359cb"),
        (0x1000018AB6B0000, "97904306d86b7568cdc6035ce11bd632"),
    ],
)
def test_password_is_the_one_apache_gives(session_id, password):
    assert session_password(session_id).hex() == password
    assert password_matches(session_id, bytes.fromhex(password))


@pytest.mark.parametrize("wrong", [b"", bytes(16), session_password(8), session_password(7)[:15]])
def test_another_password_does_not_match(wrong):
    assert not password_matches(7, wrong)


def test_session_0_has_no_password():
    assert not password_matches(0, session_password(0))


def test_secret_makes_another_password_for_every_id_and_secret():
    found = {session_password(session_id, secret) for session_id in (-7, 7, 8) for secret in (None, b"a", b"b")}
    assert len(found) == 9
    assert {len(password) for password in found} == {16}
    assert password_matches(-7, session_password(-7, b"a"), b"a")
    assert not password_matches(-7, session_password(-7), b"a")


def test_ids_have_the_server_on_top_and_count_from_the_clock():
    ids = SessionIds(0x12515B, 1)
    assert [ids.next(), ids.next()] == [0x0100_0012_515B_0000, 0x0100_0012_515B_0001]


def test_the_clock_never_reaches_the_servers_byte():
    assert SessionIds((1 << 64) - 1, 2).next() == 0x02FF_FFFF_FFFF_0000


def test_ids_of_a_high_server_are_negative():
    assert SessionIds(1, 0x80).next() == 0x8000_0000_0001_0000 - (1 << 64)


def test_no_id_is_the_mark_of_a_container():
    assert SessionIds(0, 0x80).next() == -(1 << 63) + 1


def test_session_lives_to_the_boundary_after_its_timeout():
    tracker = SessionTracker(TICK)
    tracker.add(1, 4000, 1)
    tracker.add(2, 4000, 2000)  # ends on a boundary, so one tick later
    assert tracker.expired(5999) == []
    assert tracker.expired(6000) == [1]
    assert tracker.expired(7999) == []
    assert tracker.expired(8000) == [2]


def test_touch_prolongs_and_is_nothing_for_an_unknown_session():
    tracker = SessionTracker(TICK)
    tracker.add(1, 4000, 0)
    tracker.touch(1, 3000)
    tracker.touch(99, 3000)
    assert 99 not in tracker
    assert tracker.buckets() == [(8000, [1])]


def test_touch_within_a_tick_changes_nothing():
    tracker = SessionTracker(TICK)
    tracker.add(1, 4000, 0)
    tracker.add(2, 4000, 0)
    tracker.touch(1, 1999)
    assert tracker.buckets() == [(6000, [1, 2])]


def test_expired_reports_once_and_keeps_the_session_until_it_is_removed():
    tracker = SessionTracker(TICK)
    tracker.add(1, 4000, 0)
    assert tracker.expired(60_000) == [1]
    assert tracker.expired(60_000) == []
    assert 1 in tracker
    tracker.remove(1)
    tracker.remove(1)
    assert 1 not in tracker
    assert len(tracker) == 0


def test_expired_is_in_order_of_the_ends():
    tracker = SessionTracker(TICK)
    for session_id, timeout_ms in ((1, 9000), (2, 4000), (3, 6000), (-4, 4000)):
        tracker.add(session_id, timeout_ms, 0)
    assert tracker.expired(60_000) == [2, -4, 3, 1]


def test_closing_session_is_known_but_neither_expires_nor_comes_back():
    tracker = SessionTracker(TICK)
    tracker.add(1, 4000, 0)
    tracker.mark_closing(1)
    tracker.touch(1, 3000)  # in another bucket than before
    tracker.rearm(9000)
    assert (1 in tracker, tracker.is_closing(1), tracker.is_closing(2)) == (True, True, False)
    assert tracker.buckets() == []
    assert tracker.expired(60_000) == []


def test_adding_again_changes_the_timeout():
    tracker = SessionTracker(TICK)
    tracker.add(1, 4000, 0)
    tracker.add(1, 30_000, 0)
    assert tracker.timeouts() == {1: 30_000}
    assert tracker.buckets() == [(32_000, [1])]


def test_rearm_gives_everyone_a_full_timeout_even_past_the_end():
    tracker = SessionTracker(TICK)
    tracker.add(1, 4000, 0)
    tracker.add(2, 10_000, 0)
    tracker.rearm(100_000)
    assert tracker.buckets() == [(106_000, [1]), (112_000, [2])]


STEP = st.tuples(
    st.sampled_from(["add", "touch", "close", "remove", "expire"]), st.integers(1, 4), st.integers(0, 5000)
)


@given(st.lists(STEP, max_size=60))
def test_nobody_expires_before_its_timeout_or_later_than_a_tick_after(steps):
    tracker, now, heard, gone = SessionTracker(TICK), 0, {}, set()
    for what, session_id, pause in steps:
        now += pause
        if what == "add" and session_id not in gone:
            tracker.add(session_id, 4000, now)
            heard[session_id] = now
        elif what == "touch" and session_id in heard:
            tracker.touch(session_id, now)
            heard[session_id] = now
        elif what in ("close", "remove"):
            (tracker.mark_closing if what == "close" else tracker.remove)(session_id)
            heard.pop(session_id, None)
            gone.add(session_id)
        elif what == "expire":
            ended = tracker.expired(now)
            assert all(now - heard[session_id] > 4000 - 1 for session_id in ended)
            for session_id in ended:
                del heard[session_id]
                tracker.mark_closing(session_id)
                gone.add(session_id)
            assert all(now - last < 4000 + TICK for last in heard.values())
