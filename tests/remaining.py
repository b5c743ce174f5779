"""Remembers which tests passed in the last run, so that the next run of the same files can skip them (--remaining)."""

from __future__ import annotations

import pytest
from hypothesis import is_hypothesis_test

_KEY = "recipes/passed"


class Remaining:
    """A plugin: stores in pytest's cache which tests passed, and skips these under --remaining.

    Tests by hypothesis are run again: they try more under --everything.
    """

    def __init__(self) -> None:
        self._passed: set[str] = set()
        self._not_passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._not_passed.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if not config.getoption("--remaining"):
            return
        passed = set(cache.get(_KEY, [])) if (cache := _cache_of(config)) else set()
        left_out, stay = [], []
        for item in items:
            again = item.nodeid not in passed or is_hypothesis_test(getattr(item, "obj", None))
            (stay if again else left_out).append(item)
        config.hook.pytest_deselected(items=left_out)
        items[:] = stay

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        config = session.config
        cache = _cache_of(config)
        if cache and not hasattr(config, "workerinput") and not config.getoption("--remaining"):
            cache.set(_KEY, sorted(self._passed - self._not_passed))


def _cache_of(config: pytest.Config) -> pytest.Cache | None:
    return getattr(config, "cache", None)  # None under -p no:cacheprovider
