"""`recipes lock` and signals in every state: no program runs on without its lock, no place in line stays behind."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from recipes import Lock, NoNode, connect

ROOT = Path(__file__).parent.parent.parent
ENDING = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"]
SIGNALS = [*ENDING, "TSTP", "STOP", "CONT", "KILL"]
STATES = ["connecting", "waiting", "starting", "running", "stopping"]
SESSION_S = 3.0
PATIENCE_S = 60.0
AT_ONCE = 12
# A shell and a child, which are one process group; the file is there once both run.
PROGRAM = 'sleep 1000 & echo $$ > "$1.new"; mv "$1.new" "$1"; wait'
SLOW_TO_STOP = "trap 'sleep 0.3; exit 0' TERM; " + PROGRAM


class Launcher:
    """Starts commands by launcher.py and hears of their ends."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pids: asyncio.Queue[int] = asyncio.Queue()
        self._one = asyncio.Lock()
        self.ends: dict[int, asyncio.Future[int]] = {}

    async def read(self) -> None:
        while line := await self._process.stdout.readline():
            pid, *status = map(int, line.split())
            end = self.ends.setdefault(pid, asyncio.get_running_loop().create_future())
            if status and not end.done():
                end.set_result(os.waitstatus_to_exitcode(status[0]))
            elif not status:
                self._pids.put_nowait(pid)

    async def start(self, arguments: list[str], output: Path) -> int:
        async with self._one:
            self._process.stdin.write(json.dumps([arguments, str(output)]).encode() + b"\n")
            return await self._pids.get()


@asynccontextmanager
async def launching():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("launcher.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    launcher = Launcher(process)
    reading = asyncio.create_task(launcher.read())
    try:
        yield launcher
    finally:
        process.stdin.close()
        await process.wait()
        await reading


def exists(group: int) -> bool:
    """Whether a process of the group has not ended; what is stopped could go on, a zombie cannot."""
    for name in os.listdir("/proc") if group else ():
        if name.isdecimal():
            with suppress(OSError):
                state, _, its_group, *_ = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
                if int(its_group) == group and state not in "ZX":
                    return True
    return False


async def until(condition, what: str) -> None:
    limit = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < limit, f"not within {PATIENCE_S:g} s: {what}"
        await asyncio.sleep(0.01)


class TooSlow(Exception):
    """On a busy machine a session can end, or not begin in time, before the state was reached."""


class Trial:
    """One `recipes lock`, brought into a state and sent a signal at a random moment."""

    def __init__(self, launcher, client, hosts: str, silent: str, directory: Path, path: str, seed: str) -> None:
        self.launcher, self.client, self.hosts, self.silent = launcher, client, hosts, silent
        self.pid = 0
        self.path, self.random = path, random.Random(seed)
        self.pid_file, self.output = directory / f"{path.strip('/')}.pid", directory / f"{path.strip('/')}.out"

    async def run(self, name: str, state: str) -> None:
        if state == "waiting":
            async with connect(self.hosts) as other, Lock(other, self.path):
                await self._run(name, state)
        else:
            await self._run(name, state)
        assert await self._line() == []

    async def _run(self, name: str, state: str) -> None:
        program = SLOW_TO_STOP if state == "stopping" else PROGRAM
        hosts = self.silent if state == "connecting" else self.hosts
        command = ["lock", "--hosts", hosts, "--session-timeout", str(SESSION_S), self.path, "--"]
        self.output.touch()  # it may end before it opens this
        pid = self.pid = await self.launcher.start(
            [*command, "sh", "-c", program, "sh", str(self.pid_file)], self.output
        )
        others = 1 if state == "waiting" else 0
        watching = asyncio.create_task(self._watch_line(others))
        try:
            await self._reach(state, pid)
            number = signal.Signals[f"SIG{name}"]
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            await self._conclude(pid, number, state, others)
            await until(lambda: not exists(self._group()), "the program's end")
        finally:
            watching.cancel()
            for each in (pid, -self._group()):
                with suppress(ProcessLookupError):
                    if each:
                        os.kill(each, signal.SIGKILL)
        with suppress(asyncio.CancelledError):
            await watching  # raises what it saw
        await self._await_empty(others)

    async def _reach(self, state: str, pid: int) -> None:
        if state in ("connecting", "starting"):
            await asyncio.sleep(self.random.uniform(0, 0.3))
            return
        if state == "waiting":
            for _ in range(int(PATIENCE_S / 0.02)):
                if len(await self._line()) == 2:
                    break
                self._check_session(pid)
                await asyncio.sleep(0.02)
            else:
                raise AssertionError(f"not in line: {self.output.read_text()}")
        else:
            await until(lambda: self.pid_file.exists() or self.launcher.ends[pid].done(), "the program's start")
            self._check_session(pid)
        if state == "stopping":
            os.kill(pid, signal.SIGTERM)
            await asyncio.sleep(self.random.uniform(0, 0.5))
        await asyncio.sleep(self.random.uniform(0, 0.1))

    def _check_session(self, pid: int) -> None:
        end = self.launcher.ends[pid]
        if end.done() and end.result() in (1, 75) and not self.pid_file.exists():
            raise TooSlow

    async def _conclude(self, pid: int, number: int, state: str, others: int) -> None:
        """Until the command has ended: by itself, or after what the signal leaves to others to do."""
        end = self.launcher.ends[pid]
        if number in (signal.SIGTSTP, signal.SIGSTOP):
            if self.random.random() < 0.5:  # for a moment
                await asyncio.sleep(self.random.uniform(0, 0.3))
            else:  # for longer than the session lives
                for _ in range(int(PATIENCE_S / 0.05)):
                    if end.done() or len(await self._line()) == others:
                        break
                    await asyncio.sleep(0.05)
                await until(lambda: not exists(self._group()), "the program's end behind a command that is stopped")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if number in (signal.SIGTSTP, signal.SIGSTOP, signal.SIGCONT) and not end.done():
            await asyncio.sleep(self.random.uniform(0, 0.2))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE_S):
                code = await asyncio.shield(end)
        except TimeoutError:
            told = ["ps", "-e", "-o", "pid,ppid,pgid,stat,pending,blocked,ignored,caught,wchan,args"]
            seen = subprocess.run(told, capture_output=True, text=True, check=True).stdout.splitlines()
            os.kill(pid, signal.SIGABRT)  # faulthandler tells where it hangs
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.shield(end)
            about = [line for line in seen if line.split()[0] == str(pid) or self.path in line]
            raise AssertionError("it does not end:\n" + "\n".join(about)) from None
        said = self.output.read_text()
        assert "Traceback" not in said, said
        fine = {-number, 128 + number, -signal.SIGTERM, 128 + signal.SIGTERM, 75, 0}
        if state in ("connecting", "starting"):
            fine.add(1)  # it had given up just before: nobody answered in time
        assert code in fine, (code, said)

    async def _watch_line(self, others: int) -> None:
        """Our place in line goes only when nothing of the program runs."""
        seen = False
        while True:
            ours = len(await self._line()) > others
            if seen and not ours:
                assert not exists(self._group()), f"{self.path}: the program runs on without its lock"
            seen = seen or ours
            await asyncio.sleep(0.02)

    async def _await_empty(self, others: int) -> None:
        for _ in range(int(PATIENCE_S / 0.05)):
            if len(await self._line()) == others:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"a place in line stays behind: {await self._line()}")

    async def _line(self) -> list[str]:
        try:
            return await self.client.children(self.path)
        except NoNode:
            return []

    def _group(self) -> int:
        try:
            return int(self.pid_file.read_text())
        except FileNotFoundError:
            return 0


async def run_trials(hosts: str, directory: Path, times: int, seed: int) -> None:
    cells = [(name, state, turn) for name in SIGNALS for state in STATES for turn in range(times)]
    order = random.Random(seed)
    order.shuffle(cells)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silence:
        silent = f"127.0.0.1:{silence.getsockname()[1]}"
        async with launching() as launcher, connect(hosts) as client:
            places = asyncio.Semaphore(AT_ONCE)

            async def one(name: str, state: str, turn: int) -> None:
                async with places:
                    cell = f"{name}-{state}-{turn}"
                    trial = Trial(launcher, client, hosts, silent, directory, f"/{cell}", f"{seed}-{cell}")
                    try:
                        for _ in range(10):
                            with suppress(TooSlow):
                                await trial.run(name, state)
                                return
                        raise AssertionError("too slow, ten times")
                    except BaseException as error:
                        said = trial.output.read_text() if trial.output.exists() else "nothing"
                        error.add_note(f"SIG{name} while {state}, seed {seed}, said: {said}")
                        raise

            async with asyncio.TaskGroup() as trials:
                for cell in cells:
                    trials.create_task(one(*cell))


@pytest.mark.thorough  # a hundred processes; test_lock.py shows the signals that people send
@pytest.mark.timeout(400)  # longer than its own patience, which says what did not happen
@pytest.mark.asyncio
async def test_w3_u1_u2_u3_newcomer_8_no_signal_leaves_a_program_or_a_place_behind(hosts, tmp_path):
    await run_trials(hosts, tmp_path, times=2, seed=random.randrange(1 << 30))


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.asyncio
async def test_each_signal_25_times_in_each_state(hosts, tmp_path):
    await run_trials(hosts, tmp_path, times=25, seed=random.randrange(1 << 30))
