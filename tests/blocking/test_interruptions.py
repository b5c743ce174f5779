"""A blocking body that something happens to: the session ends, Ctrl-C, a fork, the end of the interpreter."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recipes import AckLost, LeadershipLost, LockLost, SessionExpired
from recipes.blocking import DoubleBarrier, Election, Lock, Queue, connect
from tests.blocking.conftest import SECONDS, Worker, until

ROOT = Path(__file__).parent.parent.parent
PREFACE = """
import os, signal, sys, threading, time
from recipes.blocking import *
client = connect(sys.argv[1]).__enter__()
root = sys.argv[2]
"""


@contextmanager
def program(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program, which has ended when the block has."""
    command = [sys.executable, "-c", PREFACE + code, *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> tuple[str, int]:
    """What a program said, and its exit code."""
    said, _ = process.communicate(timeout=SECONDS)
    return said, process.returncode


def test_a_lost_session_is_said_inside_and_raised_at_the_edge(client, root, expire):
    lock, election, queue = (
        Lock(client, f"{root}/lock"),
        Election(client, f"{root}/election"),
        Queue(client, f"{root}/q"),
    )
    queue.put(b"x")
    after = []

    def lead() -> None:
        with pytest.raises(LeadershipLost), election.lead() as term:
            inside.wait(SECONDS)
            assert term.ended.wait(SECONDS)
            after.append("led")

    def receive() -> None:
        with pytest.raises(AckLost), queue.receive() as message:
            inside.wait(SECONDS)
            assert message.ended.wait(SECONDS)
            after.append("received")

    def wait() -> None:
        with pytest.raises(LockLost, match="while waiting"), lock:
            after.append("not to be reached")

    inside = threading.Barrier(3)
    workers = [Worker(lead), Worker(receive)]
    with pytest.raises(LockLost) as lost, lock as grant:
        workers.append(Worker(wait))
        until(lock.waiters)
        inside.wait(SECONDS)
        assert not grant.ended.is_set()
        expire(client)
        assert grant.ended.wait(SECONDS)
        for worker in workers:
            worker.finish()
        assert (grant.lost, sorted(after)) == (True, ["led", "received"])  # and this body goes on
        raise KeyError("of the body")
    assert isinstance(lost.value.__cause__, KeyError)
    with pytest.raises(SessionExpired):
        client.exists("/")
    with pytest.raises(SessionExpired), lock:
        pass


def test_a_lost_session_leaves_the_client_and_others_well(our_server, client, root, expire):
    with connect(our_server.hosts) as other:
        with pytest.raises(LockLost), Lock(other, root) as grant:
            expire(other)
            assert grant.ended.wait(SECONDS)
            with Lock(client, root) as next_grant:
                assert next_grant.fence > grant.fence
        assert other.state.name == "LOST"


def test_a_party_inside_is_told_of_a_death(client, root, our_server):
    def die() -> None:
        with pytest.raises(KeyError), DoubleBarrier(client, root, 2):
            raise KeyError

    with connect(our_server.hosts) as other:
        worker = Worker(die)
        with pytest.raises(Exception, match="broken") as broken, DoubleBarrier(other, root, 2) as entered:
            assert entered.broken.wait(SECONDS)
        worker.finish()
        assert type(broken.value).__name__ == "BrokenBarrier"


WAITS = {
    "lock": "with Lock(client, root): pass",
    "acquire": "Lock(client, root).acquire()",
    "election": "with Election(client, root).lead(): pass",
    "barrier": "with DoubleBarrier(client, root, 2): pass",
    "receive": "with Queue(client, root).receive(): pass",
}


def test_ctrl_c_ends_each_wait_and_leaves_nothing_in_line(client, root, our_server):
    """The program survives it, and goes on with the same client: nothing is cleaned up by the end of its session."""
    client.create(root)
    with (
        Lock(client, f"{root}/lock"),
        Lock(client, f"{root}/acquire"),
        Election(client, f"{root}/election").lead(),
        program(
            f"""
base = root
for name, wait in {WAITS!r}.items():
    root = f"{{base}}/{{name}}"
    print(name, flush=True)
    try:
        exec(compile(wait, name, "exec"))  # of a string, Python would take the interruption for unhandled
    except KeyboardInterrupt:
        client.create(f"{{base}}/interrupted-{{name}}")
        print("interrupted", flush=True)
sys.stdin.read()
""",
            our_server.hosts,
            root,
        ) as process,
    ):
        for name in WAITS:
            path = f"{root}/{name}"
            least = 2 if name in ("lock", "acquire", "election") else 1
            assert process.stdout.readline() == f"{name}\n"
            if name == "receive":
                until(lambda path=path: client.exists(f"{path}/items"))
            else:
                until(lambda path=path, least=least: in_line(client, path) == least)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            if name != "receive":
                until(lambda path=path, least=least: in_line(client, path) == least - 1)
        assert end(process) == ("", 0)


def in_line(client, path: str) -> int:
    """How many places in a line, or in a round of a barrier, are below `path`."""
    if client.exists(path) is None:
        return 0
    names = client.children(path)
    return sum(name.startswith("_r_") or in_line(client, f"{path}/{name}") for name in names)


def test_ctrl_c_in_a_body_releases_at_once(client, root, our_server):
    code = "with connect(sys.argv[1]) as mine, Lock(mine, root): print('in', flush=True); time.sleep(100)"
    with program(code, our_server.hosts, root) as process:
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGINT)
        said, code = end(process)
        assert (said.splitlines()[-1], code) == ("KeyboardInterrupt", -signal.SIGINT)
        with Lock(client, root).try_acquire() as grant:  # the session would live for longer
            assert grant is not None


FORK = """
import warnings
warnings.simplefilter("ignore")  # of a fork in a program with threads
with Lock(client, root) as grant, client.multi() as multi:
    child = os.fork()
    if child == 0:
        assert grant.ended.is_set() and grant.ended.wait(), "what the parent holds is the parent's"
        queue = Queue(client, root)
        waits = [
            lambda: client.exists("/"), client.states().__next__, client.multi().__enter__, queue.size, grant.release,
            Lock(client, root).acquire, Lock(client, root).__enter__, Election(client, root).lead().__enter__,
        ]
        for wait in waits:
            try:
                wait()
            except RuntimeError as error:
                assert "fork" in str(error), error
            else:
                raise AssertionError(wait)
        with connect(private=True) as own:
            own.create("/own")
        sys.exit(17)  # out of the blocks of the parent
    deadline = time.monotonic() + 30
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        assert time.monotonic() < deadline, "the child does not end"
        time.sleep(0.01)
    print("child", os.waitstatus_to_exitcode(ended[1]))
    assert not grant.ended.is_set()
    multi.create(f"{root}-by-the-parent")
print("parent", multi.results == [f"{root}-by-the-parent"])
"""


def test_a_forked_child_is_refused_by_name_and_touches_nothing_of_the_parent(our_server, root):
    with program(FORK, our_server.hosts, root) as process:
        assert end(process) == ("child 17\nparent True\n", 0)


@pytest.mark.parametrize("hosts", ["of our server", "private"])
def test_an_interpreter_that_ends_with_an_open_client_closes_it(hosts, client, root, our_server):
    opened = "" if hosts != "private" else "client = connect(private=True).__enter__()\n"
    code = f"{opened}grant = Lock(client, root).acquire(); print(client.server, flush=True); sys.stdin.readline()"
    with program(code, our_server.hosts, root) as process:
        assert process.stdout.readline()
        assert end(process) == ("", 0)
        with Lock(client, root).try_acquire() as grant:
            assert grant is not None  # at once: its session is over


@pytest.mark.parametrize("take", [Lock.acquire, Lock.__enter__, lambda lock: lock.try_acquire(within=1).__enter__()])
def test_an_interruption_after_the_lock_was_had_gives_it_back(client, root, monkeypatch, take):
    lock, show, interruptions = Lock(client, root), Lock._show, [KeyboardInterrupt]

    def interrupted(lock: Lock, grant: object) -> object:
        if interruptions:
            raise interruptions.pop()
        return show(lock, grant)

    monkeypatch.setattr(Lock, "_show", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take(lock)
    until(lambda: not lock.holders())
    with lock:  # by this very thread
        pass


AT_ANY_MOMENT = """
import random
moments, armed, over, interrupted, acts = random.Random(1), False, False, 0, 0

def strike(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def shoot():
    while not over:
        time.sleep(moments.random() * 0.01)
        os.kill(os.getpid(), signal.SIGINT)

def act():
    if acts % 4 == 0:
        with lock: pass
    elif acts % 4 == 1:
        with lock.try_acquire(within=1): pass
    elif acts % 4 == 2:
        with election.lead(): pass
    else:
        queue.put(b"x")
        with queue.try_receive(within=1): pass

lock, election, queue = Lock(client, root), Election(client, root), Queue(client, root + "-queue")
# In a callback of a weak reference the interpreter itself prints it, and goes on: that act is not interrupted.
sys.unraisablehook = lambda what: what.exc_type is KeyboardInterrupt or sys.__unraisablehook__(what)
signal.signal(signal.SIGINT, strike)
shooter = threading.Thread(target=shoot)
shooter.start()
while interrupted < 200:
    acts += 1
    try:
        armed = True
        act()
        armed = False
    except KeyboardInterrupt:
        interrupted += 1
over = True
shooter.join()
deadline = time.monotonic() + 20
while (left := (lock.holders(), election.candidates(), queue.counts()[2])) != ([], [], 0):
    assert time.monotonic() < deadline, left
    time.sleep(0.01)
with lock, election.lead():
    print("nothing is left")
"""


@pytest.mark.thorough  # four seconds, and the test above shows each wait
def test_ctrl_c_at_any_moment_leaves_nothing(our_server, root):
    with program(AT_ANY_MOMENT, our_server.hosts, root) as process:
        assert end(process) == ("nothing is left\n", 0)
