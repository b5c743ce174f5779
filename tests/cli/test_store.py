"""Commands that are told of no hosts use the store of this user, start it, and say so."""

import json

import pytest

from recipes.store.directory import StoreDirectory
from recipes.store.moving import stop


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Nothing configured but a home."""
    monkeypatch.delenv("RECIPES_STORE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    place = StoreDirectory(tmp_path / "home" / ".local" / "state" / "recipes")
    yield place
    if place.directory.is_dir():
        stop(place)


def test_commands_share_it_and_name_it(run, home):
    asleep = run("status")
    assert asleep.returncode == 1
    assert "it does not run now; it is started when it is used" in asleep.stderr
    assert not home.directory.exists()
    named = f"recipes: using the store {home.directory}, since no hosts are named"
    created = run("shell", "create", "/a", "b")
    assert created.returncode == 0, created.stderr
    assert named in created.stderr
    fence = run("lock", "/locks/a", "--", "sh", "-c", "echo $RECIPES_FENCE")
    assert int(fence.stdout) > 0
    assert named in fence.stderr
    status = run("status", "--json")
    assert json.loads(status.stdout) == {"server": f"store:{home.directory}", "mode": "standalone"}
    told = run("shell", "get", "/a", RECIPES_STORE=str(home.directory))
    assert (told.stdout, told.stderr) == ("b\n", "")


def test_move_takes_it_to_a_server(run, home, tmp_path, capsys):
    from recipes.cli.hosts import find_hosts

    find_hosts(None)
    moved = run("move", str(tmp_path / "server"), "--port", "21810")
    assert moved.returncode == 0, moved.stderr
    assert f"recipes serve {tmp_path}/server/zoo.cfg" in moved.stdout
    assert "RECIPES_HOSTS=127.0.0.1:21810" in moved.stdout
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        find_hosts(None)
    assert refused.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(f"recipes: the store {home.directory} was moved: set RECIPES_HOSTS=127.0.0.1:21810")


def test_a_server_at_the_former_default_is_not_passed_over_in_silence(capsys, home, monkeypatch):
    from recipes.cli import hosts

    monkeypatch.setattr(hosts, "_somebody_listens", lambda: True)
    assert hosts.stated_hosts() == f"store:{home.directory}"
    said = capsys.readouterr().err
    assert "a server listens on 127.0.0.1:2181 and is not used" in said
    assert "set RECIPES_HOSTS=127.0.0.1:2181" in said


def test_what_cannot_be_used_is_one_line(capsys, home):
    from recipes.cli.hosts import find_hosts

    home.directory.mkdir(parents=True)
    home.directory.chmod(0o755)
    with pytest.raises(SystemExit) as caught:
        find_hosts(None)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"recipes: the store {home.directory} is open to other users (mode 755): chmod 700 {home.directory}"
    )


def test_hosts_that_are_empty_are_refused(capsys, monkeypatch):
    from recipes.cli.hosts import find_hosts

    monkeypatch.setenv("RECIPES_HOSTS", "")
    with pytest.raises(SystemExit) as caught:
        find_hosts(None)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "recipes: RECIPES_HOSTS='': expected HOST:PORT,... or no such variable\n"
