from benchmarks.comparison import Comparison, Effort
from benchmarks.replicated import failover_points


def test_fail_over_is_compared_by_rounds_and_told_over_all_kills_too(no_generator, tmp_path, capsys):
    comparison = Comparison(["ours", "apache"], tmp_path, Effort(2, 1, 1, 1, 3))
    ours, apache = [[50.0, 40.0, 90.0], [41.0, 42.0, 43.0]], [[600.0, 500.0, 700.0], [610.0, 800.0, 620.0]]
    by_rounds, worst_by_rounds, p50, worst = failover_points(comparison, [ours, apache])
    assert (by_rounds.ours, by_rounds.theirs) == ([50.0, 42.0], [600.0, 620.0])
    assert (worst_by_rounds.ours, worst_by_rounds.theirs) == ([90.0, 43.0], [700.0, 800.0])
    assert (by_rounds.target, worst_by_rounds.target, p50.target, worst.target) == (1.0, 1.0, None, None)
    assert (p50.name, p50.ours, p50.theirs) == ("fail-over, p50 of all 6", [42.5], [615.0])
    assert (worst.name, worst.ours, worst.theirs) == ("fail-over, max of all 6", [90.0], [800.0])
    assert "ours: 40 41 42 43 50 90" in capsys.readouterr().err


def test_a_round_that_was_good_throughout_does_not_hide_the_worst_kill(no_generator, tmp_path):
    comparison = Comparison(["ours", "apache"], tmp_path, Effort(3, 1, 1, 1, 2))
    *_, worst = failover_points(comparison, [[[50.0, 51.0], [52.0, 900.0], [50.0, 52.0]], [[600.0, 610.0]] * 3])
    assert worst.ours == [900.0]
