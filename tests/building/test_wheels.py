"""Wheels as pip builds them, through the backend of pyproject.toml: with a few modules compiled, or with none."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILED = ["recipes/core/zxid", "recipes/core/jute/codec"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory, need_tool):
    """What a wheel is built of; of the modules that are compiled, two that take little time."""
    need_tool("hatchling and setuptools, of the extra dev", all(map(find_spec, ("hatchling", "setuptools"))))
    clone = tmp_path_factory.mktemp("clone")
    for part in ("recipes", "building"):
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("README.md", "LICENSE"):
        shutil.copy(ROOT / part, clone)
    text = (ROOT / "pyproject.toml").read_text()
    modules = ", ".join(f'"/{name}.py"' for name in COMPILED)
    text, found = re.subn(r"^include = \[\n.*?^\]", f"include = [{modules}]", text, flags=re.MULTILINE | re.DOTALL)
    assert found == 1
    (clone / "pyproject.toml").write_text(text)
    return clone


def ask_backend(clone, call, **environment):
    """One call of the backend, in a process of its own, as installers do it."""
    program = f"import sys; sys.path.insert(0, 'building'); import backend; print('gave', {call})"
    base = {name: value for name, value in os.environ.items() if name not in ("RECIPES_COMPILE", "CC")}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=clone, env={**base, **environment}, capture_output=True, text=True)


def build(clone, kind="wheel", **environment):
    """The wheel, and what was said meanwhile."""
    done = ask_backend(clone, f"backend.build_{kind}('dist')", **environment)
    assert done.returncode == 0, done.stderr
    return clone / "dist" / re.search("^gave (.*)", done.stdout, re.MULTILINE)[1], done.stderr


def names_in(wheel):
    with zipfile.ZipFile(wheel) as packed:
        return packed.namelist()


def unpack(wheel, folder):
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def run(installed, program):
    """`program` in Python, with the package that was unpacked there."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True)


DESCRIBE = "from recipes.core import build; print(build.is_compiled(), build.describe_build())"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"RECIPES_COMPILE": "0"}, "RECIPES_COMPILE=0 was set"),
        ({"CC": "no-such-compiler"}, "there is no C compiler 'no-such-compiler'"),
    ],
    ids=["turned-off", "no-compiler"],
)
def test_a_wheel_that_is_not_compiled_is_pure_and_knows_why(clone, tmp_path, environment, reason):
    wheel, said = build(clone, **environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert said.splitlines() == [f"zab-recipes is installed in pure Python, which is slower: {reason}"]
    assert [name for name in names_in(wheel) if name.endswith((".so", ".c"))] == []
    done = run(unpack(wheel, tmp_path / "installed"), DESCRIBE)
    assert done.stdout == f"False pure Python: {reason}\n", done.stderr


def test_a_build_that_must_compile_fails_without_a_compiler(clone):
    done = ask_backend(clone, "backend.build_wheel('dist')", RECIPES_COMPILE="1", CC="no-such-compiler")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "attempt.CannotCompile: there is no C compiler 'no-such-compiler'"


def test_an_editable_installation_is_never_compiled_and_needs_no_compiler(clone):
    wheel, said = build(clone, "editable")
    assert said == ""
    assert [name for name in names_in(wheel) if name.endswith((".so", ".txt")) and "dist-info" not in name] == []
    done = ask_backend(clone, "backend.get_requires_for_build_editable()")
    assert "mypy" not in done.stdout and done.returncode == 0


def test_a_compiler_of_python_is_asked_for_only_where_it_will_run(clone):
    done = ask_backend(clone, "backend.get_requires_for_build_wheel()", RECIPES_COMPILE="0")
    assert done.stdout == "gave []\n", done.stderr


@pytest.mark.thorough  # mypy and gcc take some 15 s
@pytest.mark.needs("gcc")
def test_a_compiled_wheel_refuses_sources_that_it_was_not_compiled_from(clone, tmp_path):
    wheel, said = build(clone, RECIPES_COMPILE="1")
    assert said == ""
    assert "-cp3" in wheel.name
    compiled = {name.partition(".")[0] for name in names_in(wheel) if name.endswith(".so")}
    assert compiled == {*COMPILED, "recipes__mypyc"}
    installed = unpack(wheel, tmp_path / "installed")
    for name in COMPILED:
        assert (installed / f"{name}.py").read_bytes() == (ROOT / f"{name}.py").read_bytes()
    assert run(installed, DESCRIBE).stdout == "True compiled\n"
    use = "from recipes.core import zxid; print(zxid.__file__, zxid.epoch_of(0x700000009))"
    assert re.fullmatch(r".*zxid\.\S+\.so 7\n", run(installed, use).stdout)

    source = installed / "recipes/core/zxid.py"
    source.write_text(source.read_text() + "# changed\n")
    refused = run(installed, use)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"ImportError: {source} is not the source that recipes.core.zxid was compiled from: install zab-recipes again "
        "(pip install --force-reinstall), or with pip install -e to change its sources"
    )
    assert run(installed, "import recipes.core.jute.frames").returncode == 0  # what has its source is imported

    source.unlink()
    assert run(installed, use).returncode == 0  # a program may be shipped without sources


@pytest.mark.thorough  # mypy takes some 10 s before the compiler fails
@pytest.mark.needs("gcc", "false")
def test_a_compilation_that_fails_gives_a_pure_wheel_that_knows_why(clone, tmp_path):
    wheel, said = build(clone, CC="false")
    assert wheel.name.endswith("-py3-none-any.whl")
    (line,) = said.splitlines()
    assert line.startswith("zab-recipes is installed in pure Python, which is slower: the compilation failed: ")
    described = run(unpack(wheel, tmp_path / "installed"), DESCRIBE).stdout
    assert described.startswith("False pure Python: the compilation failed: ")
