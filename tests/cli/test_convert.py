"""`recipes convert`: what it makes of a member's directory, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.cli import convert as conversion
from recipes.cli import main
from recipes.core.disk.cells import write_cell
from recipes.core.disk.disk import RealDisk
from recipes.core.disk.store import Store
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import encode_txn
from recipes.core.protocols import find_protocol, protocol_of
from recipes.core.raft.terms import ABSTAINS, NOBODY, Vote, stored_vote, vote_cell
from recipes.core.replicas.terms import stored_term, term_cell
from recipes.core.replication import Entry, Recovered
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell

OPEN = ((31, b"world", b"anyone"),)
LAST = 0x3_00000003
CELLS = {
    "zab": [epoch_cell(ACCEPTED_EPOCH, 4), epoch_cell(CURRENT_EPOCH, 3)],
    "raft": [term_cell(4), vote_cell(Vote(4, 2))],
}


def create(zxid: int) -> Entry:
    return Entry(zxid, encode_txn(1, zxid & 0xFF, zxid, 1, op.CREATE, (b"/n%x" % zxid, b"x", OPEN, False, zxid & 0xFF)))


def member(directory: Path, protocol: str) -> Path:
    """A stopped member with a session and two znodes behind its first snapshot."""
    disk = RealDisk(directory / "version-2")
    store = Store(disk, disk, 4096, find_protocol(protocol))
    store.recover(DataTree())
    for cell in CELLS[protocol]:
        store.carry_out(cell)
    session = Entry(0x3_00000001, encode_txn(77, 0, 0x3_00000001, 1, op.CREATE_SESSION, (30_000,)))
    store.append([session, create(0x3_00000002), create(0x3_00000003)])
    store.sync()
    store.close()
    disk.close()
    return directory


def recovered(directory: Path, protocol: str) -> tuple[Recovered, DataTree]:
    disk, tree = RealDisk(directory / "version-2"), DataTree()
    found = Store(disk, disk, 4096, find_protocol(protocol)).recover(tree)
    disk.close()
    return found, tree


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "version-2").iterdir() if path.name != ".lock"}


@pytest.mark.parametrize(("source", "to"), [("zab", "raft"), ("raft", "zab")])
def test_the_tree_is_that_of_the_whole_log_and_epochs_do_not_fall(source, to, tmp_path, capsys):
    data = member(tmp_path / "data", source)
    assert main(["convert", str(data), "--to", to, "--zxid", f"0x{LAST:x}"]) == 0
    assert f"it is a member that runs {to} now" in capsys.readouterr().out
    assert protocol_of(contents(data)) == to
    found, tree = recovered(data, to)
    assert (found.last_zxid, found.snapshot_zxid, tree.last_zxid, found.unsure) == (LAST, LAST, LAST, "")
    assert all(tree.find(b"/n%x" % (0x3_00000000 + number)) for number in (2, 3))
    assert 77 in tree.sessions
    if to == "zab":
        assert (found.cells[ACCEPTED_EPOCH], found.cells[CURRENT_EPOCH]) == (b"4", b"3")
    else:  # in a term in which nobody has voted
        assert (found.cells[ACCEPTED_EPOCH], found.cells["raftVote"]) == (b"5", b"5 %d" % NOBODY)


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_member_that_is_back_votes_in_no_term_in_which_it_has_voted(interrupted, tmp_path):
    data = member(tmp_path / "data", "raft")  # it has voted for server 2 in term 4
    if interrupted:  # the directory is of both
        put(data, CURRENT_EPOCH, b"3")
    else:
        assert main(["convert", str(data), "--to", "zab", "--zxid", f"0x{LAST:x}"]) == 0
    assert main(["convert", str(data), "--to", "raft", "--zxid", f"0x{LAST:x}"]) == 0
    cells = recovered(data, "raft")[0].cells
    assert stored_vote(cells).candidate == NOBODY
    assert stored_term(cells) == stored_vote(cells).term > 4


def test_without_a_zxid_it_says_where_the_log_ends_and_changes_nothing(tmp_path, capsys):
    data = member(tmp_path / "data", "zab")
    before = contents(data)
    assert main(["convert", str(data), "--to", "raft"]) == 1
    assert capsys.readouterr().out.endswith(f"--to raft --zxid 0x{LAST:x}\n")
    assert main(["convert", str(data), "--to", "raft", "--zxid", "0x300000002"]) == 1
    assert f"the log ends at 0x{LAST:x}, and not at 0x300000002" in capsys.readouterr().err
    assert contents(data) == before


def put(directory: Path, name: str, data: bytes = b"") -> None:
    (directory / "version-2" / name).write_bytes(data)


def rot(directory: Path) -> None:
    """Change a byte of a txn that is not the last one."""
    (log,) = (directory / "version-2").glob("log.*")
    data = bytearray(log.read_bytes())
    data[data.index(b"/n300000002")] ^= 1
    log.write_bytes(data)


def abstain(directory: Path) -> None:
    disk = RealDisk(directory / "version-2")
    cell = vote_cell(Vote(4, ABSTAINS))
    write_cell(disk, cell.name, cell.value)
    disk.close()


REFUSED: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("zab", "zab", lambda data: None, "belongs to a server that runs zab already"),
    ("zab", "raft", lambda data: put(data, "notes"), "has files that nobody knows here: notes;"),
    ("zab", "raft", lambda data: put(data, "truncate.300000002"), "start it once with its protocol"),
    ("zab", "raft", lambda data: put(data, "rejoin"), "has files that nobody knows here: rejoin"),
    ("zab", "raft", rot, "this server does not vote until a leader has sent it a snapshot"),
    ("raft", "zab", rot, "this server does not vote until a leader has sent it a snapshot"),
    ("raft", "zab", abstain, "it may have forgotten votes"),
    ("zab", "raft", lambda data: (data / "version-2" / CURRENT_EPOCH).unlink(), "belongs to no member of an ensemble"),
]


@pytest.mark.parametrize(("source", "to", "spoil", "said"), REFUSED, ids=[row[3] for row in REFUSED])
def test_what_must_not_be_converted_is_left_as_it_is(source, to, spoil, said, tmp_path, capsys):
    data = member(tmp_path / "data", source)
    spoil(data)
    before = contents(data)
    assert main(["convert", str(data), "--to", to, "--zxid", f"0x{LAST:x}"]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert contents(data) == before


def test_a_log_on_a_volume_that_is_not_mounted_is_missed(tmp_path, capsys):
    data, logs = member(tmp_path / "data", "zab"), tmp_path / "logs"
    (logs / "version-2").mkdir(parents=True)
    (log,) = (data / "version-2").glob("log.*")
    log.rename(logs / "version-2" / log.name)
    put(data, "log-directory", f"{logs / 'version-2'}\n".encode())
    logs.rename(tmp_path / "away")
    before = contents(data)
    assert main(["convert", str(data), "--to", "raft", "--zxid", "0x0"]) == 2
    assert f"give --log-dir {logs}" in capsys.readouterr().err
    assert contents(data) == before
    (tmp_path / "away").rename(logs)
    arguments = ["convert", str(data), "--to", "raft", "--log-dir", str(logs), "--zxid", f"0x{LAST:x}"]
    assert main(arguments) == 0


def test_a_server_that_runs_keeps_its_directory(tmp_path, capsys):
    data = member(tmp_path / "data", "zab")
    disk = RealDisk(data / "version-2")
    assert main(["convert", str(data), "--to", "raft", "--zxid", f"0x{LAST:x}"]) == 1
    disk.close()
    assert "locked by another server" in capsys.readouterr().err


def test_wrong_arguments_are_told(tmp_path, capsys):
    data = member(tmp_path / "data", "zab")
    for arguments, said in (
        ([str(data), "--to", "raft", "--zxid", "soon"], "--zxid soon: expected a zxid, such as 0x500000001"),
        ([str(data / "version-2"), "--to", "raft"], "give the dataDir, the directory above"),
        ([str(tmp_path / "missing"), "--to", "raft"], "no such directory"),
    ):
        assert main(["convert", *arguments]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(("source", "to"), [("zab", "raft"), ("raft", "zab")])
def test_a_crash_at_any_step_leaves_a_directory_that_can_be_converted(source, to, tmp_path, monkeypatch):
    class Crash(Exception):
        pass

    for steps in range(4):
        data = member(tmp_path / f"data{steps}", source)
        left = [steps]

        def step(real: Callable[..., None], left: list[int] = left) -> Callable[..., None]:
            def limited(*arguments: object) -> None:
                if not left[0]:
                    raise Crash
                left[0] -= 1
                real(*arguments)

            return limited

        with monkeypatch.context() as patched:
            patched.setattr(conversion, "save_snapshot", step(conversion.save_snapshot))
            patched.setattr(conversion, "write_cell", step(conversion.write_cell))
            patched.setattr(RealDisk, "remove", step(RealDisk.remove))
            with pytest.raises(Crash):
                main(["convert", str(data), "--to", to, "--zxid", f"0x{LAST:x}"])
        assert protocol_of(contents(data)) in (source, to)
        if steps < 3:
            assert recovered(data, source)[0].last_zxid == LAST
        assert main(["convert", str(data), "--to", to, "--zxid", f"0x{LAST:x}"]) == 0
        assert recovered(data, to)[1].last_zxid == LAST


def test_what_a_leaders_snapshot_has_replaced_is_left_as_it_is(tmp_path):
    data = member(tmp_path / "data", "zab")
    put(data, "superseded-log.100000001", b"old")
    assert main(["convert", str(data), "--to", "raft", "--zxid", f"0x{LAST:x}"]) == 0
    assert contents(data)["superseded-log.100000001"] == b"old"


@pytest.mark.parametrize(("source", "to"), [("zab", "raft"), ("raft", "zab")])
@pytest.mark.parametrize("renames", range(3))
def test_a_crash_before_a_file_has_its_name_leaves_a_directory_that_can_be_converted(
    source, to, renames, tmp_path, monkeypatch
):
    class Crash(Exception):
        pass

    data = member(tmp_path / "data", source)
    command, left, real = ["convert", str(data), "--to", to, "--zxid", f"0x{LAST:x}"], [renames], RealDisk.rename

    def rename(disk: RealDisk, old: str, new: str) -> None:
        if not left[0]:
            raise Crash
        left[0] -= 1
        real(disk, old, new)

    with monkeypatch.context() as patched:
        patched.setattr(RealDisk, "rename", rename)
        with pytest.raises(Crash):
            main(command)
    assert any(name.endswith(".tmp") or name == "incoming-snapshot" for name in contents(data))
    assert main(command) == 0
    assert recovered(data, to)[1].last_zxid == LAST
