"""Clocks are aligned by messages alone, whatever they show and however long messages take."""

import random

import pytest

from recipes.lab.clocks import Limits, align, line_between

SECOND = 1_000_000


def talk(chance: random.Random, ahead_us: int, drift: float, seconds: int, least_us: int = 100) -> Limits:
    """Messages both ways between a, whose clock is right, and b; each takes `least_us` at least, most take longer."""

    def of_b(time_us: int) -> int:
        return time_us + ahead_us + round(time_us * drift)

    limits = Limits()
    for _ in range(200):
        sent = chance.randrange(seconds * SECOND)
        came = sent + least_us + int(chance.expovariate(1 / 400))
        if chance.random() < 0.5:
            limits.most.append((sent, of_b(came) - sent))
        else:
            limits.least.append((came, of_b(sent) - came))
    return limits


@pytest.mark.parametrize("seed", range(20))
def test_what_a_clock_is_ahead_is_found(seed):
    chance = random.Random(seed)
    ahead_us, drift = chance.randrange(-(10**12), 10**12), chance.uniform(-2e-4, 2e-4)
    line = line_between(talk(chance, ahead_us, drift, 60))
    for time_us in (0, 30 * SECOND, 60 * SECOND):
        found = line.ahead_us + (time_us - line.since_us) * line.drift
        assert found == pytest.approx(ahead_us + time_us * drift, abs=300)
    assert 0 < line.room_us


def test_clocks_that_run_alike_are_not_said_to_drift():
    assert line_between(talk(random.Random(1), 5_000, 0.0, 60)).drift == 0.0


def test_messages_of_one_direction_say_that_they_took_no_time():
    line = line_between(Limits(most=[(0, 700), (10, 500)]))
    assert (line.ahead_us, line.room_us) == (500, float("inf"))
    assert line_between(Limits(least=[(0, -700), (10, -500)])).ahead_us == -500


def test_clocks_that_run_unevenly_are_known_as_such():
    limits = Limits(most=[(0, 100), (SECOND, 100), (2 * SECOND, 100)], least=[(SECOND, 50_000), (2 * SECOND, 0)])
    assert line_between(limits).room_us < 0


def test_servers_that_never_spoke_are_compared_over_others():
    chance = random.Random(3)
    limits = {(0, 1): talk(chance, 2 * SECOND, 1e-4, 60), (1, 2): talk(chance, -5 * SECOND, -3e-5, 60)}
    clocks, off_us = align(4, limits, 0)
    assert clocks[3] is None
    assert off_us[0] == 0 < off_us[1] < off_us[2] < 1000
    for time_us in (0, 60 * SECOND):
        of_1 = time_us + 2 * SECOND + round(time_us * 1e-4)
        of_2 = of_1 - 5 * SECOND - round(of_1 * 3e-5)
        for clock, shows in ((clocks[1], of_1), (clocks[2], of_2)):
            assert clock is not None
            assert clock.at(shows) == pytest.approx(time_us, abs=600)
    # The other way round it is the same.
    backwards, _ = align(3, {(0, 1): limits[0, 1], (1, 2): limits[1, 2]}, 2)
    first = backwards[0]
    assert first is not None
    assert first.at(30 * SECOND) == pytest.approx(30 * SECOND - 3 * SECOND + 3000 - 960, abs=600)
