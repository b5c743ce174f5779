"""Whether a build compiles, and the attempt: it gives compiled files, or one line that says why there are none.

The environment variable RECIPES_COMPILE is 0 for a wheel in pure Python, and 1 for a build that fails where it cannot
compile. Without it a wheel is compiled where that works.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VARIABLE = "RECIPES_COMPILE"


class CannotCompile(Exception):
    """Its text is one line. What the compilers said is its cause."""


def must_compile() -> bool:
    """Raises ValueError for a value of RECIPES_COMPILE that means nothing."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "0", "1"):
        raise ValueError(f"{VARIABLE} is {asked!r}: expected 0 (pure Python), 1 (fail unless it compiles), or nothing")
    return asked == "1"


def why_not() -> str:
    """What can be seen before anything is tried; "" where a build may succeed. Raises ValueError like must_compile."""
    if not must_compile() and os.environ.get(VARIABLE):
        return f"{VARIABLE}=0 was set"
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python is not CPython with its global lock"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler {compiler!r}"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        return f"Python's headers are not installed: there is no {header}"
    return ""


def compile_modules(root: Path, work: Path, modules: list[str]) -> dict[str, str]:
    """Compile `modules`, paths of sources below `root`. Returns where each compiled file is, and its place in a wheel.

    work: an empty directory. Raises CannotCompile.
    """
    if why := why_not():
        raise CannotCompile(why)
    program = [sys.executable, str(Path(__file__).with_name("compiling.py")), str(root), str(work), *modules]
    done = subprocess.run(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        telling = [line for line in said if "error: " in line] or said[-1:] or [f"exit code {done.returncode}"]
        raise CannotCompile(f"the compilation failed: {telling[0]}") from RuntimeError(done.stdout)
    built = work / "built"
    return {str(path): path.relative_to(built).as_posix() for path in sorted(built.rglob("*")) if path.is_file()}
