"""kazoo's own tests, which its package contains, with their cluster replaced by an ensemble of ours.

What passes with Apache 3.8 passes with ours, but for what WITHOUT names. gevent, eventlet and SASL are left out: their
tests skip themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Ours have no reconfiguration at run time.
WITHOUT = {
    "TestReconfig.test_add_remove_observer",
    "TestReconfig.test_bad_input",
    "TestReconfig.test_no_super_auth",
}
QUICK = ("counter", "election", "lock")
SLOWER = ("client", "connection", "watchers")  # they wait, for time-outs more than for servers


def run(kind: str, directory: Path, *modules: str, skip: str = "", protocol: str = "") -> dict[str, str]:
    """Run kazoo's tests with a cluster of `kind`; what became of each, by its class and name.

    protocol: that the servers run; ours run zab if nothing is said.
    """
    (directory / "empty.ini").write_text("[pytest]\n")
    result = directory / "result.xml"
    command = [sys.executable, "-m", "pytest", "-c", "empty.ini", "--rootdir", str(directory), f"--junitxml={result}"]
    command += ["-p", "tests.conformance.kazoo_cluster", "-p", "no:cacheprovider", "-p", "no:recipes", "--timeout=120"]
    command += ["--pyargs", *[f"kazoo.tests{module}" for module in modules], "-k", skip]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KAZOO_CLUSTER_KIND": kind}
    environment["KAZOO_CLUSTER_PROTOCOL"] = protocol
    environment.pop("CI", None)  # under which they sleep, for slower machines
    with (directory / "output.txt").open("wb") as output:
        subprocess.run(command, cwd=directory, env=environment, stdout=output, stderr=output, check=False)
    assert result.exists(), (directory / "output.txt").read_text()[-3000:]
    outcomes = {}
    for case in ElementTree.parse(result).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        found = next((tag for tag in ("error", "failure", "skipped") if case.find(tag) is not None), "passed")
        outcomes[name] = found
    return outcomes


def failures(outcomes: dict[str, str]) -> set[str]:
    return {name for name, outcome in outcomes.items() if outcome in ("error", "failure")}


@pytest.mark.thorough  # test_kazoo.py shows each kind of request
@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", ["zab", "raft"])
@pytest.mark.parametrize(("modules", "least"), [(QUICK, 35), (SLOWER, 125)])
def test_the_quick_ones(tmp_path, modules, least, protocol):
    skip = "not TestReadOnlyMode and not TestReconfig and not remove_session_watcher and not update_host_list"
    outcomes = run("ours", tmp_path, *[f".test_{module}" for module in modules], skip=skip, protocol=protocol)
    assert failures(outcomes) == set(), (tmp_path / "output.txt").read_text()[-6000:]
    assert list(outcomes.values()).count("passed") >= least


@pytest.mark.soak
@pytest.mark.apache
@pytest.mark.timeout(3600)
def test_all_that_pass_with_apache_pass_with_ours(tmp_path):
    outcomes = {}
    for kind, protocol in (("apache", ""), ("ours", "zab"), ("ours", "raft")):
        directory = tmp_path / (protocol or kind)
        directory.mkdir()
        outcomes[protocol] = run(kind, directory, "", protocol=protocol)
    passed = {name for name, outcome in outcomes[""].items() if outcome == "passed"}
    assert len(passed) > 300
    for protocol in ("zab", "raft"):
        assert {name for name in passed if outcomes[protocol].get(name) != "passed"} == WITHOUT, protocol
