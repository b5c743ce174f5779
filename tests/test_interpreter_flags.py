"""What holds whatever flags the interpreter has: see `.ci/flags`."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
HELPERS = [path.relative_to(TESTS.parent) for path in sorted(TESTS.rglob("*.py"))]


def test_asserts_hold_in_tests():
    with pytest.raises(AssertionError):
        assert sys.flags.optimize < 0


def test_asserts_hold_in_what_tests_import():
    for path in HELPERS:
        if not path.name.startswith(("test_", "conftest")):
            spec = import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__")).__spec__
            assert spec is not None
            assert type(spec.loader).__name__ == "AssertionRewritingHook", path
