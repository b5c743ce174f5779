"""What `recipes serve` says about settings: slips, files that are missing, and the port that is asked for."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.core.config import parse_zoo_cfg
from recipes.core.errors import ConfigError

READY = "recipes serve: accepting clients on "


def test_newcomer_19_a_slip_is_named_with_what_is_missing_for_it(tmp_path: Path):
    with pytest.raises(ConfigError) as raised:
        parse_zoo_cfg(f"dataDir={tmp_path}\nclientPrt=25183\nfoo=1\n", "zoo.cfg")
    said = str(raised.value)
    assert said.startswith("zoo.cfg: clientPort is missing: expected ")
    assert "line 2: clientPrt is not a known key, did you mean clientPort?" in said
    assert said.endswith("line 3: foo is not a known key")


def test_newcomer_19_a_slip_is_named_with_any_other_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"zoo\.cfg:1: tickTime=fast: .*; line 3: initLimt .*initLimit\?"):
        parse_zoo_cfg(f"tickTime=fast\ndataDir={tmp_path}\ninitLimt=3\nclientPort=1\n", "zoo.cfg")


def test_newcomer_19_a_slip_that_is_not_fatal_has_a_guess_too(tmp_path: Path):
    _, warnings = parse_zoo_cfg(f"dataDir={tmp_path}\nclientPort=1\nsnapCout=3\n", "zoo.cfg")
    assert warnings == ["zoo.cfg:3: snapCout is not a known key, did you mean snapCount?; it has no effect"]


@pytest.mark.parametrize("zoo_cfg", [None, "clientPort=1\nclientPortAddress=192.0.2.1\n"])
def test_newcomer_27_serve_listens_where_the_command_line_says(tmp_path: Path, zoo_cfg: str | None):
    given = ["--data-dir", str(tmp_path / "data")]
    if zoo_cfg:
        (tmp_path / "zoo.cfg").write_text(f"dataDir={tmp_path}/data\nadmin.enableServer=false\n{zoo_cfg}")
        given = [str(tmp_path / "zoo.cfg")]
    command = [sys.executable, "-m", "recipes", "serve", *given, "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith(READY + "127.0.0.1:")
        socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2])), timeout=30).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize("given", [("--port", "65536"), ("--port", "-1"), ("--host", "")])
def test_newcomer_27_a_wrong_port_or_host_is_named(run, given):
    done = run("serve", *given)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"recipes serve: {'='.join(given)}: expected ")


def test_newcomer_30_a_data_directory_below_a_file_is_told_as_such(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"expected a directory: {tmp_path}/file is not a directory"):
        parse_zoo_cfg(f"dataDir={tmp_path}/file/data\nclientPort=1\n", "zoo.cfg")


def test_newcomer_30_a_missing_key_store_is_told_at_the_start(run, tmp_path: Path):
    (tmp_path / "myid").write_text("1")
    (tmp_path / "zoo.cfg").write_text(
        f"dataDir={tmp_path}\nclientPort=0\ninitLimit=5\nsyncLimit=5\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.1:3:4\n"
        "sslQuorum=true\nssl.quorum.keyStore.location=no.pem\nssl.quorum.trustStore.location=no.pem\n"
    )
    done = run("serve", str(tmp_path / "zoo.cfg"))
    assert done.returncode == 2
    assert "ssl.quorum.keyStore.location=no.pem: expected a PEM file: No such file or directory" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_servers_11_a_server_that_waits_for_its_port_can_be_ended(tmp_path: Path, name: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "zoo.cfg").write_text(
            f"dataDir={tmp_path}\nclientPort=0\ninitLimit=5\nsyncLimit=5\nelectionPortBindRetry=0\nmyid=1\n"
            f"admin.enableServer=false\nserver.1=127.0.0.1:1:{taken.getsockname()[1]}:observer\nserver.2=127.0.0.1:3:4\n"
            "standaloneEnabled=false\n"
        )
        command = [sys.executable, "-m", "recipes", "serve", str(tmp_path / "zoo.cfg")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if "trying again every second (electionPortBindRetry=0)" in line:
                    break
            process.send_signal(getattr(signal, name))
            assert (process.wait(30), process.stderr.read()) == (0, "")
