"""Which build this is: compiled, or pure Python. Both are made of the same sources (building/ in the repository)."""

from importlib.util import source_hash
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # mypyc reads it here, and nothing of it is left when a compiled module runs
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**attributes):
        """What mypyc is to do with a class. allow_interpreted_subclasses: without it a compiled class has only
        compiled ones; the laboratory, which is not compiled, puts its own in the place of some."""
        return lambda decorated: decorated


_PACKAGE = Path(__file__).parents[1]
_REASON = Path(__file__).with_name("not_compiled.txt")  # written by building/hook.py


def is_compiled() -> bool:
    """Whether the server's hot path is machine code, as in most installations, or pure Python."""
    import recipes.core.jute.codec as codec  # only here: what is compiled imports this module

    return not codec.__file__.endswith(".py")


def installed_version() -> str:
    """The version of the installed distribution, or why it has none."""
    from importlib.metadata import PackageNotFoundError, version  # only here: it takes time to import

    try:
        return version("zab-recipes")
    except PackageNotFoundError:
        return "unknown: zab-recipes is not installed"


def describe_build() -> str:
    """`compiled` or `pure Python`, and why it was not compiled where its installation knows that."""
    if is_compiled():
        return "compiled"
    try:
        return f"pure Python: {_REASON.read_text().strip()}"
    except FileNotFoundError:  # an editable installation, or a clone
        return "pure Python"


def refuse_other_source(module: str, compiled_from: bytes) -> None:
    """Called by each compiled module when it is imported, with the hash of the source that it was compiled from.

    Raises ImportError when the file beside the compiled one is another source: what it says would not be what runs.
    """
    source = _PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    try:
        found = source.read_bytes()
    except FileNotFoundError:
        return  # installed without sources
    if source_hash(found) != compiled_from:
        raise ImportError(
            f"{source} is not the source that {module} was compiled from: "
            "install zab-recipes again (pip install --force-reinstall), or with pip install -e to change its sources",
            name=module,
            path=str(source),
        )
