"""`recipes lab check`, `replay`, `export`, `schema` and `diff`: what is done with traces, from whichever run."""

import json as json_text
from importlib.resources import files
from pathlib import Path
from typing import Literal

from recipes.cli.access import Switch
from recipes.cli.lab_files import replayed, trace_of, write
from recipes.cli.lab_verdicts import facts_of_checks, verdict
from recipes.cli.terminal import say, shown
from recipes.lab.checks.registry import check as check_trace
from recipes.lab.difference import first_difference
from recipes.lab.exports import EXPORTS
from recipes.lab.figures import figures
from recipes.lab.page import checked, content, document
from recipes.lab.trace import digest
from recipes.lab.transcript import said, transcript

Language = Literal["en", "zh"]


def check(file: Path, /, *, lang: Language = "en", json: Switch = False) -> int:
    """Check a trace: recipes lab check TRACE.

    Exit codes: 0 all checks hold; 1 one does not; 2 the file is no trace.

    Args:
        file: what `recipes lab run --trace` wrote.
        lang: the language of what the checks say, en or zh.
        json: print one object.
    """
    trace = trace_of(file)
    found = check_trace(trace)
    lines = [f"{trace.header['scenario']}, {trace.protocol}, seed {trace.header['seed']}"]
    lines += [] if trace.end else ["the trace ends early"]
    lines += [verdict(name, broken, lang) for name, broken in found.items()]
    facts = {"ends_early": trace.end is None, "checks": facts_of_checks(found, lang), "figures": figures(trace)}
    say(json, "\n".join(lines), facts)
    return 1 if any(found.values()) else 0


def replay(file: str, /, *, html: Path | None = None, lang: Language = "en", json: Switch = False) -> int:
    """Show what a trace has, in words or as a page: recipes lab replay TRACE --html run.html.

    A link of a page of `recipes lab serve` has a scenario in it, which is run here: nothing is asked of the network.

    Exit codes: 0 all checks hold; 1 one does not; 2 the file is no trace, or a file cannot be written.

    Args:
        file: what `recipes lab run --trace` wrote, or a link.
        html: write a page to this file that shows the run step by step.
        lang: the language of what the checks say, en or zh.
        json: print one object.
    """
    trace, scenario, at = replayed(file)
    found, unchecked = checked(trace)
    if html is not None:
        write(html, document(content(trace, scenario)))
    lines = [f"{trace.header['scenario']}, {trace.protocol}, seed {trace.header['seed']}"]
    lines += [] if trace.end else ["the trace ends early"]
    lines += [] if html else transcript(trace).splitlines()
    lines += [
        f"  {name:4} {unchecked[name]}" if name in unchecked else verdict(name, broken, lang)
        for name, broken in found.items()
    ]
    if at is not None:
        event = trace.events[at]
        lines.append(
            f"the link shows event {at}, {event['t'] / 1000:.3f} ms, {event['n'] or 'all'}: {said(trace, event)}"
        )
    facts = {
        "ends_early": trace.end is None,
        "checks": facts_of_checks(found, lang),
        "unchecked": unchecked,
        "events": len(trace.events),
        "at": at,
        "sha256": digest(trace),
    }
    say(json, "\n".join(lines), facts)
    return 1 if any(found.values()) else 0


def export(file: Path, /, *, to: Literal["mermaid", "shiviz", "csv"]) -> int:
    """Print a trace for another tool: recipes lab export TRACE --to mermaid.

    Args:
        file: what `recipes lab run --trace` wrote.
        to: mermaid, a sequence diagram; shiviz, a log with vector clocks; csv, the figures.
    """
    print(shown(EXPORTS[to](trace_of(file))), end="")
    return 0


def schema() -> int:
    """Print the JSON Schema of a line of a trace."""
    print((files("recipes.lab") / "static" / "trace.schema.json").read_text(encoding="utf-8"), end="")
    return 0


def diff(one: Path, other: Path, /, *, json: Switch = False) -> int:
    """Print where two traces begin to differ: recipes lab diff A B.

    Exit codes: 0 the same events; 1 they differ; 2 a file is no trace.

    Args:
        one: a trace.
        other: another trace.
        json: print one object, with both events.
    """
    found = first_difference(trace_of(one), trace_of(other))
    if found is None:
        say(json, "the same events", {"same": True})
        return 0
    lines = [f"event {found.event} differs"]
    for mark, event in (("-", found.one), ("+", found.other)):
        lines.append(f"{mark} {'nothing more' if event is None else json_text.dumps(event, ensure_ascii=False)}")
    say(json, "\n".join(lines), {"same": False, "event": found.event, "one": found.one, "other": found.other})
    return 1
