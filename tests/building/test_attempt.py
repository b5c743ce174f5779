"""Which builds compile, and why the others do not: what building/ does before it compiles anything."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def attempt(monkeypatch, tmp_path):
    """building/attempt.py, which is no part of the package, on a machine where nothing keeps it from compiling."""
    spec = importlib.util.spec_from_file_location("attempt", ROOT / "building/attempt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("RECIPES_COMPILE", raising=False)
    monkeypatch.setenv("CC", sys.executable)
    (tmp_path / "Python.h").touch()
    module.sysconfig = SimpleNamespace(get_path={"include": tmp_path}.get, get_config_var={"CC": "gcc -pthread"}.get)
    return module


@pytest.mark.parametrize("asked", ["", "1"])
def test_it_compiles_where_a_compiler_and_pythons_headers_are(attempt, monkeypatch, asked):
    monkeypatch.setenv("RECIPES_COMPILE", asked)
    assert attempt.why_not() == ""


def test_the_variable_turns_it_off(attempt, monkeypatch):
    monkeypatch.setenv("RECIPES_COMPILE", "0")
    assert attempt.why_not() == "RECIPES_COMPILE=0 was set"


@pytest.mark.parametrize("asked", ["no", "2", "true"])
def test_another_value_is_refused(attempt, monkeypatch, asked):
    monkeypatch.setenv("RECIPES_COMPILE", asked)
    with pytest.raises(ValueError, match=f"RECIPES_COMPILE is '{asked}': expected 0 .*, 1 .*, or nothing"):
        attempt.why_not()


def test_without_a_compiler_it_names_the_one_it_looked_for(attempt, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    assert attempt.why_not() == "there is no C compiler 'no-such-compiler'"
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert attempt.why_not() == "there is no C compiler 'gcc'"


def test_without_pythons_headers_it_says_where_they_should_be(attempt, tmp_path):
    header = tmp_path / "Python.h"
    header.unlink()
    assert attempt.why_not() == f"Python's headers are not installed: there is no {header}"


def test_only_cpython_with_its_lock_is_compiled_for(attempt):
    attempt.sysconfig.get_config_var = {"CC": "gcc", "Py_GIL_DISABLED": 1}.get
    assert attempt.why_not() == "this Python is not CPython with its global lock"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("a warning\nx.c:1:2: error: unknown type\nTraceback", "x.c:1:2: error: unknown type"),
        ("Traceback\n  raise CompileError(msg)\nCompileError: exit status 1\n", "CompileError: exit status 1"),
        ("", "exit code 3"),
    ],
)
def test_a_failed_compilation_is_one_line_of_what_was_said_and_keeps_the_rest(attempt, tmp_path, said, reason):
    done = SimpleNamespace(returncode=3, stdout=said)
    attempt.subprocess = SimpleNamespace(run=lambda command, **options: done, PIPE=None, STDOUT=None)
    with pytest.raises(attempt.CannotCompile) as failed:
        attempt.compile_modules(ROOT, tmp_path, ["recipes/core/zxid.py"])
    assert str(failed.value) == f"the compilation failed: {reason}"
    assert str(failed.value.__cause__) == said
