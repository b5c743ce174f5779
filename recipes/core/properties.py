r"""Java's properties files: zoo.cfg is one, and so is the file it may name for the ensemble.

A line ends with \n, \r or \r\n only, and goes on behind a backslash. A backslash before a character takes its meaning
away, except for \t, \n, \r, \f and \uXXXX. Source: java.util.Properties.load.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recipes.core.errors import ConfigError

_BLANKS = " \t\f"
_TRIMMED = "".join(map(chr, range(0x21)))  # what Java's String.trim takes away, and Apache from keys and values
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_KEY = re.compile(r"((?:[^\\=: \t\f]|\\.)*)[ \t\f]*[=:]?[ \t\f]*", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_MEANINGS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Property(NamedTuple):
    """An entry and where it stands. line: in which it begins, counted from 1."""

    source: str
    line: int
    key: str
    value: str

    def wrong(self, expected: str) -> ConfigError:
        """The error for a value that is not what is expected."""
        return ConfigError(self.key, self.value, expected, source=self.source, line=self.line)


def read_text(path: Path) -> str:
    """The text of a properties file: UTF-8, or what Java takes every such file for, ISO 8859-1. Raises OSError."""
    data = path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_properties(text: str, source: str) -> list[Property]:
    """The entries of a file, in order. source: its name. Raises ConfigError for an escape that Java refuses."""
    found = []
    for number, line in _entries(text):
        match = _KEY.match(line)
        raw = (match[1], line[match.end() :]) if match else (line, "")
        key, value = (_plain(part).strip(_TRIMMED) for part in raw)
        entry = Property(source, number, key, value)
        if re.search(r"(?<!\\)(?:\\\\)*\\u(?![0-9a-fA-F]{4})", line):
            raise entry.wrong(r"four hexadecimal digits behind \u; a backslash itself is written \\")
        found.append(entry)
    return found


def escaped(value: object) -> str:
    """A value as it must stand in a properties file, so that `read_properties` and Java give it back."""
    text = re.sub(r"\\", r"\\\\", str(value))
    text = "".join(mark if " " <= mark <= "~" else _unicode(mark) for mark in text)
    return re.sub(r"\A ", r"\\ ", text)


def _unicode(mark: str) -> str:
    data = mark.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at : at + 2].hex()}" for at in range(0, len(data), 2))


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Each entry with its line, the lines it goes on in included; without blank ones and comments."""
    pending, start = "", 0
    for number, match in enumerate(_LINE.finditer(text), 1):
        line = match[1].lstrip(_BLANKS)
        if not start and (not line or line[0] in "#!"):
            continue
        start = start or number
        pending += line
        if (len(pending) - len(pending.rstrip("\\"))) % 2:
            pending = pending[:-1]
            continue
        if pending:
            yield start, pending
        pending, start = "", 0
    if pending:
        yield start, pending


def _plain(text: str) -> str:
    def meaning(match: re.Match[str]) -> str:
        mark = match[1]
        return chr(int(mark[1:], 16)) if len(mark) == 5 else _MEANINGS.get(mark, mark)

    plain = _ESCAPE.sub(meaning, text)
    # Two escapes may be the halves of one character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if "\\u" in text else plain
