"""The embedded server: shared in one process, gone with its last user, and never silent about being private."""

import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from recipes import embedded
from recipes.embedded import embedded_server

ROOT = Path(__file__).parent.parent


def answers(hosts: str) -> bool:
    host, port = hosts.split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"srvr")
            return b"Mode: standalone" in b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return False


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "recipes-embedded"]


def test_users_share_one_server_which_ends_with_the_last():
    with embedded_server() as first:
        with embedded_server() as second:
            assert first == second
        assert answers(first)
        assert len(threads()) == 1
    assert not answers(first)
    assert threads() == []


def test_data_dir_is_used_and_kept(tmp_path: Path):
    with embedded_server(tmp_path / "data") as hosts:
        assert answers(hosts)
    assert list((tmp_path / "data").iterdir())


def test_warns_once_per_process(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "_warned", False)
    with caplog.at_level(logging.WARNING, "recipes.embedded"), embedded_server(), embedded_server():
        said = [record.getMessage() for record in caplog.records if record.name == "recipes.embedded"]
    assert len(said) == 1
    assert "excludes nobody else" in said[0]
    assert "RECIPES_HOSTS" in said[0]


def test_each_of_two_processes_is_warned():
    program = "from recipes.embedded import embedded_server\nwith embedded_server() as hosts: print(hosts)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stderr.count("excludes nobody else") == 1
