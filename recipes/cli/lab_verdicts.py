"""What checks say, in words and as objects."""

from collections.abc import Mapping

from recipes.lab.checks.check import Broken
from recipes.lab.checks.registry import CHECKS


def verdict(name: str, broken: Broken | None, lang: str) -> str:
    """What a check says, as a line."""
    check = CHECKS[name]
    says = check.says if lang == "en" else check.says_zh
    if broken is None:
        return f"  {name:4} holds   {says}"
    return f"  {name:4} BROKEN  {says}: event {broken.event}, {broken.why if lang == 'en' else broken.why_zh}"


def facts_of_checks(found: Mapping[str, Broken | None], lang: str) -> dict[str, object]:
    """The same of all checks, as an object."""
    return {
        name: {"holds": broken is None, "event": broken and broken.event,
               "why": broken and (broken.why if lang == "en" else broken.why_zh)}
        for name, broken in found.items()
    }  # fmt: skip
