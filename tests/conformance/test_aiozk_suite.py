"""aiozk's own tests, which its package contains, against an ensemble of ours with the settings that they ask for.

The package has no dependencies, and nothing here but these tests needs it: it is installed into a folder of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

PACKAGE = "aiozk==0.32.0"
ALL = 85
# From docker/zoo.cfg in aiozk's repository; reconfigEnabled=true, by which its containers find each other, is left out.
SETTINGS = {"tickTime": 2000, "initLimit": 10, "syncLimit": 5, "standaloneEnabled": "false", "skipACL": "yes"}


@pytest.fixture(scope="module")
def aiozk(tmp_path_factory, need_tool) -> Path:
    """A folder to import aiozk from."""
    folder = tmp_path_factory.mktemp("aiozk")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    need_tool(f"{PACKAGE} from PyPI: {done.stderr.strip()[-300:]}", done.returncode == 0)
    return folder


def run(package: Path, directory: Path, hosts: str) -> dict[str, str]:
    """Run aiozk's tests with these servers; what became of each, by its class and name."""
    (directory / "empty.ini").write_text("[pytest]\n")
    result, output = directory / "result.xml", directory / "output.txt"
    command = [sys.executable, "-m", "pytest", "-c", "empty.ini", "--rootdir", str(directory), f"--junitxml={result}"]
    command += ["-o", "asyncio_mode=auto", "-p", "no:recipes", "-p", "no:cacheprovider", "--timeout=120"]
    command += ["--pyargs", "aiozk.test"]
    host, _, port = hosts.rpartition(":")  # its tests join the two by a colon: so these may be the hosts of several
    environment = os.environ | {"PYTHONPATH": str(package), "ZK_HOST": host, "ZK_PORT": port}
    with output.open("wb") as stream:
        subprocess.run(command, cwd=directory, env=environment, stdout=stream, stderr=stream, check=False)
    assert result.exists(), output.read_text()[-3000:]
    outcomes = {}
    for case in ElementTree.parse(result).iter("testcase"):
        found = next((tag for tag in ("error", "failure", "skipped") if case.find(tag) is not None), "passed")
        outcomes[f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"] = found
    return outcomes


@pytest.mark.thorough  # three processes, and tests that wait for time-outs of sessions
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["ours", pytest.param("apache", marks=[pytest.mark.apache, pytest.mark.soak])])
def test_interop_6_all_of_them_pass_on_three_servers(start_ensemble, aiozk, tmp_path, kind):
    with start_ensemble(kind, kind, kind, **SETTINGS) as ensemble:
        outcomes = run(aiozk, tmp_path, ensemble.hosts)
    others = {name: outcome for name, outcome in outcomes.items() if outcome != "passed"}
    assert others == {}, (tmp_path / "output.txt").read_text()[-6000:]
    assert len(outcomes) == ALL
