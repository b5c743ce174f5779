"""Runs many `recipes` commands quickly: the modules are imported once, and each command is a fork of this process.

A line of JSON on standard input, [arguments, file for its output], starts one, and its pid is the answer; a line
`PID STATUS` follows when it has ended.
"""

import json
import os
import select
import signal
import sys

import cyclopts.core  # noqa: F401

import recipes
import recipes.cli.lock
from recipes.cli import main

recipes.connect, recipes.Lock  # noqa: B018 (loaded when first used)


def start(arguments: list[str], output: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
        file = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for descriptor, to in ((os.open(os.devnull, os.O_RDONLY), 0), (file, 1), (file, 2)):
            os.dup2(descriptor, to)
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    read, write = os.pipe()
    for descriptor in (read, write):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as the command begins by doing
    unread = b""
    running = set()
    while True:
        for descriptor in select.select([0, read], [], [])[0]:
            data = os.read(descriptor, 65536)
            if descriptor == read:
                while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    running.discard(ended[0])
                    os.write(1, b"%d %d\n" % ended)
                continue
            if not data:
                return
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                pid = start(*json.loads(line))
                running.add(pid)
                os.write(1, b"%d\n" % pid)


if __name__ == "__main__":
    serve()
