"""`recipes ensemble`: processes that elect a leader, outlive one of them, and end with the command."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from recipes import connect
from recipes.testing.ensemble import free_ports

ROOT = Path(__file__).parent.parent.parent


def start(tmp_path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "recipes", "ensemble", "--data-dir", tmp_path, "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )


@pytest.mark.timeout(90)
def test_three_servers_serve_and_outlive_one(tmp_path):
    port = str(free_ports(1)[0])
    process = start(tmp_path, "--port", port)
    try:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(4)]
        assert [each["server"] for each in told[:3]] == [1, 2, 3]
        assert sorted(str(each["mode"]) for each in told[:3]).count("leader") == 1
        leader = next(each for each in told[:3] if each["mode"] == "leader")

        async def write(path):
            async with connect(told[3]["hosts"]) as client:
                await client.create(path)

        anyio.run(write, "/before")
        os.kill(leader["pid"], signal.SIGKILL)
        assert json.loads(process.stdout.readline()) == {"server": leader["server"], "ended": -9}
        anyio.run(write, "/after")
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    for each in told[:3]:
        with pytest.raises(ProcessLookupError):
            os.kill(each["pid"], 0)


def test_a_wrong_size_is_told(tmp_path):
    process = start(tmp_path, "--size", "0")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "size 0" in errors
