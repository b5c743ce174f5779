"""`recipes status`."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

NOBODY = "127.0.0.1:1"  # a port that needs root to listen on


def test_prints_the_mode(run, hosts):
    done = run("status", hosts)
    assert (done.returncode, done.stdout) == (0, "Mode: standalone\n")


def test_json(run, hosts):
    done = run("status", hosts, "--json")
    assert json.loads(done.stdout) == {"server": hosts, "mode": "standalone"}


def test_one_of_two_unreachable(run, hosts):
    done = run("status", hosts, NOBODY)
    assert done.returncode == 1
    assert "Mode: standalone" in done.stdout
    assert NOBODY in done.stderr
    assert "Traceback" not in done.stderr
    assert "error contacting service, it is probably not running" in done.stderr


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that says this to the first who calls."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4)
                connection.sendall(answer)

        thread = Thread(target=answer_one)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(30)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"This ZooKeeper instance is not currently serving requests\n", "running, but not serving: it has no leader"),
        (b"srvr is not executed because it is not in the whitelist.\n", "srvr is not in its 4lw.commands.whitelist"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it is not a ZooKeeper server"),
        (b"", "it is not a ZooKeeper server"),
    ],
)
def test_who_runs_without_a_mode_is_told_from_who_does_not_run(run, answer, why):
    with answering(answer) as address:
        done = run("status", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{address}: " in done.stderr
    assert why in done.stderr


def test_a_name_nobody_knows(run):
    done = run("status", "nosuch.invalid:2181", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"server": "nosuch.invalid:2181", "mode": None, "error": "name not known"}


def test_hosts_may_be_one_argument_as_in_recipes_hosts(run, hosts):
    done = run("status", f"{hosts},{hosts}/chroot")
    assert (done.returncode, done.stdout) == (0, f"{hosts}\nMode: standalone\n" * 2), done.stderr
