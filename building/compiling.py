"""`python compiling.py ROOT WORK MODULE...`: compile modules of the package below ROOT, into WORK/built.

mypyc translates a copy of the sources to C, one file for each module, which the C compiler then takes side by side.
Each copy ends with a line that gives the hash of its source to recipes.core.build, which refuses a module that has
another source beside it when it is imported.
"""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import source_hash
from pathlib import Path
from typing import Any

# setuptools first: the name distutils is its from then on.
import setuptools  # noqa: F401 # isort: skip
from distutils import ccompiler, sysconfig

from mypyc.build import mypycify

PACKAGE = "recipes"
MYPY = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir=" + os.devnull]
# Calls from one module to another stay within the library, without a look-up. A warning of a new compiler is no error.
FLAGS = ["-fvisibility=hidden", "-Wno-error"]
CHECK = "\nfrom recipes.core.build import refuse_other_source as _refuse\n_refuse(__name__, {})\n"


def copy_sources(root: Path, copies: Path, modules: list[str]) -> None:
    shutil.copytree(root / PACKAGE, copies / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    (copies / PACKAGE / "__init__.py").write_text("")  # it names every part of the package, which mypy would read
    for module in modules:
        source = (root / module).read_bytes()
        with (copies / module).open("ab") as copy:
            copy.write(CHECK.format(source_hash(source)).encode())


def translate(modules: list[str], target: Path) -> list[Any]:
    """The extensions to be built: one library, and a small module for each of `modules`, which refers to it."""
    return mypycify(
        [*MYPY, *modules],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        group_name=PACKAGE,
        target_dir=str(target),
    )


def build(extensions: list[Any], objects: Path, built: Path) -> None:
    compiler = ccompiler.new_compiler()
    sysconfig.customize_compiler(compiler)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    python = sysconfig.get_python_inc()

    def compile_one(source: str, extension: Any) -> list[str]:
        folders = [python, *extension.include_dirs]
        options = [*extension.extra_compile_args, *FLAGS]
        return compiler.compile([source], str(objects), include_dirs=folders, extra_postargs=options)

    def link_one(extension: Any, parts: list[Any]) -> None:
        target = built / (extension.name.replace(".", "/") + suffix)
        linked = [name for part in parts for name in part.result()]
        compiler.link_shared_object(linked, str(target))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # The longest first, so that none is left when the others are done.
        work = [(source, extension) for extension in extensions for source in extension.sources]
        work.sort(key=lambda each: -Path(each[0]).stat().st_size)
        parts: dict[str, list[Any]] = {extension.name: [] for extension in extensions}
        for source, extension in work:
            parts[extension.name].append(pool.submit(compile_one, source, extension))
        # A thread that links waits for parts that were all submitted before.
        for linked in [pool.submit(link_one, extension, parts[extension.name]) for extension in extensions]:
            linked.result()


def main(root: Path, work: Path, modules: list[str]) -> None:
    copies, c_files, built = work / "copies", work / "c", work / "built"
    copy_sources(root, copies, modules)
    os.chdir(copies)  # mypy takes the names of modules from here
    build(translate(modules, c_files), work / "objects", built)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:])
