"""`recipes lock`: the program's exit code, its fence, and nobody to ask."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

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


def held(hosts: str, path: str, program: str = "echo in; sleep 100", **how) -> subprocess.Popen[str]:
    """`recipes lock` with a program that says "in"."""
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", "lock", "--hosts", hosts, path, "--", "sh", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )
    assert process.stdout.readline() == "in\n"
    return process


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.terminate()
    try:
        return process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()


def test_newcomer_15_u7_it_can_give_up_and_names_the_holder(run, hosts):
    holder = held(hosts, "/locks/a")
    try:
        for given in (("--try",), ("--wait", "0"), ("--wait", "0.3"), ("--timeout", "0.3")):
            done = run("lock", "--hosts", hosts, *given, "/locks/a", "--", "true")
            assert (done.returncode, len(done.stderr.splitlines())) == (69, 1), done.stderr
            named = f"recipes lock: /locks/a is taken, held by {socket.gethostname()} pid {holder.pid}, in line since 2"
            assert done.stderr.startswith(named)
        assert len(run("shell", hosts, "ls", "/locks/a").stdout.split(", ")) == 1
    finally:
        end(holder)
    assert run("lock", "--hosts", hosts, "--try", "/locks/a", "--", "true").returncode == 0
    assert run("lock", "--hosts", hosts, "--wait", "30", "/locks/a", "--", "sh", "-c", "exit 3").returncode == 3


def test_newcomer_15_the_limit_is_for_the_waiting_only(run, hosts):
    assert run("lock", "--hosts", hosts, "--wait", "0.2", "/locks/a", "--", "sleep", "0.5").returncode == 0


def test_newcomer_15_a_wrong_limit_is_named(run, hosts):
    for given in ("-1", "inf", "nan"):
        done = run("lock", "--hosts", hosts, f"--wait={given}", "/locks/a", "--", "true")
        assert (done.returncode, done.stderr) == (2, f"recipes lock: --wait {given}: expected seconds, 0 or more\n")


def test_newcomer_15_at_a_terminal_it_says_that_it_waits(terminal, hosts):
    holder = held(hosts, "/locks/a")
    waiter = terminal(sys.executable, "-m", "recipes", "lock", "--hosts", hosts, "/locks/a", "--", "echo", "mine")
    assert f"waiting for /locks/a, held by {socket.gethostname()} pid {holder.pid}" in waiter.expect("\n")
    end(holder)
    waiter.expect("mine\r\n")


def test_a_program_that_cannot_be_run_is_told_from_one_that_is_missing(run, hosts, tmp_path):
    (tmp_path / "plain").write_text("")
    done = run("lock", "--hosts", hosts, "/locks/a", "--", "./plain")
    assert (done.returncode, done.stderr) == (126, "recipes lock: ./plain: Permission denied\n")
    assert run("shell", hosts, "ls", "/locks/a").stdout == "[]\n"


def test_w3_the_lock_is_held_until_the_whole_group_has_ended(run, hosts):
    """What a program leaves behind in its group is ended, and only then the lock is given up."""
    left = "trap '' TERM; echo in; sleep 100 & exit 0"
    process = held(hosts, "/locks/a", left)
    try:
        # Both ends of the pipe close only when what ignored SIGTERM is gone as well.
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert run("shell", hosts, "ls", "/locks/a").stdout == "[]\n"


def test_w3_a_guardian_that_is_killed_takes_the_program_with_it(run, hosts):
    process = held(hosts, "/locks/a", "echo in; echo $PPID; sleep 100")
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, len(said.splitlines())) == (75, 1)
    assert "guardian was killed" in said


@pytest.mark.thorough  # waits 9 s for a time limit
def test_w3_a_guardian_that_is_stopped_holds_up_neither_the_end_of_the_program_nor_ours(run, hosts):
    process = held(hosts, "/locks/a", "echo in; echo $PPID; sleep 100")
    os.kill(int(process.stdout.readline()), signal.SIGSTOP)
    (name,) = run("shell", hosts, "ls", "/locks/a").stdout.strip("[]\n").split(", ")
    assert run("shell", hosts, "delete", f"/locks/a/{name}").returncode == 0
    process.communicate(timeout=60)
    assert process.returncode == 75


def test_w3_signals_that_are_ignored_stay_so_for_the_program_too(hosts):
    program = "echo in; read line; kill -HUP $$; echo alive"
    process = held(
        hosts,
        "/locks/a",
        program,
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup has it
    )
    process.send_signal(signal.SIGHUP)
    said, errors = process.communicate("\n", timeout=30)
    assert (process.returncode, said) == (0, "alive\n"), errors


def test_w3_a_message_goes_to_the_program_alone(hosts):
    program = "trap 'echo got; kill -0 $! && echo child lives; kill $!; exit' USR1; sleep 100 & echo in; wait"
    process = held(hosts, "/locks/a", program)
    process.send_signal(signal.SIGUSR1)
    said, errors = process.communicate(timeout=30)
    assert said == "got\nchild lives\n", errors


def test_w3_a_program_has_the_terminal_and_is_a_job_of_the_shell(terminal, run, hosts):
    """Reading, Ctrl-Z, fg and Ctrl-C, as without the lock; what is stopped keeps its lock for a while."""
    at = terminal("sh", "-i", RECIPES_HOSTS=hosts)
    at.expect("$ ")
    program = "echo in; cat; echo rest; exec sleep 100"
    at.type(f"{sys.executable} -m recipes lock /locks/a -- sh -c '{program}'; echo code $?\n")
    at.expect("in\r\n")
    at.type("typed\n")
    at.expect("typed\r\ntyped\r\n")
    at.type("\x1a")
    at.expect("$ ")
    assert len(run("shell", hosts, "ls", "/locks/a").stdout.split(", ")) == 1
    at.type("fg\n")
    at.expect("cat; echo rest")
    at.type("more\n")
    at.expect("more\r\nmore\r\n")
    at.type("\x04")
    at.expect("rest\r\n")
    at.type("\x03")
    at.expect("$ ")
    at.type("echo now; read line; echo read $line\n")  # the terminal is the shell's again
    at.expect("now\r\n")
    at.type("well\n")
    at.expect("read well")
    assert run("shell", hosts, "ls", "/locks/a").stdout == "[]\n"


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_w3_nothing_stops_after_the_sigcont_that_followed(run, hosts, state):
    """Both signals arrive before the event loop hears of the first."""
    held_here = held(hosts, "/locks/a")
    processes = [held_here]
    try:
        if state == "waiting":
            arguments = ["lock", "--hosts", hosts, "/locks/a", "--", "true"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            processes.append(subprocess.Popen([sys.executable, "-m", "recipes", *arguments], env=environment))
            until(lambda: len(run("shell", hosts, "ls", "/locks/a").stdout.split(", ")) == 2)
        for _ in range(10):
            processes[-1].send_signal(signal.SIGTSTP)
            processes[-1].send_signal(signal.SIGCONT)
        processes[-1].terminate()
        assert processes[-1].wait(30) == 128 + signal.SIGTERM
    finally:
        for process in reversed(processes):
            process.kill()
            process.communicate()


def test_newcomer_8_ctrl_c_while_it_waits_ends_a_loop_of_the_shell(terminal, run, hosts):
    holder = held(hosts, "/locks/a")
    loop = f"for i in 1 2; do {sys.executable} -m recipes lock /locks/a -- true; done; echo code $?"
    at = terminal("bash", "-c", f"{loop}", RECIPES_HOSTS=hosts)
    at.expect("waiting for /locks/a")
    at.type("\x03")
    assert at.process.wait(30) in (130, -signal.SIGINT)
    assert len(run("shell", hosts, "ls", "/locks/a").stdout.split(", ")) == 1
    end(holder)


def test_the_guardian_imports_next_to_nothing():
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'recipes' / 'cli')!r}); import guardian; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"recipes", "asyncio", "subprocess", "typing", "re", "json", "socket", "threading"})


def test_w3_no_program_runs_of_which_only_the_guardian_knows(tmp_path):
    """It is killed before it has said `started`, for which there is no room in the pipe."""
    order_end, orders = os.pipe()
    reports, report_end = os.pipe()
    os.set_blocking(report_end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(report_end, b"x")
    os.set_blocking(report_end, True)
    arguments = [str(order_end), str(report_end), str(os.getpgrp()), "", "touch", str(tmp_path / "ran")]
    guardian = subprocess.Popen(
        [sys.executable, "-I", "-S", str(ROOT / "recipes" / "cli" / "guardian.py"), *arguments],
        pass_fds=(order_end, report_end),
        process_group=0,
    )
    try:
        far = time.monotonic() + 600
        os.write(orders, f"until {far} {far}\nstart A=B\n".encode())
        children = Path(f"/proc/{guardian.pid}/task/{guardian.pid}/children")
        until(lambda: children.read_text() != "")
        child = Path(f"/proc/{int(children.read_text())}/stat")
        guardian.kill()
        guardian.wait()
        until(lambda: not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z")
        assert not (tmp_path / "ran").exists()
    finally:
        guardian.kill()
        for descriptor in (order_end, orders, reports, report_end):
            os.close(descriptor)


def until(condition):
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
