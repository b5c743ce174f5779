"""`recipes ensemble`: processes that elect a leader, outlive one of them, and end with the command."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from recipes import connect
from recipes.core.disk.disk import RealDisk
from tests.ports import free_block

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    """One for `--port`, with those of further servers and of peers."""
    return free_block(base + number for base in (0, 1000, 2000) for number in range(3))


def read(process):
    """The next thing that it tells."""
    line = process.stdout.readline()
    assert line, process.communicate(timeout=30)[1]
    return json.loads(line)


def start(tmp_path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "recipes", "ensemble", "--data-dir", tmp_path, "--json", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # also where the tests run under nohup
        text=True,
    )


@pytest.mark.timeout(90)
def test_three_servers_serve_and_outlive_one(tmp_path):
    process = start(tmp_path, "--port", free_port())
    try:
        told = [read(process) for _ in range(4)]
        assert [each["server"] for each in told[:3]] == [1, 2, 3]
        assert sorted(each["mode"] for each in told[:3]) == ["follower", "follower", "leader"]
        leader = next(each for each in told[:3] if each["mode"] == "leader")

        async def write(path):
            async with connect(told[3]["hosts"]) as client:
                await client.create(path)

        anyio.run(write, "/before")
        os.kill(leader["pid"], signal.SIGKILL)
        assert read(process) == {"server": leader["server"], "ended": -9}
        anyio.run(write, "/after")
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    for each in told[:3]:
        with pytest.raises(ProcessLookupError):
            os.kill(each["pid"], 0)


def test_settings_of_an_ensemble_that_runs_are_left_alone(tmp_path):
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "zoo.cfg").write_text("its own")
    running = RealDisk(tmp_path / "2" / "version-2")
    try:
        process = start(tmp_path, "--port", free_port())
        _, errors = process.communicate(timeout=30)
    finally:
        running.close()
    assert process.returncode == 1
    assert "is locked by another server" in errors
    assert (tmp_path / "2" / "zoo.cfg").read_text() == "its own"
    assert not (tmp_path / "1").exists()


def test_a_wrong_size_is_told(tmp_path):
    process = start(tmp_path, "--size", "0")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "size 0" in errors


@pytest.mark.parametrize("offset", [0, 1, 1001, 2002])
def test_a_port_that_is_taken_is_named_before_anything_is_started(tmp_path, offset):
    port = free_port()
    with socket.create_server(("127.0.0.1", port + offset)):
        process = start(tmp_path / "data", "--port", port)
        told, errors = process.communicate(timeout=30)
    assert (process.returncode, told) == (2, "")
    assert errors == f"recipes ensemble: port {port + offset} is in use\n"
    assert not (tmp_path / "data").exists()


def test_a_server_that_cannot_start_is_told_with_its_own_words(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "version-2").write_text("in the way")
    process = start(tmp_path, "--size", 1, "--port", free_port())
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "server 1 ended at once: recipes serve: data directory" in errors
    assert str(tmp_path / "1" / "server.log") in errors


@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_servers_end_with_the_command_however_it_ends(tmp_path, number):
    process = start(tmp_path, "--size", 1, "--port", free_port(), "--read-only")
    told = read(process)
    assert told["mode"] == "leader"
    assert "readonlymode.enabled=true" in (tmp_path / "1" / "zoo.cfg").read_text()
    server = os.pidfd_open(told["pid"])
    try:
        process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == (0 if number == signal.SIGHUP else -number), errors
        assert select.select([server], [], [], 30)[0]
    finally:
        process.kill()
        process.communicate()
        os.close(server)


@pytest.mark.timeout(90)
def test_nothing_left_to_run_is_a_failure(tmp_path):
    process = start(tmp_path, "--size", 1, "--port", free_port())
    told = read(process)
    process.stdout.readline()
    os.kill(told["pid"], signal.SIGTERM)
    told, errors = process.communicate(timeout=30)
    assert json.loads(told) == {"server": 1, "ended": 0}
    assert process.returncode == 1, errors
