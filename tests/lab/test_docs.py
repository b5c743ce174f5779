"""docs/lab.md has all scenarios, checks and planted bugs, as they are."""

import re
from pathlib import Path

from recipes.lab.casts import PROTOCOLS
from recipes.lab.challenge import judge, load
from recipes.lab.challenge import load_all as all_challenges
from recipes.lab.checks.registry import CHECKS
from recipes.lab.plants.registry import PLANTS
from recipes.lab.run import run
from recipes.lab.scenario import load_all, parse
from recipes.lab.settings import SETTINGS

DOCS = Path(__file__).parent.parent.parent / "docs"


def rows(section: str) -> list[str]:
    text = (DOCS / "lab.md").read_text()
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found
    return [line for line in found[1].splitlines() if line.startswith("|")][2:]


def written(section: str, expected: list[str], request) -> None:
    """The table of a section; --rewrite writes it."""
    found = rows(section)
    if request.config.getoption("--rewrite"):
        text = (DOCS / "lab.md").read_text()
        (DOCS / "lab.md").write_text(text.replace("\n".join(found), "\n".join(expected)))
        found = rows(section)
    assert found == expected


def test_all_scenarios_are_listed(request):
    lines = [f"| `{each.id}` | {', '.join(each.protocols)} | {each.title['en']} |" for each in load_all()]
    written("Scenarios", lines, request)


def test_all_checks_are_listed(request):
    lines = []
    for check in CHECKS.values():
        where = ", ".join(name for name, protocol in PROTOCOLS.items() if check.name in protocol.checks)
        lines.append(f"| {check.name} | {check.says} | {where} |")
    written("Checks", lines, request)


def test_all_planted_bugs_are_listed(request):
    lines = [f"| `{each.name}` | {each.says} | {', '.join(each.finds)} |" for each in PLANTS.values()]
    written("Planted bugs", lines, request)


def test_all_challenges_are_listed(request):
    lines = [f"| `{each.id}` | {each.protocol} | {each.par} | {each.title['en']} |" for each in all_challenges()]
    written("Challenges", lines, request)


def test_all_settings_are_listed(request):
    lines = [f"| {name} | {', '.join(f'`{key}`' for key in taken)} |" for name, taken in SETTINGS.items()]
    written("Settings", lines, request)


def blocks() -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", (DOCS / "lab.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_scenario_of_the_docs_goes_as_expected():
    assert run(parse("of the docs", blocks()[-1])).code == 0


def test_the_schedule_of_the_docs_is_one():
    assert judge(load("lock-for-ever"), blocks()[0]).code == 1
