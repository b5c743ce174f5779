"""`recipes` itself: its version, and what it says without its extra."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import recipes
from recipes import is_compiled
from recipes.cli import main

ROOT = Path(__file__).parent.parent.parent


def test_the_version_is_the_distributions_and_says_which_build_it_is(run):
    done = run("--version")
    build = "compiled" if is_compiled() else "pure Python"
    assert (done.returncode, done.stdout.strip()) == (0, f"{version('zab-recipes')} ({build})")
    assert recipes.__version__ == version("zab-recipes")


def test_without_the_extra_it_says_how_to_get_it():
    program = "import sys; sys.modules['cyclopts'] = None; from recipes.cli import main; sys.exit(main(['--version']))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'zab-recipes[cli]' (in a clone: pip install '.[cli]')" in done.stderr


def test_a_command_behind_one_with_json_complains_in_words(capsys):
    for arguments in (["lab", "show", "nothing", "--json"], ["lab", "show", "nothing"]):
        assert main(arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("{") and second.startswith("recipes: ")
