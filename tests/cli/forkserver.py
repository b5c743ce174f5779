"""Commands as forks of a process that has imported `recipes` already: most of a short command's time is imports.

The process listens on a Unix socket. A connection brings one command as a line of JSON; the answer is its pid, and then
its wait status.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent.parent


class ForkServer:
    """The process, as those see it that run commands. Any thread may."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="recipes-forks-")
        self._address = f"{self._directory.name}/socket"
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._address],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def run(
        self, *arguments: str | bytes, stdin: str, cwd: Path, environment: dict[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """`python -m recipes ARGUMENTS`, once it has ended. Raises subprocess.TimeoutExpired, having killed it."""
        with (
            tempfile.TemporaryDirectory(dir=self._directory.name) as files,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            paths = [f"{files}/{name}" for name in ("in", "out", "err")]
            Path(paths[0]).write_text(stdin)
            connection.settimeout(seconds)
            connection.connect(self._address)
            # As they are on a command line, of bytes.
            words = [os.fsdecode(each) for each in arguments]
            command = {"arguments": words, "files": paths, "cwd": str(cwd), "environment": environment}
            connection.sendall(json.dumps(command).encode() + b"\n")
            with connection.makefile() as answers:
                pid = int(answers.readline())
                try:
                    status = int(answers.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(["recipes", *arguments], seconds) from None
            out, err = (Path(path).read_text(errors="surrogateescape") for path in paths[1:])
            return subprocess.CompletedProcess(["recipes", *arguments], os.waitstatus_to_exitcode(status), out, err)

    def close(self) -> None:
        self._process.communicate()
        self._directory.cleanup()


def serve(address: str) -> None:
    """Until standard input ends."""
    import recipes.cli

    for module in pkgutil.iter_modules(recipes.cli.__path__):
        importlib.import_module(f"recipes.cli.{module.name}")
    for name in recipes.__all__:
        getattr(recipes, name, None)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        os.write(1, b"listening\n")
        running = set()
        while True:
            ready, _, _ = select.select([0, listener], [], [])
            # Waited for, not ignored, so that their processor time counts as ours.
            while running and (ended := os.waitpid(-1, os.WNOHANG)[0]):
                running.discard(ended)
            if 0 in ready:
                return
            connection = listener.accept()[0]
            pid = os.fork()
            if not pid:
                listener.close()
                carry_out(connection)
            running.add(pid)
            connection.close()


def carry_out(connection: socket.socket) -> NoReturn:
    with connection, connection.makefile("rw") as stream:
        command = json.loads(stream.readline())
        pid = os.fork()
        if pid:
            print(pid, file=stream, flush=True)
            print(os.waitpid(pid, 0)[1], file=stream, flush=True)
            os._exit(0)
    for number, path in enumerate(command["files"]):
        flags = os.O_RDONLY if number == 0 else os.O_CREAT | os.O_WRONLY | os.O_APPEND
        file = os.open(path, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.path[0] = ""
    from recipes.cli import main

    try:
        code = main(command["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else end.code is not None
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
        code = 1
    # As an interpreter ends, but for taking every module apart.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
