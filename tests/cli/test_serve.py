"""`recipes serve`: its one line, its exit codes, and what it does not import."""

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from recipes import is_compiled
from recipes.cli.traced import TracedServer
from recipes.core.config import parse_zoo_cfg

ROOT = Path(__file__).parent.parent.parent
READY = "recipes serve: accepting clients on 127.0.0.1:"


@contextmanager
def serving(config: Path, limit: int | None = None):
    limited = [] if limit is None else ["sh", "-c", f'ulimit -Sn {limit}; exec "$@"', "sh"]
    process = subprocess.Popen(
        [*limited, sys.executable, "-m", "recipes", "serve", str(config)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def write_config(tmp_path: Path, port: int = 0, name: str = "zoo.cfg") -> Path:
    config = tmp_path / name
    config.write_text(
        f"dataDir={tmp_path}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
    )
    return config


def test_says_when_it_accepts_and_ends_cleanly(tmp_path: Path):
    with serving(write_config(tmp_path)) as process:
        line = process.stdout.readline()
        assert line.startswith(READY)
        socket.create_connection(("127.0.0.1", int(line.removeprefix(READY))), timeout=30).close()
        process.send_signal(signal.SIGTERM)
        rest, logged = process.communicate(timeout=30)
        assert (process.returncode, rest) == (0, "")
        build = "compiled" if is_compiled() else "pure Python"
        assert logged.splitlines()[0].endswith(f" INFO recipes.server: build: {build}")


def test_locked_data_directory_is_one_line_and_exit_1(tmp_path: Path, run):
    config = write_config(tmp_path)
    with serving(config) as process:
        assert process.stdout.readline().startswith(READY)
        second = run("serve", str(config))
        assert second.returncode == 1
        assert second.stdout == ""
        assert "locked" in second.stderr.splitlines()[-1]
        assert "Traceback" not in second.stderr


def test_busy_port_is_one_line_and_exit_1(tmp_path: Path, run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", str(write_config(tmp_path, taken.getsockname()[1])))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("recipes serve: ")


@pytest.mark.parametrize("line", ["tickTime=fast", "clientPort=99999"])
def test_wrong_value_names_file_line_key_value_and_what_was_expected(tmp_path: Path, run, line: str):
    config = tmp_path / "zoo.cfg"
    config.write_text(f"dataDir=data\n{line}\nsecureClientPort=0\nssl.keyStore.location=a\nssl.trustStore.location=b\n")
    done = run("serve", str(config))
    key, _, value = line.partition("=")
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"recipes serve: {config}:2: {key}={value}: expected ")


def test_missing_file(run):
    done = run("serve", "no-such.cfg")
    assert done.returncode == 2
    assert done.stderr == "recipes serve: no-such.cfg: No such file or directory\n"


def test_a_file_is_no_data_directory(run, tmp_path: Path):
    config = tmp_path / "zoo.cfg"
    config.write_text(f"clientPort=0\ndataDir={config}\n")
    said = run("serve", str(config))
    assert said.returncode == 2
    assert said.stderr.startswith(f"recipes serve: {config}:2: dataDir={config}: expected a directory")
    said = run("serve", "--data-dir", str(config))
    assert said.returncode == 2
    assert f"--data-dir={config}: expected a directory" in said.stderr


def test_it_ends_with_its_standard_input_when_told_so(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", "serve", str(write_config(tmp_path)), "--until-eof"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith(READY)
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_imports_nothing_a_server_does_not_need():
    program = "import sys, recipes.cli, recipes.cli.serve; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"cyclopts", "rich", "tenacity"})
    assert "recipes.core.client" not in done.stdout
    assert "recipes.lab" not in done.stdout  # only with --trace


def test_it_may_have_as_many_descriptors_as_the_system_allows(tmp_path: Path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with serving(write_config(tmp_path), limit=256) as process:
        assert process.stdout.readline().startswith(READY)
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_server_that_stands_alone_has_no_trace(tmp_path: Path, run):
    done = run("serve", str(write_config(tmp_path)), "--trace", str(tmp_path / "trace"))
    assert done.returncode == 2
    assert done.stderr == (
        f"recipes serve: --trace={tmp_path}/trace: expected a member of an ensemble: a trace shows messages, and this "
        "server stands alone\n"
    )
    assert not (tmp_path / "trace").exists()
    assert run("serve", str(write_config(tmp_path)), "--trace-mb", "5").returncode == 2


def test_a_trace_goes_into_no_other_file(tmp_path: Path, run):
    data = tmp_path / "data"
    data.mkdir()
    (data / "myid").write_text("1")
    config = write_config(tmp_path)
    config.write_text(f"{config.read_text()}initLimit=5\nsyncLimit=2\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.1:3:4\n")
    wrong = {"notes": "my notes\n", "other": '{"version":"recipes-trace-part/1","site":"s2","protocol":"zab"}\n'}
    for name, text in wrong.items():
        (tmp_path / name).write_text(text)
        done = run("serve", str(config), "--trace", str(tmp_path / name))
        assert done.returncode == 2
        assert done.stderr.endswith("expected a new file, or a trace of s1, which runs zab\n")
        assert (tmp_path / name).read_text() == text
    done = run("serve", str(config), "--trace", str(tmp_path / "notes"), "--trace-mb", "0")
    assert done.stderr == "recipes serve: --trace-mb=0: expected a number from 1 on\n"
    os.mkfifo(tmp_path / "pipe")
    assert run("serve", str(config), "--trace", str(tmp_path / "pipe")).stderr.endswith("expected a file\n")
    assert not (data / "version-2").exists()


def test_a_trace_that_cannot_be_written_keeps_no_server_from_starting(tmp_path: Path, caplog):
    (tmp_path / "myid").write_text("1")
    text = "clientPort=0\ninitLimit=5\nsyncLimit=2\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.1:3:4\n"
    config, _ = parse_zoo_cfg(text, "zoo.cfg", tmp_path)
    file = tmp_path / "missing" / "trace"
    traced = TracedServer(config, file, None)
    assert caplog.messages == [f"there is no trace: {file}: No such file or directory"]
    assert traced.part is None
