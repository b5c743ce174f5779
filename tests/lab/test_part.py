"""What a server writes of itself never costs it anything but the writing: whatever goes wrong ends the trace alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.cli.trace_file import TraceFile
from recipes.core.errors import ConfigError, WireError
from recipes.core.jute import opcodes as op
from recipes.core.replication import SECRET_CELL, Cell
from recipes.lab.parts import read_part
from recipes.lab.scenario import load
from recipes.lab.served import part as parts
from recipes.lab.served.part import PART_VERSION
from recipes.lab.served.text import outline
from recipes.lab.served.writes import Writes
from tests.lab.watching import WatchedRun

NAME = "cmp-leader-crash"


def reference(monkeypatch: pytest.MonkeyPatch) -> WatchedRun:
    return WatchedRun({}).run(load(NAME), monkeypatch, protocol="zab")


def test_a_watcher_changes_nothing(monkeypatch, outcome):
    from recipes.lab.run import run

    plain = run(load(NAME), protocol="zab").trace
    assert reference(monkeypatch).outcome.trace == plain


def test_a_trace_ends_at_its_limit_with_a_word_and_a_warning(monkeypatch):
    whole = reference(monkeypatch)
    most = len(whole.text(2)) // 2
    run = WatchedRun({}, {2: most}).run(load(NAME), monkeypatch, protocol="zab")
    assert run.outcome.trace == whole.outcome.trace
    text = run.text(2)
    assert len(text) <= most
    assert json.loads(text.splitlines()[-1])["k"] == "end"
    assert read_part(text).lives[0].end == json.loads(text.splitlines()[-1])
    assert not read_part(text).lives[0].end["down"]
    assert run.warned == [
        "the trace ends here, and the server goes on: its file is as large as --trace-mb lets it become"
    ]


def test_a_start_that_finds_its_file_full_adds_nothing(monkeypatch):
    def of(**most: Any) -> WatchedRun:
        return WatchedRun({}, **most).run(load("zab-orphan-truncated"), monkeypatch, protocol="zab")

    whole = of()
    (sid,) = [sid for sid in whole.texts if whole.text(sid).count('"version"') == 2]
    run = of(room_bytes={sid: whole.text(sid).rindex('{"version"') // 2})
    (life,) = read_part(run.text(sid)).lives
    assert life.end is not None
    assert len(run.warned) == 2  # at the limit, and at the start behind it


def test_a_full_disk_ends_the_trace_with_one_warning(monkeypatch):
    class Full(list[bytes]):
        def append(self, data: bytes) -> None:
            if len(self) > 20:
                raise OSError(28, "No space left on device")
            super().append(data)

    whole = reference(monkeypatch)
    run = WatchedRun({})
    run.texts[3] = Full()
    run.run(load(NAME), monkeypatch, protocol="zab")
    assert run.outcome.trace == whole.outcome.trace
    assert run.warned == ["the trace ends here, and the server goes on: [Errno 28] No space left on device"]
    assert read_part(run.text(3)).lives[0].end is None


def test_a_message_that_is_too_large_ends_the_trace(monkeypatch):
    whole = reference(monkeypatch)
    monkeypatch.setattr(parts, "MOST_HELD_BYTES", 50)
    run = WatchedRun({}).run(load(NAME), monkeypatch, protocol="zab")
    assert run.outcome.trace == whole.outcome.trace
    assert {line.partition(": ")[2] for line in run.warned} == {"a message has more than 0 MiB"}


def test_a_fault_of_the_watcher_itself_ends_the_trace(monkeypatch):
    whole = reference(monkeypatch)

    def fail(*arguments: Any, **more: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(parts, "describe", fail)
    run = WatchedRun({}).run(load(NAME), monkeypatch, protocol="zab")
    assert run.outcome.trace == whole.outcome.trace
    assert {line.partition(": ")[2] for line in run.warned} == {"a mistake"}


class Deaf:
    def hear(self, data: bytes) -> list[Any]:
        raise WireError("no packet")


def test_bytes_that_are_no_messages_are_left_to_the_server():
    stream = parts.Stream(Deaf())
    assert stream.hear(b"GET / HTTP/1.1") == []
    assert stream.hear(b"more") == []
    assert str(stream.misread) == "no packet"


def test_a_trace_with_holes_ends_where_the_first_one_is(monkeypatch):
    whole = reference(monkeypatch)
    monkeypatch.setattr(parts.Part, "stream", lambda part: parts.Stream(Deaf()))
    run = WatchedRun({}).run(load(NAME), monkeypatch, protocol="zab")
    assert run.outcome.trace == whole.outcome.trace
    assert {line.partition(": ")[2] for line in run.warned} == {"no packet"}


def test_the_secret_of_the_members_is_not_written():
    (fields,) = Writes().of([Cell(SECRET_CELL, b"0123456789abcdef")])
    assert (fields["what"], fields["value"]) == (SECRET_CELL, "secret")
    assert "0123" not in json.dumps(fields)


def test_what_txns_store_is_not_written_and_the_same_txn_is_the_same():
    acl = [(31, "digest", "somebody:hash")]
    stored = {
        op.SET_DATA: (b"/a", b"a password", 1),
        op.CREATE: (b"/a", b"a password", acl, False, 1),
        op.CREATE_CONTAINER: (b"/a", b"a password", acl, 1),
        op.CREATE_TTL: (b"/a", b"a password", acl, 1, 5),
        op.SET_ACL: (b"/a", acl, 1),
        op.MULTI: ((op.SET_DATA, (b"/a", b"a password", 1)), (op.DELETE, (b"/b",))),
    }
    for kind, record in stored.items():
        said = outline((5, 1, 2, 3, kind, record))
        assert "password" not in said
        assert "hash" not in said
        assert "/a" in said
        assert said == outline((5, 1, 2, 3, kind, record))
    assert outline((5, 1, 2, 3, op.SET_DATA, (b"/a", b"x", 1))) != outline((5, 1, 2, 3, op.SET_DATA, (b"/a", b"y", 1)))
    assert outline((5, 1, 2, 3, op.SET_DATA, (b"/a", None, 1))).startswith("set /a, 0 bytes #")


def test_a_file_goes_on_behind_its_last_whole_line(tmp_path: Path):
    path = tmp_path / "s1"
    header = json.dumps({"version": PART_VERSION, "site": "s1", "protocol": "zab"}).encode()
    path.write_bytes(header + b'\n{"i":0}\n{"i":1,"t"')
    file = TraceFile(path, PART_VERSION, "s1", "zab")
    assert file.size == len(header) + 9
    file.write(header + b"\n")
    file.close()
    assert path.read_bytes() == header + b'\n{"i":0}\n' + header + b"\n"
    path.write_bytes(header + b'\n{"i":0}\n' + b"x" * 2_500_000)  # such as what a large log was at a start
    file = TraceFile(path, PART_VERSION, "s1", "zab")
    file.close()
    assert path.read_bytes() == header + b'\n{"i":0}\n'
    new = TraceFile(tmp_path / "new", PART_VERSION, "s1", "zab")
    assert new.size == 0
    new.close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"no newline", b"[]\n", b'{"version":"recipes-trace-part/1"}\n', b"\xff\xfe\n"])
def test_another_file_is_left_alone(tmp_path: Path, text: bytes):
    path = tmp_path / "s1"
    path.write_bytes(text)
    with pytest.raises(ConfigError):
        TraceFile(path, PART_VERSION, "s1", "zab")
    assert path.read_bytes() == text
