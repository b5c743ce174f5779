"""`recipes shell`: zkCli's words and formats."""

import json
import re

import anyio
import pytest

from recipes import ACL, Id, Stat
from recipes.cli.tree_commands import format_stat, parse_acl
from recipes.testing import Ensemble

STAT = Stat(0x5, 0x6, 1000, 2000, 3, 4, 5, -2, 7, 8, 0x9)


def test_stat_is_in_the_format_of_zkcli():
    lines = format_stat(STAT).splitlines()
    assert lines[0] == "cZxid = 0x5"
    assert re.fullmatch(r"ctime = Thu Jan 01 \d\d:\d\d:01 \S+ 1970|ctime = Wed Dec 31 \d\d:\d\d:01 \S+ 1969", lines[1])
    assert lines[2] == "mZxid = 0x6"
    assert lines[4:] == [
        "pZxid = 0x9",
        "cversion = 4",
        "dataVersion = 3",
        "aclVersion = 5",
        "ephemeralOwner = 0xfffffffffffffffe",
        "dataLength = 7",
        "numChildren = 8",
    ]


def test_acl_of_an_id_with_a_colon():
    assert parse_acl("digest:me:hash=:cr,world:anyone:r") == [
        ACL(5, Id("digest", "me:hash=")),
        ACL(1, Id("world", "anyone")),
    ]


def test_commands(run, hosts):
    commands = "create /a one\nget -s /a\nset /a two\nget /a\nls /\ngetAcl /a\ncreate -s /a/n-\ndeleteall /a\nls /\n"
    done = run("shell", hosts, stdin=commands)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Created /a\none\ncZxid = 0x" in done.stdout
    assert "\ntwo\n[a, zookeeper]\n'world,'anyone\n: cdrwa\nCreated /a/n-0000000000\n[zookeeper]\n" in done.stdout


def test_errors_are_one_line(run, hosts):
    missing = run("shell", hosts, "get", "/no")
    assert (missing.returncode, len(missing.stderr.splitlines())) == (1, 1)
    assert "/no" in missing.stderr
    usage = run("shell", hosts, "get")
    assert (usage.returncode, len(usage.stderr.splitlines())) == (2, 1)


def test_json(run, hosts):
    assert json.loads(run("shell", "--json", hosts, "ls", "/").stdout) == ["zookeeper"]


def test_nothing_listens(run):
    done = run("shell", "127.0.0.1:1", "ls", "/")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "nothing listens on 127.0.0.1:1" in done.stderr


def test_auth_lets_in_whom_the_acl_names(run, hosts):
    mine = ("--auth", "digest:me:secret", hosts)
    made = run("shell", *mine, "create", "/mine", "x", "auth::cdrwa")
    assert made.returncode == 0, made.stderr
    assert run("shell", *mine, "get", "/mine").stdout == ("x\n")
    refused = run("shell", hosts, "get", "/mine")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert run("shell", *mine, "delete", "/mine").returncode == 0


def test_a_name_nobody_knows_is_told_and_only_the_default_comes_with_advice(run):
    for command in (
        ("shell", "--hosts", "nosuch.invalid", "ls", "/"),
        ("lock", "--hosts", "nosuch.invalid", "/a", "x"),
    ):
        done = run(*command)
        assert (done.returncode, done.stderr) == (2, "recipes: nosuch.invalid: name not known\n")
    assert "RECIPES_HOSTS" not in run("shell", "127.0.0.1:1", "ls", "/").stderr
    mixed = run("shell", "127.0.0.1:1,nosuch.invalid:2", "ls", "/").stderr
    assert mixed == "recipes: nothing listens on 127.0.0.1:1; nosuch.invalid: name not known\n"


def test_a_missing_chroot_is_told(run, hosts):
    for command in (("ls", "/"), ("create", "/a")):
        done = run("shell", f"{hosts}/no/such", *command)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "the chroot is missing" in done.stderr
    assert "chroot" not in run("shell", hosts, "ls", "/no").stderr


def test_an_unknown_command_is_named(run, hosts):
    done = run("shell", hosts, stdin="bad /a\nls /\n")
    assert done.returncode == 0
    assert done.stderr == "recipes shell: bad: not a command; try help\n"
    assert done.stdout == "[zookeeper]\n"


def test_set_prints_nothing_unless_asked(run, hosts):
    done = run("shell", hosts, stdin="create /quiet a\nset /quiet b\ndelete /quiet\n")
    assert (done.stdout, done.stderr) == ("Created /quiet\n", "")


def test_auth_without_credentials_is_refused(run, hosts):
    for given in ("digest", "digest:", ":me", ""):
        done = run("shell", "--auth", given, hosts, "ls", "/")
        assert done.returncode == 2
        assert done.stderr == "recipes: --auth: expected SCHEME:CREDENTIALS, such as digest:user:password\n"


@pytest.mark.timeout(90)
def test_read_only_reads_where_there_is_no_leader(run):
    with Ensemble(3, read_only=True) as ensemble:
        made = run("shell", ensemble.hosts, "create", "/seen", "x")
        assert made.returncode == 0, made.stderr
        for sid in (1, 2):
            anyio.run(ensemble.kill, sid)
        left = ensemble.host(3)
        done = run("shell", "--read-only", left, "get", "/seen")
        assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr
        refused = run("shell", "--read-only", left, "set", "/seen", "y")
        assert refused.returncode == 1
        assert "read-only" in refused.stderr
