"""`recipes tx`: what an operator sees and decides."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import anyio
import pytest

from recipes import Coordinator, connect, participant_app
from recipes.transaction.branch import Answer
from recipes.transaction.memory import MemoryParticipant
from recipes.transaction.participant import BranchId
from tests.cli.conftest import ROOT
from tests.ports import free_port
from tests.transaction.services import Service
from tests.transaction.unproved import commit_unproved

# Participants that keep what they hold in a file, so that a command in another process reaches them.
BANK = """
import json
from pathlib import Path

from recipes.transaction.branch import Answer
from recipes.transaction.participant import BranchId, Prepared

HERE = Path(__file__).parent


class Bank:
    def __init__(self, name):
        self.file = HERE / f"{name}.json"

    def held(self):
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def keep(self, branch, state):
        self.file.write_text(json.dumps({**self.held(), str(branch): state}))

    async def prepare(self, branch):
        self.keep(branch, "prepared")
        return Answer.PREPARED

    async def commit(self, branch):
        if (HERE / "closed").exists():
            raise OSError("closed")
        self.keep(branch, "committed")
        return Answer.COMMITTED

    async def abort(self, branch):
        self.keep(branch, "aborted")
        return Answer.ABORTED

    async def recover(self):
        return [BranchId.parse(branch) for branch, state in self.held().items() if state == "prepared"]

    async def prepared(self):
        return [Prepared(str(branch), branch, 5.0, ("row 7",)) for branch in await self.recover()]


PARTICIPANTS = {"a": Bank("a"), "b": Bank("b")}


def made():
    return PARTICIPANTS
"""


@pytest.fixture
def bank(tmp_path, monkeypatch):
    (tmp_path / "bank.py").write_text(BANK)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("bank", None)
    import bank

    yield bank.PARTICIPANTS
    sys.modules.pop("bank", None)


@pytest.fixture
def tx(run, hosts):
    def tx(*arguments, code=0):
        done = run("tx", *arguments, "--hosts", hosts)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code else done.stdout

    return tx


async def transfer(hosts, participants):
    """A transaction whose second phase fails; its coordinator goes."""
    async with connect(hosts) as client:
        async with Coordinator(client, "/tx", participants=participants, serve=False) as coordinator:
            tx = await commit_unproved(coordinator, dict.fromkeys(participants))
            return tx.id


async def set_up(hosts, names):
    """The fleet's id."""
    participants = {name: MemoryParticipant() for name in names}
    async with connect(hosts) as client, Coordinator(client, "/tx", participants=participants) as coordinator:
        return coordinator.fleet


def test_it_lists_shows_and_ends_what_is_unsettled(tx, bank, hosts, tmp_path):
    (tmp_path / "closed").write_text("")
    number = anyio.run(transfer, hosts, bank)
    head, line = tx("list", "/tx").splitlines()
    assert head == "/tx/default: 0 coordinators, participants a, b"
    assert line.split()[:3] == [number, "committing", "2pc"] and line.endswith("a, b")
    (facts,) = json.loads(tx("list", "/tx", "--json"))
    assert (facts["path"], facts["name"], facts["coordinators"]) == ("/tx/default", "default", 0)
    (transaction,) = facts["transactions"]
    assert (transaction["id"], transaction["state"], transaction["decision"]) == (number, "committing", "commit")
    shown = tx("show", "/tx", number, "--participants", "bank:PARTICIPANTS")
    assert "state: committing\n  commit is decided; not every participant has proved it\n" in shown
    assert "a: prepared, for 5.0 s, holds row 7\nb: prepared" in shown
    assert "commit is decided, and a decision never changes" in tx("resolve", "/tx", number, "abort", code=2)
    assert tx("orphans", "/tx", "--participants", "bank:made") == "no orphans\n"
    assert tx("resolve", "/tx", number, "--gone", "b") == f"{number}: commit is decided; it waits for a\n"
    assert json.loads(tx("show", "/tx", number, "--json"))["waits_for"] == ["a"]


def test_an_orphan_is_shown_and_ended_by_hand(tx, run, bank, hosts):
    fleet = anyio.run(set_up, hosts, "ab")
    branch = BranchId(fleet, "7-00ff", "a")
    assert anyio.run(bank["a"].prepare, branch) is Answer.PREPARED
    given = ("--participants", "bank:PARTICIPANTS")
    (found,) = json.loads(run("tx", "orphans", "/tx", *given, "--json", "--hosts", hosts).stdout)
    assert found == {
        "participant": "a", "id": str(branch), "transaction": "7-00ff", "fleet": fleet, "age": 5.0,
        "locks": ["row 7"], "why": "there is no record of its transaction",
    }  # fmt: skip
    assert "expected commit or abort" in tx("resolve", "/tx", "7-00ff", "abort", "--orphan", code=2)
    assert "There is no such transaction: 7-00ff" in tx("resolve", "/tx", "7-00ff", "abort", code=1)
    assert tx("resolve", "/tx", "7-00ff", "abort", "--orphan", *given) == "a: abort\n"
    assert bank["a"].held() == {str(branch): "aborted"}
    assert tx("orphans", "/tx", *given) == "no orphans\n"


def test_serve_ends_what_others_left_and_tells_figures(tx, bank, hosts, tmp_path):
    (tmp_path / "closed").write_text("")
    anyio.run(transfer, hosts, bank)
    port = free_port()
    command = [sys.executable, "-m", "recipes", "tx", "serve", "/tx", "--participants", "bank:PARTICIPANTS"]
    with subprocess.Popen(
        [*command, "--hosts", hosts, "--metrics", f"127.0.0.1:{port}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        try:
            assert serving.stdout is not None and serving.stderr is not None
            assert "ready to end" in serving.stdout.readline()
            (tmp_path / "closed").unlink()
            told = serving.stderr.readline()
            while "of a dead coordinator is settled" not in told:
                assert told
                told = serving.stderr.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page:
                figures = page.read().decode()
        finally:
            serving.send_signal(signal.SIGTERM)
        assert serving.wait(30) == 0
    assert "recipes_transactions_recovered_total 1\n" in figures
    assert set(bank["a"].held().values()) == set(bank["b"].held().values()) == {"committed"}


@pytest.mark.thorough  # a web server
def test_serve_names_the_participant_whose_token_is_wrong(tx, hosts, tmp_path):
    pytest.importorskip("httpx", reason="needs httpx")
    service = Service()
    service.app = participant_app(MemoryParticipant(), token="s3cret")
    service.start()
    try:
        (tmp_path / "wrong.toml").write_text(f'[svc]\nkind = "http"\nurl = "{service.url}"\ntoken = "0ther"\n')
        told = tx("serve", "/tx", "--participants", "wrong.toml", code=1)
    finally:
        service.stop()
    assert "the participant 'svc': ParticipantError: The participant gave no answer" in told
    assert f"{service.url} (it answered 401: expected the token of this service: give RemoteParticipant the" in told
    assert "0ther" not in told


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("bank", "'bank': expected MODULE:NAME, or a file that ends in .toml"),
        ("bank:NOBODY", "module 'bank' has no attribute 'NOBODY'"),
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("bank:BANK_TYPES", "expected participants by name, not 'none'"),
        ("missing.toml", "missing.toml: No such file"),
        ("kind.toml", "kind.toml: a: kind='oracle': expected one of postgres, "),
        ("variable.toml", "variable.toml: a: dsn: there is no variable NOT_SET in the environment"),
        ("words.toml", "words.toml: a: PostgresParticipant.__init__() got an unexpected keyword argument 'host'"),
    ],
)
def test_participants_that_cannot_be_made_are_named(tx, tmp_path, given, why):
    (tmp_path / "bank.py").write_text('BANK_TYPES = "none"\n')
    (tmp_path / "kind.toml").write_text('[a]\nkind = "oracle"\n')
    (tmp_path / "variable.toml").write_text('[a]\nkind = "postgres"\ndsn = {env = "NOT_SET"}\n')
    (tmp_path / "words.toml").write_text('[a]\nkind = "postgres"\ndsn = ""\nhost = "here"\n')
    assert why in tx("orphans", "/tx", "--participants", given, code=2)


def test_a_path_that_is_missing_is_told(tx):
    assert "There is no such znode: /no" in tx("list", "/no", code=1)
