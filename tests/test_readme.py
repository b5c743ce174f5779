"""The Python blocks of README and the guides run, and README's first two commands are the ones promised."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = {
    f"{page.name}-{number}": block
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
}
COMMANDS = [
    "python3 -m venv .venv && .venv/bin/pip install '.[cli,speed]' && .venv/bin/recipes demo",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest",
]


def test_first_two_commands():
    shell = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert "".join(shell).splitlines()[:2] == COMMANDS


def test_newcomer_28_the_name_for_a_requirements_file_is_said_and_is_the_one_of_the_distribution():
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert f"The distribution is called `{name}`" in README
    assert "(`recipes` on PyPI is another project). Programs `import recipes`" in README


def test_there_are_blocks():
    assert {name.rpartition("-")[0] for name in BLOCKS} == {
        "README.md",
        "barriers.md",
        "blocking.md",
        "caches.md",
        "client.md",
        "counters.md",
        "elections.md",
        "locks.md",
        "membership.md",
        "operations.md",
        "queue.md",
        "services.md",
        "transactions.md",
    }


@pytest.mark.parametrize("name", BLOCKS)
def test_s9_block_runs(name: str, tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name != "RECIPES_HOSTS"}
    environment["PYTHONPATH"] = str(ROOT)
    block = BLOCKS[name]
    program = tmp_path / "test_block.py"
    program.write_text(block)
    command = [sys.executable, "-m", "pytest", "-q"] if "import pytest" in block else [sys.executable]
    done = subprocess.run(
        [*command, program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
