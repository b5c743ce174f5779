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
_SECRET = re.compile(r"(password|passwd|passphrase|secret|superdigest|credentials?|token)$", re.IGNORECASE)
MASK = "***"


class Property(NamedTuple):
    """An entry and where it stands. line: in which it begins, counted from 1."""

    source: str
    line: int
    key: str
    value: str

    def wrong(self, expected: str) -> ConfigError:
        """The error for a value that is not what is expected. It does not show a secret."""
        value = MASK if is_secret(self.key) else self.value
        return ConfigError(self.key, value, expected, source=self.source, line=self.line)


def is_secret(key: str) -> bool:
    """Whether the value of a key is nobody's business, as that of ssl.keyStore.password is; a file's path is none."""
    return _SECRET.search(key) is not None


def masked(text: str) -> str:
    """The text of a properties file without its secrets, those in comments included."""
    parts = []
    for _, line, raw in _lines(text):
        key, end = _key_of(line if line is not None else raw.lstrip(_BLANKS + "#!"))
        if not is_secret(key):
            parts.append(raw)
        elif line is not None:
            parts.append(f"{key}={MASK}\n")
        elif end:
            parts.append(f"#{key}={MASK}\n")
    return "".join(parts)


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
        key, value = _key_of(line)
        entry = Property(source, number, key, _plain(value).strip(_TRIMMED))
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
    return ((number, line) for number, line, _ in _lines(text) if line)


def _lines(text: str) -> Iterator[tuple[int, str | None, str]]:
    """Each entry, with its line and all that stands for it in the file; a blank line or a comment has no entry."""
    pending, start, raw = "", 0, ""
    for number, match in enumerate(_LINE.finditer(text), 1):
        line = match[1].lstrip(_BLANKS)
        if not start and (not line or line[0] in "#!"):
            yield number, None, match[0]
            continue
        start = start or number
        pending += line
        raw += match[0]
        if (len(pending) - len(pending.rstrip("\\"))) % 2:
            pending = pending[:-1]
            continue
        yield start, pending, raw
        pending, start, raw = "", 0, ""
    if start:
        yield start, pending, raw


def _key_of(line: str) -> tuple[str, str]:
    """The key of an entry, and its value as it stands there."""
    match = _KEY.match(line)
    raw = (match[1], line[match.end() :]) if match else (line, "")
    return _plain(raw[0]).strip(_TRIMMED), raw[1]


def _plain(text: str) -> str:
    def meaning(match: re.Match[str]) -> str:
        mark = match[1]
        return chr(int(mark[1:], 16)) if len(mark) == 5 else _MEANINGS.get(mark, mark)

    plain = _ESCAPE.sub(meaning, text)
    # Two escapes may be the halves of one character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if "\\u" in text else plain
