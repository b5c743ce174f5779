"""The log of a participant's branches: redo and undo records, one line for each write.

A line is a checksum, the length of the text, and the text: a list of Changes as JSON. Each line is durable before the
next is written, so a crash can tear only the last line. A torn line is too short or has zeros in it, and is ignored.
Any other error is damage.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote
from zlib import crc32

from recipes.core.errors import DiskError
from recipes.transaction.branch import BranchState
from recipes.transaction.branches import Change, PrepareRecord
from recipes.transaction.participant import BranchId
from recipes.transaction.stages import CommitProtocol

HEADER = b"recipes branches 1\n"
_HEAD = len("01234567:01234567:")


def encode(changes: Iterable[Change[bytes]]) -> bytes:
    """The line for these Changes."""
    text = json.dumps([_encode(each) for each in changes], separators=(",", ":")).encode()
    return b"%08x:%08x:%s\n" % (crc32(text), len(text), text)


def decode(name: str, data: bytes) -> Iterator[Change[bytes]]:
    """The Changes of a whole log, in order. Raises DiskError where it is damaged. name: of the file, for the error."""
    if not data.startswith(HEADER):
        raise DiskError(f"{name}: expected a log of branches, which begins with {HEADER!r}, found {data[:20]!r}")
    lines = data[len(HEADER) :].split(b"\n")
    for index, line in enumerate(lines):
        text = line[_HEAD:]
        if line[:_HEAD] != b"%08x:%08x:" % (crc32(text), len(text)):
            behind = lines[index + 1 :]
            if not any(behind) and _is_torn(line, is_ended=bool(behind)):
                return
            raise DiskError(
                f"{name}, line {index + 2}, is damaged, and no crash does that: nothing was changed. Branches that"
                " were promised to commit are in it: restore the directory, or move it away and lose them"
            )
        try:
            changes = [_decode(each) for each in json.loads(text)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DiskError(f"{name}, line {index + 2}: another version wrote it: {error!r}") from error
        yield from changes


def _is_torn(line: bytes, is_ended: bool) -> bool:
    """Whether a crash may have left the last line like this."""
    if b"\0" in line:
        return True
    try:
        return not is_ended and len(line) < _HEAD + int(line[9:17], 16)
    except ValueError:
        return not is_ended and len(line) < _HEAD


def _encode(change: Change[bytes]) -> dict[str, object]:
    stored: dict[str, object] = {"branch": str(change.branch), "state": change.state.name, "since": change.since}
    if (prepared := change.prepared) is not None:
        stored |= {"redo": _text(prepared.redo), "undo": _text(prepared.undo)}
        stored |= {"reads": [quote(key, "") for key in sorted(prepared.reads)]}
        stored |= {"protocol": prepared.protocol.value}
    return stored


def _decode(stored: Any) -> Change[bytes]:
    branch, state = BranchId.parse(stored["branch"]), BranchState[stored["state"]]
    if branch is None:
        raise ValueError(f"the id {stored['branch']!r}")
    prepared = None
    if state is BranchState.PREPARED:
        reads = frozenset(map(unquote, stored["reads"]))
        prepared = PrepareRecord(
            _values(stored["redo"]), _values(stored["undo"]), reads, CommitProtocol(stored["protocol"])
        )
    return Change(branch, state, float(stored["since"]), prepared)


# Quoting and base64 leave no byte that a single wrong bit turns into a zero byte, the mark of a torn line.


def _text(values: Mapping[str, bytes | None]) -> dict[str, str | None]:
    return {quote(key, ""): None if value is None else b64encode(value).decode() for key, value in values.items()}


def _values(stored: Mapping[str, str | None]) -> dict[str, bytes | None]:
    return {unquote(key): None if value is None else b64decode(value) for key, value in stored.items()}
