"""`recipes lock`: the program's exit code, its fence, and nobody to ask."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_program_gets_a_fence_and_its_exit_code_is_passed_on(run, hosts):
    program = "import os, sys; print(int(os.environ['RECIPES_FENCE']) > 0); sys.exit(7)"
    done = run("lock", "--hosts", hosts, "/locks/a", "--", sys.executable, "-c", program)
    assert (done.returncode, done.stdout) == (7, "True\n"), done.stderr


def test_hosts_from_the_environment(run, hosts):
    assert run("lock", "/locks/a", "--", "true", RECIPES_HOSTS=hosts).returncode == 0


def test_fences_rise(run, hosts):
    fences = [
        int(run("lock", "--hosts", hosts, "/locks/a", "--", "sh", "-c", "echo $RECIPES_FENCE").stdout) for _ in range(2)
    ]
    assert fences == sorted(set(fences))


def test_no_such_program(run, hosts):
    done = run("lock", "--hosts", hosts, "/locks/a", "--", "no-such-program")
    assert (done.returncode, len(done.stderr.splitlines())) == (127, 1)


def test_nothing_listens(run):
    done = run("lock", "--hosts", "127.0.0.1:1", "/locks/a", "--", "true")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_a_lost_lock_stops_the_program_and_exits_75(run, hosts):
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", "lock", "--hosts", hosts, "/locks/a", "--", "sh", "-c", "echo in; sleep 100"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "in\n"
        (name,) = run("shell", hosts, "ls", "/locks/a").stdout.strip("[]\n").split(", ")
        assert run("shell", hosts, "delete", f"/locks/a/{name}").returncode == 0
        # Both ends of the pipes close only when the program and its children are gone too.
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 75
    assert len(said.splitlines()) == 1
