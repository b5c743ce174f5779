"""`recipes lab check`, `replay`, `export`, `schema` and `diff`: what is done with traces, from whichever run."""

import json as json_text
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from recipes.cli.access import Switch
from recipes.cli.lab_files import part_of, replayed, trace_of, write
from recipes.cli.lab_pictures import View, picture, refuse_without_svg
from recipes.cli.lab_verdicts import facts_of_checks, verdict
from recipes.cli.source import source_commit
from recipes.cli.terminal import say, shown
from recipes.core.errors import BadArguments
from recipes.lab.checks.check import Broken
from recipes.lab.checks.registry import check as check_trace
from recipes.lab.checks.registry import checked
from recipes.lab.difference import first_difference
from recipes.lab.exports import EXPORTS
from recipes.lab.figures import figures
from recipes.lab.page import content, document
from recipes.lab.stitch import stitch as stitched
from recipes.lab.trace import digest, dumps, with_commit
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
    found, unchecked = checked(trace) if trace.unseen else (check_trace(trace), {})
    lines = [f"{trace.header['scenario']}, {trace.protocol}, seed {trace.header['seed']}"]
    lines += [] if trace.end else ["the trace ends early"]
    lines += _verdicts(found, unchecked, lang)
    facts = {
        "ends_early": trace.end is None,
        "checks": facts_of_checks(found, lang),
        "unchecked": unchecked,
        "figures": figures(trace),
    }
    say(json, "\n".join(lines), facts)
    return 1 if any(found.values()) else 0


def _verdicts(found: Mapping[str, Broken | None], unchecked: Mapping[str, str], lang: str) -> list[str]:
    return [
        f"  {name:4} {unchecked[name]}" if name in unchecked else verdict(name, broken, lang)
        for name, broken in found.items()
    ]


def replay(
    file: str,
    /,
    *,
    svg: Switch = False,
    true_time: Switch = False,
    view: View = "timeline",
    at: str | None = None,
    html: Path | None = None,
    lang: Language = "en",
    json: Switch = False,
) -> int:
    """Show what a trace has, in words, as a picture or as a page: recipes lab replay TRACE --html run.html.

    A link of a page of `recipes lab serve` has a scenario in it, which is run here: nothing is asked of the network.

    Exit codes: 0 all checks hold; 1 one does not; 2 the file is no trace, or a file cannot be written.

    Args:
        file: what `recipes lab run --trace` or `stitch` wrote, or a link.
        svg: print a picture in place of the words.
        true_time: in the timeline distances are times; else moments are spaced evenly.
        view: which picture.
        at: of the views ring, state, logs and disks: after the event with this number, or at the end, as without it.
        html: write a page to this file that shows the run step by step.
        lang: the language of what the checks say, en or zh.
        json: print one object.
    """
    refuse_without_svg(view, at, svg)
    trace, scenario, linked = replayed(file)
    found, unchecked = checked(trace)
    if svg:
        title = scenario.title[lang] if scenario is not None else str(trace.header["scenario"])
        print(picture(trace, found, title, view, at, true_time, lang), end="")
    if html is not None:
        write(html, document(content(trace, scenario)))
    lines = [f"{trace.header['scenario']}, {trace.protocol}, seed {trace.header['seed']}"]
    lines += [] if trace.end else ["the trace ends early"]
    lines += [] if html else transcript(trace).splitlines()
    lines += _verdicts(found, unchecked, lang)
    if linked is not None:
        event = trace.events[linked]
        lines.append(
            f"the link shows event {linked}, {event['t'] / 1000:.3f} ms, {event['n'] or 'all'}: {said(trace, event)}"
        )
    facts = {
        "ends_early": trace.end is None,
        "checks": facts_of_checks(found, lang),
        "unchecked": unchecked,
        "events": len(trace.events),
        "at": linked,
        "sha256": digest(trace),
    }
    if json or not svg:
        say(json, "\n".join(lines), facts)
    return 1 if any(found.values()) else 0


def stitch(*files: Path, out: Annotated[Path, Parameter(name=("--out", "-o"))], json: Switch = False) -> int:
    """Join what the servers of an ensemble have written with serve --trace: recipes lab stitch s1 s2 s3 -o all.jsonl.

    Clocks of different machines are aligned by the messages between them, and what is said of that is printed.

    Exit codes: 0 joined; 2 the files are no traces of one run of one ensemble.

    Args:
        files: one of each server.
        out: the file for the trace of all of them, which `recipes lab check` and `replay` read.
        json: print one object.
    """
    if not files:
        raise BadArguments("", "no file: expected what each server of an ensemble wrote with recipes serve --trace")
    parts = [part_of(file) for file in files]
    trace, notes = stitched(parts)
    write(out, dumps(with_commit(trace, source_commit())))
    lines = [f"{len(trace.events)} events of {', '.join(part.site for part in parts)}", *notes]
    say(json, "\n".join(lines), {"events": len(trace.events), "said": notes, "unseen": trace.unseen})
    return 0


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
