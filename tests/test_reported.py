"""Each entry of tests/reported.md has a test that is named after it."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
ENTRIES = re.findall(r"^\| ([a-z]+ ?\d+) \|", (TESTS / "reported.md").read_text(), re.MULTILINE)
NAMED = {
    number.replace("_", "")
    for path in TESTS.rglob("test_*.py")
    for name in re.findall(r"^ *(?:async )?def test_(\w+)", path.read_text(), re.MULTILINE)
    for number in re.findall(r"([a-z]+_?\d+)_", (re.match(r"(?:[a-z]+_?\d+_)*", name) or [""])[0])
}


def test_entries_are_listed_once():
    assert len(ENTRIES) == len(set(ENTRIES)) > 100


def test_each_entry_has_a_test():
    assert [entry for entry in ENTRIES if entry.replace(" ", "") not in NAMED] == []
