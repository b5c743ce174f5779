"""The files that the commands of `recipes lab` read and write."""

from pathlib import Path

from recipes.core.errors import BadArguments
from recipes.lab import scenario as scenarios
from recipes.lab.scenario import Scenario
from recipes.lab.trace import Trace, loads


def scenario_of(name: str) -> Scenario:
    """A scenario by its id, or from a .toml file. Raises BadArguments if there is none, or something in it is wrong."""
    if not name.endswith(".toml"):
        return scenarios.load(name)
    return scenarios.parse(Path(name).stem, text_of(Path(name)))


def trace_of(file: Path) -> Trace:
    """The trace in a file. Raises BadArguments that names the file."""
    text = text_of(file)
    try:
        return loads(text)
    except BadArguments as error:
        raise BadArguments("", f"{file}: {error.message}") from None


def text_of(file: Path) -> str:
    """The text of a file. Raises BadArguments if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadArguments("", f"{file}: {error}") from None


def write(file: Path, text: str) -> None:
    """Write a file. Raises BadArguments if that fails."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadArguments("", f"{file}: {error.strerror}") from None
