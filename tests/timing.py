"""Prints where a run's time went: the slow tests by name, and the processor time of the tests of a plain `pytest`.

Processor time is what is judged, since a busy machine does not change it much: of the tests, of the servers they start,
of collecting them. It is set against that of a fixed computation on the same machine. What the clock shows is told, and
judges nothing.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict

import pytest

SLOWEST = 10
# Two cores have 480 seconds in the four minutes that a plain `pytest` is to take, and do not always have work: 400 fit.
# It takes 360 with all tools, some 50 less without Java. A machine with more to do than it can adds to it, which the
# yardstick does not show, so that the limit lies higher.
LIMIT_SECONDS = 500.0  # where `yardstick_seconds` is YARDSTICK_SECONDS
YARDSTICK_SECONDS = 0.036


def yardstick_seconds() -> float:
    """Processor time of a fixed computation, the least of a few tries: half as fast a machine takes twice as long."""

    def once() -> float:
        start = time.process_time()
        counts: dict[int, int] = defaultdict(int)
        for number in range(300_000):
            counts[number % 1_000] += number
        return time.process_time() - start

    return min(once() for _ in range(5))


def cpu_seconds() -> float:
    """Processor time of this process, its threads, and its children that have ended."""
    return sum(os.times()[:4])


class Timing:
    """A plugin: measures each test in the process that runs it, and sums up in the process that reports."""

    def __init__(self) -> None:
        self._noted = cpu_seconds()
        self._seconds: dict[str, float] = defaultdict(float)  # by the clock, of set-up, call and tear-down
        self._thorough_cpu = 0.0
        self._default_cpu = 0.0
        self._limit_s = LIMIT_SECONDS

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> object:
        report: pytest.TestReport = yield  # type: ignore[misc]
        now = cpu_seconds()
        report.cpu_seconds, self._noted = now - self._noted, now  # type: ignore[attr-defined]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if "thorough" in report.keywords:
            self._thorough_cpu += report.cpu_seconds  # type: ignore[attr-defined]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Called after the workers have ended, since only then does their processor time count."""
        config = session.config
        self._default_cpu = cpu_seconds() - self._thorough_cpu
        self._limit_s = LIMIT_SECONDS * max(1.0, yardstick_seconds() / YARDSTICK_SECONDS)
        judged = config.getoption("--within-limit") and not hasattr(config, "workerinput")
        if judged and self._is_over and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def _is_over(self) -> bool:
        return self._default_cpu > self._limit_s

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        total = sum(self._seconds.values())
        slowest = sorted(self._seconds.items(), key=lambda item: -item[1])[:SLOWEST]
        if not total or config.option.markexpr:
            return
        terminalreporter.section("where the time went")
        for nodeid, seconds in slowest:
            terminalreporter.line(f"{seconds:6.1f} s {seconds / total:5.1%}  {nodeid}")
        share = sum(seconds for _, seconds in slowest) / total
        terminalreporter.line(f"{total:6.1f} s in {len(self._seconds)} tests, {share:.0%} of it in those above")
        text = f"{self._default_cpu:6.1f} s of processor time for what a plain `pytest` runs"
        if self._thorough_cpu:
            text += f", {self._thorough_cpu:.1f} s for the thorough ones"
        terminalreporter.line(text)
        if self._is_over:
            what = (
                f"That is over {self._limit_s:.0f} s: make something cheaper, or mark it `thorough` (CONTRIBUTING.md)."
            )
            terminalreporter.line(what, red=True, bold=True)
