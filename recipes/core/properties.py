"""Java's properties files: zoo.cfg is one, and so is the file it may name for the ensemble."""

import re
from typing import NamedTuple

from recipes.core.errors import ConfigError


class Property(NamedTuple):
    """An entry and where it stands. line: in which it begins, counted from 1."""

    source: str
    line: int
    key: str
    value: str

    def wrong(self, expected: str) -> ConfigError:
        """The error for a value that is not what is expected."""
        return ConfigError(self.key, self.value, expected, source=self.source, line=self.line)


def read_properties(text: str, source: str) -> list[Property]:
    """The entries of a file, in order. source: its name."""
    found = []
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.lstrip()
        if not pending and (not line or line[0] in "#!"):
            continue
        start = start if pending else number
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        key, value = _split(pending)
        found.append(Property(source, start, key, value.strip()))
        pending = ""
    return found


def _split(line: str) -> tuple[str, str]:
    match = re.match(r"([^=:\s]+)\s*[=:\s]\s*", line)
    return (match[1], line[match.end() :]) if match else (line.strip(), "")
