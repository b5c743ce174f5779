"""`recipes status`."""

import json

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
