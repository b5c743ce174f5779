"""A program that runs as long as something is held and no longer, whatever signals come.

The guardian (guardian.py), a process of its own, is the program's parent. It ends the program when we end in any way.
It also ends the program when the hold's time is up and we have not extended it, for example because we were stopped.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple, Self

import anyio
import anyio.abc

from recipes import Client, HoldLost, RecipesError
from recipes.cli.guardian import GRACE_S
from recipes.cli.terminal import complain

LOST = 75  # EX_TEMPFAIL of sysexits.h: try again later
CANNOT_RUN = _NOT_EXECUTABLE, _NOT_FOUND = 126, 127  # the exit codes of a shell
_STOPS = signal.SIGTSTP
_MESSAGES = (signal.SIGUSR1, signal.SIGUSR2)
_PASSED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    *_MESSAGES,
    signal.SIGCONT,
)


class Held(NamedTuple):
    """The hold under which a program runs.

    variable: name and value of an environment variable for the program. timeout: of the session, in seconds.
    deadline: the monotonic time, as known now, until which nobody else can have the hold.
    """

    variable: tuple[str, str]
    timeout: float
    deadline: Callable[[], float]

    def limits(self) -> tuple[float, float]:
        """The times of SIGTERM and SIGKILL for the program, unless the deadline moves on before."""
        deadline = self.deadline()
        return deadline - min(GRACE_S, self.timeout / 5), deadline


class ProgramEnding(NamedTuple):
    """How a run ended. code: for a shell. signal: the one that ended the waiting, or that was passed on to end the
    program; or 0.

    lost: why the hold was over before the program, so that the program was ended; the code is LOST then. Else "".
    """

    code: int
    signal: int = 0
    lost: str = ""


def held_by(client: Client, fence: int) -> Held:
    """The hold of a program that gets RECIPES_FENCE, and runs no longer than the session of `client`."""
    session = client.session
    return Held(("RECIPES_FENCE", str(fence)), session.timeout, lambda: session.expires_at)


def as_exit_code(code: int) -> int:
    """Return `code`. After Ctrl-C end this process by SIGINT instead, so that a shell also ends a loop around us."""
    if code == 128 + signal.SIGINT and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return code


@contextmanager
def taking_signals() -> Iterator[AsyncIterator[signal.Signals]]:
    """In the block signals have no effect of their own; they come out of the iterator.

    SIGTSTP keeps its effect until a program runs. Taken here, it would stop this process late, and perhaps for ever:
    after a SIGCONT that was sent after it.
    """
    # An ignored signal, such as SIGHUP under nohup, stays ignored, also for the program.
    numbers = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    with anyio.open_signal_receiver(*numbers) as signals:
        yield signals


async def rest(signals: AsyncIterator[signal.Signals], seconds: float) -> ProgramEnding | None:
    """Wait between two runs. Return the ProgramEnding if a signal interrupts the waiting, as it would before a run."""
    with anyio.move_on_after(seconds):
        async for number in signals:
            if _is_interrupt(number):
                return ProgramEnding(128 + number, number)
    return None


async def run_program(
    name: str,
    command: Sequence[str],
    hold: AbstractAsyncContextManager[Held],
    signals: AsyncIterator[signal.Signals] | None = None,
) -> ProgramEnding:
    """Enter `hold`, run `command` inside it, and return how that ended.

    name: of our command, for messages. hold: may wait. It is left before this returns, after the program's whole
    process group has ended. signals: the iterator of `taking_signals`, if several runs share it. Before the program
    runs a signal ends the waiting, `hold` is left, and the code is 128 plus its number. Once the program runs it gets
    the signals, and their effect is its own. Raises what `hold` raises, except HoldLost, unless a signal came first.
    """
    if signals is None:
        with taking_signals() as signals:
            return await run_program(name, command, hold, signals)
    problem: RecipesError | None = None
    ending = ProgramEnding(0)
    with GuardedProgram(command) as guarded:
        async with anyio.create_task_group() as tasks:
            waiting = anyio.CancelScope()
            interrupts: list[int] = []

            async def pass_on(signals: AsyncIterator[signal.Signals]) -> None:
                async for number in signals:
                    if guarded.was_started:
                        guarded.signal(number)
                    elif _is_interrupt(number):
                        interrupts.append(number)
                        waiting.cancel()

            tasks.start_soon(pass_on, signals)
            try:
                with waiting:
                    async with hold as held:
                        if not interrupts:
                            ending = await _run(name, guarded, held)
            except RecipesError as error:  # the task group would wrap it in an ExceptionGroup
                problem = error
            tasks.cancel_scope.cancel()
    if interrupts:
        return ProgramEnding(128 + interrupts[0], interrupts[0])
    if isinstance(problem, HoldLost):
        return ProgramEnding(LOST, guarded.told_to_end, str(problem))
    if problem is not None:
        raise problem
    return ending._replace(signal=guarded.told_to_end)


def _is_interrupt(number: int) -> bool:
    """Whether a signal ends the waiting."""
    return number != signal.SIGCONT


async def _run(name: str, guarded: "GuardedProgram", held: Held) -> ProgramEnding:
    guarded.start(held)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guarded.take_stops)
            while not guarded.ended:
                guarded.extend(held)
                with anyio.move_on_after(min(1.0, held.timeout / 20)):
                    await guarded.wait_report()
            tasks.cancel_scope.cancel()
    finally:
        if not guarded.ended:  # the hold is lost
            await guarded.end()
    if guarded.problem and not guarded.lost:
        complain(f"recipes {name}", guarded.problem)
    return ProgramEnding(guarded.code, lost=guarded.problem if guarded.lost else "")


class GuardedProgram:
    """A program and its guardian, as the caller sees them. Call `start` once, and await `wait_report` until `ended`.

    told_to_end: the first signal that was passed on and is meant to end a program; 0 before. lost: whether the program
    was ended because the hold was no longer sure, or the guardian was gone.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.was_started: bool = False
        self.ended: bool = False
        self.code: int = LOST
        self.problem: str = ""
        self.told_to_end: int = 0
        self.lost: bool = False
        self._command = command
        self._pid = 0
        self._unread = b""
        self._continued = 0
        self._continue_arrived = False  # and the event loop has not heard of it yet

    def __enter__(self) -> Self:
        """Start the guardian in advance: that takes longer than the order to start the program."""
        order_end, self._orders = os.pipe()
        self._reports, report_end = os.pipe()
        # Signals that are blocked here are blocked in the guardian from its first instruction.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            numbers = ",".join(str(int(number)) for number in mask)
            arguments = [str(order_end), str(report_end), str(os.getpgrp()), numbers, *self._command]
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py")), *arguments],
                pass_fds=(order_end, report_end),
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(order_end)
            os.close(report_end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._orders)  # the guardian ends at the end of its orders
        os.close(self._reports)
        try:
            self._guardian.wait(GRACE_S)
        except subprocess.TimeoutExpired:  # the guardian was stopped
            self._guardian.kill()
            self._guardian.wait()

    def start(self, held: Held) -> None:
        """Order the program's start. Reports tell what becomes of it."""
        self.was_started = True
        self.extend(held)
        self._order(f"start {'='.join(held.variable)}")

    def extend(self, held: Held) -> None:
        """Tell the guardian how long the hold is sure to last."""
        self._order("until {!r} {!r}".format(*held.limits()))

    def signal(self, number: int) -> None:
        """Pass a signal on: SIGUSR1 and SIGUSR2 to the program, any other to all of its group."""
        if number == signal.SIGCONT:
            self._continued += 1
            self._continue_arrived = False
        if number not in (*_MESSAGES, _STOPS, signal.SIGCONT):
            self.told_to_end = self.told_to_end or number
        self._order(f"{'message' if number in _MESSAGES else 'signal'} {int(number)}")

    async def take_stops(self) -> None:
        """Pass SIGTSTP on to the program, which decides whether it stops; this process then stops too."""
        if signal.getsignal(_STOPS) is signal.SIG_IGN:
            return
        with anyio.open_signal_receiver(_STOPS) as stops, self._noting_continue():
            async for number in stops:
                self.signal(number)

    @contextmanager
    def _noting_continue(self) -> Iterator[None]:
        """Note a SIGCONT when it arrives: it reaches the event loop later, and this process must not stop after it."""
        heard = signal.getsignal(signal.SIGCONT)
        if not callable(heard):
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            self._continue_arrived = True
            heard(number, frame)

        signal.signal(signal.SIGCONT, note)
        signal.siginterrupt(signal.SIGCONT, False)
        try:
            yield
        finally:
            signal.signal(signal.SIGCONT, heard)
            signal.siginterrupt(signal.SIGCONT, False)

    async def wait_report(self) -> None:
        """Wait for the guardian's next reports, and handle them."""
        await anyio.wait_readable(self._reports)
        data = os.read(self._reports, 4096)
        if not data:
            self._guardian_ended()
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(*line.decode().split())

    async def end(self) -> None:
        """End the program and its group. Returns once they have ended."""
        self._order("end")
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(GRACE_S + 3):
                while not self.ended:
                    await self.wait_report()
            if not self.ended:
                self._guardian.kill()
                self._guardian_ended()

    def _take(self, report: str, *values: str) -> None:
        if report == "started":
            self._pid = int(values[0])
        elif report == "failed":
            number = int(values[0])
            self.problem = f"{self._command[0]}: {os.strerror(number)}"
            self._finish(_NOT_FOUND if number in (errno.ENOENT, errno.ENOTDIR) else _NOT_EXECUTABLE)
        elif report == "stopped":
            number, continued = map(int, values)
            # Stop as well, as a shell expects of a job. The hold lasts until its deadline; then the guardian ends the
            # program. But SIGSTOP is meant for the program alone, and a program that we continued since runs again.
            if number != signal.SIGSTOP and continued == self._continued and not self._continue_arrived:
                os.kill(os.getpid(), signal.SIGSTOP)
        elif report == "late":
            self.problem = "no server has confirmed the session for too long, so the program was ended"
            self.lost = True
            if not self._pid:
                self._finish(LOST)
        elif report == "ended":
            code = os.waitstatus_to_exitcode(int(values[0]))
            self._finish(LOST if self.lost else code if code >= 0 else 128 - code)

    def _finish(self, code: int) -> None:
        self.ended, self.code = True, code

    def _guardian_ended(self) -> None:
        """The guardian was killed: only we can end the program now."""
        if not self.ended:
            with suppress(ProcessLookupError):
                if self._pid:
                    os.killpg(self._pid, signal.SIGKILL)
            self.problem = "the program's guardian was killed, and the program with it"
            self.lost = True
            self._finish(LOST)

    def _order(self, line: str) -> None:
        with suppress(BrokenPipeError):  # the guardian has ended; `wait_report` will see that
            os.write(self._orders, f"{line}\n".encode())
