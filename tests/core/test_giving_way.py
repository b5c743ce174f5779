from recipes.core.giving_way import FIRST_PAUSE_TICKS, MOST_PAUSE_TICKS, GivingWay

TICK_MS = 10


def test_pauses_between_two_times_grow_up_to_the_longest():
    it, now_ms, pauses = GivingWay(TICK_MS), 5, []
    assert it.may(1, now_ms)
    for _ in range(6):
        it.gave_way(1, now_ms)
        last_ms = now_ms
        while not it.may(1, now_ms):
            now_ms += TICK_MS
        pauses.append((now_ms - last_ms) // TICK_MS)
    assert pauses == [200, 400, 800, 1600, 1600, 1600]
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE_TICKS, MOST_PAUSE_TICKS)


def test_servers_do_not_wait_for_one_another():
    it = GivingWay(TICK_MS)
    it.gave_way(1, 0)
    assert not it.may(1, 1) and it.may(2, 1)
