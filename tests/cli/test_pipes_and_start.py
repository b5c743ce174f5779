"""What holds for every command: a closed pipe is no traceback, errors are JSON where answers are, starts are short."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_block

ROOT = Path(__file__).parent.parent.parent
RECIPES = (sys.executable, "-m", "recipes")


@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("--version",),
        ("shell", "HOSTS", "ls", "/"),
        ("shell", "HOSTS"),
        ("status", "HOSTS"),
        ("demo",),
        ("ensemble", "--size", "1", "--port", "PORT"),
        ("repair", "DATA"),
        *(
            pytest.param(command, marks=pytest.mark.thorough)  # each is an interpreter, for what others print with, too
            for command in (
                ("lock", "--help"),
                ("serve", "--help"),
                ("shell", "help"),
                ("status", "HOSTS", "--json"),
                ("demo", "--json"),
            )
        ),
    ],
    ids="-".join,
)
def test_newcomer_26_a_closed_pipe_is_no_traceback(command, hosts, tmp_path, free_port):
    (tmp_path / "data" / "version-2").mkdir(parents=True)
    stands = {"HOSTS": hosts, "PORT": str(free_port), "DATA": str(tmp_path / "data")}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*RECIPES, *(stands.get(word, word) for word in command)],
        stdout=write,
        stderr=subprocess.PIPE,
        input="ls /\nls /\n",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in (128 + signal.SIGPIPE, 1, 0)  # argparse takes no notice


@pytest.fixture
def free_port():
    return free_block(base + number for base in (0, 1000, 2000) for number in range(3))


def test_newcomer_29_errors_are_json_where_answers_are(run, hosts):
    for command, code, kind in (
        (("shell", "--json", hosts, "get", "/no"), 1, "NoNode"),
        (("shell", "--json", hosts, "get"), 2, None),
        (("shell", "--json", hosts, "frobnicate:"), 2, None),
        (("shell", "--json", "127.0.0.1:1", "ls", "/"), 2, None),
    ):
        done = run(*command)
        (line,) = done.stderr.splitlines()
        told = json.loads(line)
        assert (done.returncode, done.stdout, told.get("kind")) == (code, "", kind)
        assert told["error"]
    assert json.loads(run("shell", "--json", hosts, "get", "/no").stderr)["path"] == "/no"


def test_newcomer_29_lists_below_with_stat_and_makes_parents(run, hosts):
    made = run("shell", hosts, "create", "-p", "/a/b/c", "x")
    assert (made.returncode, made.stdout) == (0, "Created /a/b/c\n"), made.stderr
    assert run("shell", hosts, "create", "/n/o").returncode == 1
    assert run("shell", hosts, "ls", "-R", "/a").stdout == "/a\n/a/b\n/a/b/c\n"
    assert json.loads(run("shell", "--json", hosts, "ls", "-R", "/a").stdout) == ["/a", "/a/b", "/a/b/c"]
    assert run("shell", hosts, "ls", "-R", "/").stdout.startswith("/\n/a\n")
    assert run("shell", hosts, "ls", "-s", "/a/b").stdout.startswith("[c]\ncZxid = 0x")
    told = json.loads(run("shell", "--json", hosts, "ls", "-s", "/a/b").stdout)
    assert (told["children"], told["stat"]["num_children"]) == (["c"], 1)


def test_newcomer_29_an_ephemeral_of_one_command_comes_with_a_hint(run, hosts):
    done = run("shell", hosts, "create", "-e", "/gone")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (0, "Created /gone\n", 1)
    assert "ends with its session" in done.stderr
    assert run("shell", hosts, stdin="create -e /there\nls /\n").stderr == ""


def test_newcomer_30_the_port_is_told_also_where_it_was_left_out(run):
    done = run("shell", "--hosts", "127.0.0.1", "ls", "/")
    assert done.stderr.startswith("recipes: nothing listens on 127.0.0.1:2181") or done.returncode == 0


@pytest.mark.parametrize("command", [["shell", "help"], ["lock", "/a"], ["status"], ["--version"]], ids="-".join)
def test_newcomer_20_a_command_imports_what_it_needs_only(command):
    program = f"import sys, recipes.cli; recipes.cli.main({command!r}); print('loaded', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RECIPES_HOSTS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.rpartition("loaded ")[2].split())
    assert loaded.isdisjoint({"pydantic", "recipes.embedded", "recipes.core.server", "recipes.cli.demo", "readline"})
    assert len(loaded) > 20
