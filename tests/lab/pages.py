"""Pages of docs/ with parts that runs make, between `<!-- name -->` and `<!-- end of name -->`; and what pages name."""

import re
from pathlib import Path

from recipes.lab.scenario import SECTIONS, names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_SPAN = re.compile(r"`([^`\n]+)`")
_LOOKS_LIKE_A_SCENARIO = re.compile(rf"(?:{'|'.join(SECTIONS)})-[a-z0-9-]+")


def block(page: str, name: str) -> str:
    """What a page has between the two marks."""
    _, begin, rest = (DOCS / page).read_text().partition(f"<!-- {name} -->\n")
    found, end, _ = rest.partition(f"<!-- end of {name} -->")
    assert begin and end, f"{page}: no block is called {name}"
    return found


def written(page: str, name: str, expected: list[str], request) -> None:
    """The lines of a block; --rewrite writes them."""
    text = "\n".join(expected) + "\n"
    if request.config.getoption("--rewrite"):
        begin = f"<!-- {name} -->\n"
        whole = (DOCS / page).read_text()
        (DOCS / page).write_text(whole.replace(begin + block(page, name), begin + text))
    assert block(page, name) == text, "changed: read what is different, then run this with --rewrite"


def without_blocks(page: str) -> str:
    """A page without the blocks that runs make."""
    return re.sub(r"<!-- (.+?) -->\n.*?<!-- end of \1 -->", "", (DOCS / page).read_text(), flags=re.DOTALL)


def scenarios_in(page: str) -> list[str]:
    """The scenarios that a page names, in their order. A name that looks like one and is none fails here."""
    spans = [span for span in _SPAN.findall((DOCS / page).read_text()) if _LOOKS_LIKE_A_SCENARIO.fullmatch(span)]
    assert not set(spans) - set(names()), page
    return spans


def named_tests(page: str) -> list[str]:
    """The tests that a page names: `tests/FILE.py::NAME`, or a file or folder. One that is not there fails here."""
    spans = [span for span in _SPAN.findall((DOCS / page).read_text()) if span.startswith("tests/")]
    for span in spans:
        file, _, name = span.partition("::")
        assert (ROOT / file).exists(), f"{page}: {span}"
        assert not name or re.search(rf"^(async )?def {re.escape(name)}\(", (ROOT / file).read_text(), re.MULTILINE), (
            span
        )
    return spans
