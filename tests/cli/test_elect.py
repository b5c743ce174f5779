"""`recipes elect`: one of many runs its program, and the next one takes over."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from recipes.cli import main

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def candidate(hosts, program, *options):
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", "elect", "--hosts", hosts, *options, "/e", "--", "sh", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()


def places(run, hosts):
    return run("shell", hosts, "ls", "/e").stdout.strip("[]\n")


def test_a_program_that_ends_ends_the_leadership_and_gives_its_exit_code(run, hosts):
    done = run("elect", "--hosts", hosts, "/e", "--", "sh", "-c", "echo $RECIPES_FENCE; exit 7")
    assert done.returncode == 7 and int(done.stdout) > 0
    assert places(run, hosts) == ""


def test_sigterm_hands_over_at_once_and_in_order(run, hosts):
    program = "trap 'echo bye; exit 0' TERM; echo $RECIPES_FENCE; while :; do sleep 0.01; done"
    with candidate(hosts, program) as first:
        fence = int(first.stdout.readline())
        with candidate(hosts, program) as second:
            first.terminate()
            assert first.communicate(timeout=60)[0] == "bye\n"
            assert first.returncode == 0
            assert int(second.stdout.readline()) > fence


def test_a_heavier_host_takes_over(hosts):
    program = "trap 'echo bye; exit 0' TERM; echo $RECIPES_FENCE; while :; do sleep 0.01; done"
    with candidate(hosts, program, "--min-hold", "0.1") as light:
        fence = int(light.stdout.readline())
        with candidate(hosts, program, "--weight", "9") as heavy:
            assert int(heavy.stdout.readline()) > fence
            assert light.stdout.readline() == "bye\n"
            heavy.terminate()
            assert int(light.stdout.readline()) > fence  # it waited for its turn


def test_a_program_is_ended_when_leadership_is_lost_and_started_when_it_is_won_again(run, hosts):
    with candidate(hosts, "echo $RECIPES_FENCE; exec sleep 100") as process:
        fence = int(process.stdout.readline())
        assert run("shell", hosts, "delete", f"/e/{places(run, hosts)}").returncode == 0
        assert int(process.stdout.readline()) > fence
        assert "leadership was lost" in process.stderr.readline().lower()
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


@pytest.mark.thorough  # waits for a session to expire; tests/election has it
def test_it_goes_on_with_a_new_session_when_its_servers_were_away(start_server):
    server = start_server("ours")
    with candidate(server.hosts, "echo $RECIPES_FENCE; exec sleep 100", "--session-timeout", "3") as process:
        fence = int(process.stdout.readline())
        server.kill9()
        assert "the program was ended" in process.stderr.readline()
        server.start()
        assert int(process.stdout.readline()) > fence
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


def test_restart_goes_on_until_a_signal_comes(hosts):
    with candidate(hosts, "echo in; read line", "--restart") as process:
        assert [process.stdout.readline() for _ in range(3)] == ["in\n"] * 3
        process.terminate()
        assert process.wait(60) != 0


def test_no_program_no_server_no_such_program(run, hosts):
    done = run("elect", "/e", "--hosts", hosts)
    assert (done.returncode, done.stderr) == (2, "recipes elect: no command given: recipes elect PATH -- COMMAND...\n")
    done = run("elect", "--hosts", hosts, "--restart", "/e", "--", "no-such-program")
    assert (done.returncode, len(done.stderr.splitlines())) == (127, 1)


def runs_a_program(pid):
    try:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    except FileNotFoundError:  # it has ended
        return False


def catches(pid, number):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:  # it has ended
        return False
    return bool(int(re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[1], 16) >> (number - 1) & 1)


def test_a_signal_between_two_runs_ends_it_in_order(hosts):
    """A signal that comes while the program runs goes to the program, so it is sent again after the next run."""
    with candidate(hosts, "echo in", "--restart") as process:
        uncaught = 0
        while process.stdout.readline():  # else it has ended
            while runs_a_program(process.pid):
                pass
            if catches(process.pid, signal.SIGUSR1):
                process.send_signal(signal.SIGUSR1)
            else:  # it exits, and a further signal would end it by its default action
                uncaught += 1
                assert uncaught < 10, "between two runs signals are not caught"
        assert process.wait(60) == 128 + signal.SIGUSR1, "not by its default action"


@pytest.mark.parametrize(
    "command",
    ["elect e -- true", "lock e -- true", "barrier wait e", "barrier create e", "counter e", "queue size e"],
)
def test_a_path_that_is_none_is_a_wrong_argument(hosts, capsys, monkeypatch, command):
    monkeypatch.setenv("RECIPES_HOSTS", hosts)
    monkeypatch.setattr("recipes.cli.signal.signal", lambda *_: None)  # it is this process's
    assert main(command.split()) == 2
    assert "it does not start with /" in capsys.readouterr().err
