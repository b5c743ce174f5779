"""Figures of a coordinator process, for monitoring."""

from typing import NamedTuple


class CoordinatorStats(NamedTuple):
    """Figures of one process since its coordinator was entered; see `Coordinator.stats`.

    committed, aborted, in_doubt: transactions of its own blocks, by outcome. under_way: those that are not decided.
    unsettled: those that are decided, and not yet proved by every participant. oldest: seconds since the oldest of
    these two kinds began, 0.0 when there is none.

    serving: whether this process now ends what others left. left: transactions of dead coordinators that it found at
    its last look and has not settled. recovered: how many it has settled. away: participants that have not been reached
    since the coordinator was entered.
    """

    committed: int
    aborted: int
    in_doubt: int
    under_way: int
    unsettled: int
    oldest: float
    serving: bool
    left: int
    recovered: int
    away: int = 0

    def prometheus(self) -> str:
        """The figures in Prometheus' text format 0.0.4."""
        outcomes = {"commit": self.committed, "abort": self.aborted, "in doubt": self.in_doubt}
        lines = ["# TYPE recipes_transactions_total counter"]
        lines += [f'recipes_transactions_total{{outcome="{name}"}} {count}' for name, count in outcomes.items()]
        for name, kind, value in (
            ("under_way", "gauge", self.under_way),
            ("unsettled", "gauge", self.unsettled),
            ("oldest_seconds", "gauge", round(self.oldest, 3)),
            ("serving", "gauge", int(self.serving)),
            ("left", "gauge", self.left),
            ("recovered_total", "counter", self.recovered),
            ("participants_away", "gauge", self.away),
        ):
            full = f"recipes_transactions_{name}"
            lines += [f"# TYPE {full} {kind}", f"{full} {value}"]
        return "\n".join(lines) + "\n"
