"""Runs one program, and ends its whole process group when the calling process ends, stops or falls silent.

`program.py` runs this file with an interpreter of its own: a process that was killed or stopped cannot look after a
program. This file imports nothing of recipes, so that it starts within milliseconds.

Every signal but SIGCHLD is blocked from the start, and our process group is neither the caller's nor the program's. So
signals that a terminal or `kill` sends to either group do not reach us. The session is the caller's, so that the
program can use its terminal.

Orders are lines: `until TERM_AT KILL_AT` (monotonic seconds: when the program gets SIGTERM and SIGKILL), `start
NAME=VALUE` (started with this in its environment), `signal N` (to its group), `message N` (to the program alone),
`end`.

Reports are lines: `started PID`, `failed ERRNO`, `stopped N CONTINUED` (the signal, and how many SIGCONT we had been
ordered to send by then), `late` (its time is up), `ended STATUS` (of waitpid).
"""

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

GRACE_S = 5.0  # between SIGTERM and SIGKILL, unless a time limit is shorter
_POLL_S = 0.02  # while the group ends: no signal reports the end of processes that are not our children
_DEAD_S = 1.0  # a process that SIGKILL has not ended by then waits inside the kernel, and runs no more code
_ASKS_FOR_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)


class Guardian:
    """The parent of the program.

    orders, reports: descriptors. callers: the process group of the caller. mask: the program's blocked signals.
    """

    def __init__(self, orders: int, reports: int, callers: int, mask: Sequence[int], command: tuple[str, ...]) -> None:
        self._orders = orders
        self._reports = reports
        self._callers = callers
        self._mask = mask
        self._command = command
        self._unread = b""
        self._pid = 0  # of the program, and of its group
        self._status: int | None = None
        self._term_at = self._kill_at = 0.0  # before the first `until` nothing is held
        self._ending = False
        self._continued = 0
        try:
            self._terminal = os.open("/dev/tty", os.O_RDWR)
        except OSError:  # there is no terminal
            self._terminal = -1

    def run(self) -> None:
        """Work until the program's group has ended; without a program, until the orders end."""
        read, write = os.pipe()
        for descriptor in (read, write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the byte that Python writes to the pipe wakes us
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        poll.register(read, select.POLLIN)
        while not self._is_over():
            for descriptor, _ in poll.poll(max(0.0, self._pause_s() * 1000)):
                if descriptor == read:
                    os.read(read, 4096)
                elif data := os.read(self._orders, 4096):
                    *lines, self._unread = (self._unread + data).split(b"\n")
                    for line in lines:
                        self._obey(*line.decode("utf-8", "surrogateescape").split(" ", 1))
                else:
                    poll.unregister(self._orders)
                    if not self._pid:
                        return
                    self._end(time.monotonic() + GRACE_S)
            self._look_after_program()
        self._take_terminal_back()
        self._report(f"ended {self._status}")

    def _pause_s(self) -> float:
        if self._ending:
            return _POLL_S
        return self._term_at - time.monotonic() if self._pid else 3600.0

    def _obey(self, order: str, rest: str = "") -> None:
        if order == "until":
            if not self._ending:
                self._term_at, self._kill_at = map(float, rest.split())
        elif order == "start":
            self._start(*rest.split("=", 1))
        elif order == "signal":
            self._continued += int(rest) == signal.SIGCONT
            self._signal(int(rest))
        elif order == "message" and self._pid and self._status is None:
            os.kill(self._pid, int(rest))  # not waited for yet, so the pid is still the program's
        elif order == "end":
            self._end(time.monotonic() + GRACE_S)

    def _start(self, name: str, value: str) -> None:
        if time.monotonic() >= self._term_at:
            self._report("late")
            sys.exit()
        go_read, go = os.pipe()  # gets a byte once the pid is reported: no program may run that only we know
        problem, problem_write = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(go)
            self._become(go_read, problem_write, {**os.environ, name: value})
        os.setpgid(self._pid, self._pid)
        self._report(f"started {self._pid}")
        os.write(go, b"g")
        for descriptor in (go_read, go, problem_write):
            os.close(descriptor)
        if number := os.read(problem, 16):  # empty once exec has succeeded
            self._report(f"failed {number.decode()}")
            sys.exit()
        os.close(problem)
        # Close our copies: a reader of the program's output must see its end when the program ends.
        with open(os.devnull, "r+b") as nothing:
            for descriptor in (0, 1, 2):
                os.dup2(nothing.fileno(), descriptor)

    def _become(self, go: int, problem: int, environment: dict[str, str]) -> None:
        """In the child: become the program, or exit. A group of its own lets us end it with all that it starts."""
        os.setpgid(0, 0)
        if os.read(go, 1):
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these signals
                signal.signal(number, signal.SIG_DFL)
            if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # Python has a handler of its own
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            try:
                os.execvpe(self._command[0], self._command, environment)
            except OSError as error:
                os.write(problem, str(error.errno).encode())
        os._exit(1)

    def _look_after_program(self) -> None:
        if not self._pid:
            return
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                self._stopped(os.WSTOPSIG(status))
            elif pid:
                self._status = status
                self._end(time.monotonic() + GRACE_S)  # end what it leaves behind in its group
        now = time.monotonic()
        if not self._ending and now >= self._term_at:
            self._report("late")
            self._end(self._kill_at)
        if self._ending and now >= self._kill_at:
            self._signal(signal.SIGKILL)

    def _stopped(self, number: int) -> None:
        """The program was stopped. If it asks for the terminal and the caller has it, hand it over; else report the
        stop, so that the caller stops as well."""
        if self._ending:
            return
        if number in _ASKS_FOR_TERMINAL and self._give_terminal(self._callers, self._pid):
            self._signal(signal.SIGCONT)
        else:
            self._take_terminal_back()
            self._report(f"stopped {number} {self._continued}")

    def _end(self, kill_at: float) -> None:
        if not self._ending:
            self._ending, self._kill_at = True, min(kill_at, self._kill_at)
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped process gets SIGTERM only when it goes on

    def _is_over(self) -> bool:
        """Whether the program has ended, and its group is empty or holds only processes stuck in the kernel."""
        if self._status is None:
            return False
        return not _runs(self._pid) or time.monotonic() >= self._kill_at + _DEAD_S

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._pid:
                os.killpg(self._pid, number)

    def _give_terminal(self, giver: int, taker: int) -> bool:
        """Make `taker` the foreground group of the terminal if `giver` is that now."""
        with suppress(OSError):
            if self._terminal >= 0 and os.tcgetpgrp(self._terminal) == giver:
                os.tcsetpgrp(self._terminal, taker)
                return True
        return False

    def _take_terminal_back(self) -> None:
        self._give_terminal(self._pid, self._callers)

    def _report(self, line: str) -> None:
        with suppress(BrokenPipeError):  # the caller is gone
            os.write(self._reports, f"{line}\n".encode())


def _runs(group: int) -> bool:
    """Whether a process of the group still runs. A zombie has ended, although it is still in its group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user is among them
        return True
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                state, _, its_group, *_ = stat.read().rpartition(b")")[2].split()
                if int(its_group) == group and state not in (b"Z", b"X"):
                    return True
    return False


def main(orders: str, reports: str, callers: str, mask: str, *command: str) -> None:
    """Run `command` as the orders say. mask: signal numbers, separated by commas."""
    for descriptor in (orders, reports):
        os.set_inheritable(int(descriptor), False)  # the program must not keep the pipe open
    blocked = [int(number) for number in mask.split(",") if number]
    Guardian(int(orders), int(reports), int(callers), blocked, command).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
