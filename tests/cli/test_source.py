"""A trace names the commit of the program that made it, and is the same trace without it."""

import json
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from recipes.cli.source import source_commit
from recipes.lab.run import run
from recipes.lab.scenario import load
from recipes.lab.trace import digest, loads

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fails(directory: Path) -> str:
    raise CalledProcessError(128, "git")


def test_a_checkout_is_asked_what_it_is_at(tmp_path):
    (tmp_path / ".git").mkdir()
    asked = []
    assert (
        source_commit(root=tmp_path, describe=lambda root: asked.append(root) or f"{COMMIT}-dirty") == f"{COMMIT}-dirty"
    )
    assert asked == [tmp_path]
    assert source_commit(root=tmp_path, describe=fails) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps({"url": "https://example.org/r", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}), COMMIT),
        (json.dumps({"url": "file:///r", "dir_info": {"editable": True}}), None),
        (None, None),
        ("no JSON", None),
        ("[]", None),
        (json.dumps({"vcs_info": {"commit_id": 7}}), None),
    ],
)
def test_an_installation_from_a_repository_knows_its_commit(tmp_path, text, expected):
    assert source_commit(lambda: text, root=tmp_path, describe=fails) == expected


def test_the_trace_names_it_and_has_the_same_digest(monkeypatch, tmp_path, capsys):
    from recipes.cli import lab

    monkeypatch.setattr(lab, "source_commit", lambda: COMMIT)
    assert lab.run("px-null", trace=tmp_path / "run.jsonl") == 0
    found = loads((tmp_path / "run.jsonl").read_text())
    assert found.header["commit"] == COMMIT
    assert digest(found) == digest(replace(found, header={**found.header, "commit": "other"}))
    assert digest(found) == digest(run(load("px-null")).trace)
