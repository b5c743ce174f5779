"""ZooKeeper's own shells, Java and C, as clients of both servers."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import IO

import pytest

pytestmark = pytest.mark.apache
ZKCLI = Path("/usr/share/zookeeper/bin/zkCli.sh")
CLI_MT = Path("/usr/lib/zookeeper/bin/cli_mt")


def run(command: list[str], lines: list[str], tmp_path: Path) -> str:
    done = subprocess.run(
        command,
        input="\n".join([*lines, "quit", ""]),
        cwd=tmp_path,
        env=os.environ | {"ZOO_LOG_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_zkcli(server, need_tool, tmp_path):
    need_tool("zkCli.sh (Debian package zookeeper)", ZKCLI.exists() and shutil.which("java") is not None)
    lines = [
        "create /cli first",
        "get -s /cli",
        "set /cli second",
        "get /cli",
        "create -s /cli/seq- x",
        "create -e /cli/mortal y",
        "ls /cli",
        "stat /cli",
        "getAcl /cli",
        "delete /cli/seq-0000000000",
        "deleteall /cli",
        "ls /",
    ]
    said = run([str(ZKCLI), "-server", server.hosts], lines, tmp_path)
    for expected in (
        "Created /cli",
        "first",
        "second",
        "Created /cli/seq-0000000000",
        "[mortal, seq-0000000000]",
        "dataVersion = 1",
        "'world,'anyone",
        "zookeeper]",
    ):
        assert expected in said, said


def test_cli_mt(server, need_tool):
    need_tool("cli_mt (Debian package zookeeper-bin)", CLI_MT.exists())
    # Its commands are asynchronous and `quit` waits for none: hear each answer before the next line.
    talk = [
        ("create /c", b"[/c]: rc = 0"),
        ("set /c hello", b"version=1"),
        ("get /c", b"hello"),
        ("ls /", b"zookeeper"),
        ("delete /c", b"/c: rc = 0"),
        ("exists /c", b"Error -101"),
    ]
    command = ["stdbuf", "-o0", str(CLI_MT), server.hosts]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shell:
        assert shell.stdin is not None and shell.stdout is not None
        try:
            hear(shell.stdout, b"new session id")
            for line, answer in talk:
                shell.stdin.write(line.encode() + b"\n")
                shell.stdin.flush()
                hear(shell.stdout, answer)
            shell.stdin.write(b"quit\n")
        finally:
            shell.stdin.close()
            shell.kill()


def hear(stream: IO[bytes], expected: bytes) -> None:
    heard = b""
    while expected not in heard:
        ready, _, _ = select.select([stream], [], [], 20)
        piece = os.read(stream.fileno(), 65536) if ready else b""
        assert piece, f"{expected!r} is not in {heard!r}"
        heard += piece
