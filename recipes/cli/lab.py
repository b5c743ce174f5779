"""`recipes lab`: protocols run in a laboratory, on a simulated network and simulated disks, with faults on demand."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from cyclopts import App

from recipes.cli.access import Switch
from recipes.cli.lab_exercises import ask, challenge, grade
from recipes.cli.lab_files import scenario_of, write
from recipes.cli.lab_hunts import explore, hunt, seeds_of
from recipes.cli.lab_pictures import View, picture, refuse_without_svg
from recipes.cli.lab_traces import check, diff, export, replay, schema, stitch
from recipes.cli.lab_verdicts import facts_of_checks, verdict
from recipes.cli.source import source_commit
from recipes.cli.terminal import say, shown
from recipes.core.errors import BadArguments
from recipes.lab import scenario as scenarios
from recipes.lab.casts import protocol_of
from recipes.lab.checks.registry import CHECKS
from recipes.lab.compare import FORMULAS, facts, table
from recipes.lab.compare import compare as compare_protocols
from recipes.lab.compare import csv as csv_of
from recipes.lab.explain import told
from recipes.lab.gallery import gallery
from recipes.lab.page import content, document
from recipes.lab.plants.registry import PLANTS
from recipes.lab.run import Outcome
from recipes.lab.run import run as run_scenario
from recipes.lab.scenario import SECTIONS, Scenario
from recipes.lab.side_by_side import comparison, comparison_picture
from recipes.lab.trace import dumps, with_commit
from recipes.lab.transcript import transcript
from recipes.lab.workload import with_load

Language = Literal["en", "zh"]

lab: App = App(name="lab", help="Protocols in a laboratory: see docs/lab.md.")
lab.command(challenge)
lab.command(ask)
lab.command(grade)
lab.command(hunt)
lab.command(explore)
for _of_traces in (check, replay, export, schema, diff, stitch):
    lab.command(_of_traces)


@lab.command(name="list")
def list_scenarios(
    *,
    section: str | None = None,
    lang: Language = "en",
    plants: Switch = False,
    html: Path | None = None,
    json: Switch = False,
) -> int:
    """Print the scenarios, or the planted bugs: recipes lab list.

    Args:
        section: only this section, such as px.
        lang: the language of the titles, en or zh.
        plants: print the planted bugs instead.
        html: run the scenarios, and write a page to this file with a small picture of each; it takes some seconds.
        json: print an array of objects.
    """
    if plants:
        bugs = [
            {
                "name": each.name,
                "protocol": each.protocol,
                "finds": each.finds,
                "says": each.says if lang == "en" else each.says_zh,
            }
            for each in PLANTS.values()
        ]
        say(json, "\n".join(f"{bug['name']:32} {bug['says']}" for bug in bugs), bugs)
        return 0
    if section is not None and section not in SECTIONS:
        raise BadArguments("", f"--section {section}: expected one of {', '.join(SECTIONS)}")
    found = [each for each in scenarios.load_all() if section in (None, each.section)]
    facts = [
        {"id": each.id, "section": each.section, "protocols": each.protocols, "title": each.title[lang]}
        for each in found
    ]
    lines: list[str] = []
    for each in found:
        if not any(other.section == each.section for other in found[: found.index(each)]):
            lines.append(SECTIONS[each.section][lang])
        lines.append(f"  {each.id:26} {each.title[lang]}")
    if html is not None:
        write(html, gallery(((each, run_scenario(each).trace) for each in found), lang))
    say(json, "\n".join(lines), facts)
    return 0


@lab.command
def show(name: str, /, *, lang: Language = "en", json: Switch = False) -> int:
    """Print what a scenario is about: recipes lab show px-duel.

    Args:
        name: its id, or a .toml file.
        lang: en or zh.
        json: print one object.
    """
    found = scenario_of(name)
    checks = [CHECKS[each] for each in protocol_of(found.protocols[0]).checks]
    facts = {
        "id": found.id, "section": found.section, "protocols": found.protocols, "title": found.title[lang],
        "story": found.story[lang], "breaks": found.breaks, "plant": found.plant,
        "checks": {each.name: each.says if lang == "en" else each.says_zh for each in checks},
    }  # fmt: skip
    said = [found.title[lang], "", found.story[lang].strip(), "", f"protocol: {', '.join(found.protocols)}"]
    said += [f"planted bug: {found.plant}"] if found.plant else []
    for each in checks:
        expected = "  (expected to break)" if each.name in found.breaks else ""
        said.append(f"{each.name:4} {each.says if lang == 'en' else each.says_zh}{expected}")
    say(json, "\n".join(said), facts)
    return 0


@lab.command
def run(
    name: str,
    /,
    *,
    protocol: str | None = None,
    seed: int | None = None,
    servers: int | None = None,
    faults: str | None = None,
    clients: int | None = None,
    plant: str | None = None,
    text: Switch = False,
    explain: Switch = False,
    svg: Switch = False,
    true_time: Switch = False,
    view: View = "timeline",
    at: str | None = None,
    html: Path | None = None,
    trace: Path | None = None,
    lang: Language = "en",
    json: Switch = False,
) -> int:
    """Run a scenario, and say whether it went as expected: recipes lab run px-duel.

    Exit codes: 0 as expected; 1 a check found something that was not expected, or an expectation failed; 2 for a wrong
    argument; 3 the run did not come to its end.

    Args:
        name: its id, a .toml file, or a link of a page of `recipes lab serve`.
        protocol: one of those that the scenario runs on.
        seed: of chance; the scenario's own if not given.
        servers: how many servers, acceptors or participants there are.
        faults: more faults behind the scenario's own steps, such as crash-leader,partition; see docs/lab.md.
        clients: how many clients go on writing meanwhile; 1 if there are faults and nothing is said.
        plant: a planted bug, from `recipes lab list --plants`.
        text: print the events in words.
        explain: the same, and of each message why it was sent and what its receiver did with it.
        svg: print a picture of the run.
        true_time: in the timeline distances are times; else moments are spaced evenly.
        view: which picture.
        at: of the views ring, state, logs and disks: after the event with this number, or at the end, as without it.
        html: write a page to this file that shows the run step by step; it needs nothing else, and no network.
        trace: write the trace to this file.
        lang: the language of what is said, en or zh.
        json: print one object: verdict and figures.
    """
    found = scenario_of(name)
    used = protocol if protocol is not None else found.protocols[0]
    sites = {} if servers is None else {protocol_of(used).parts[0].kind: servers}
    if faults is not None or clients is not None:
        named = [each.strip() for each in faults.split(",")] if faults is not None else []
        found = with_load(
            replace(found, sites={**found.sites, **sites}), used, named, 1 if clients is None else clients
        )
    outcome = run_scenario(found, protocol=protocol, seed=seed, sites=sites, plant=plant)
    if trace is not None or html is not None:
        kept = with_commit(outcome.trace, source_commit())
        if trace is not None:
            write(trace, dumps(kept))
        if html is not None:
            write(html, document(content(kept, found)))
    title = f"{found.id}: {found.title[lang]}"
    refuse_without_svg(view, at, svg)
    drawn = picture(outcome.trace, outcome.found, title, view, at, true_time, lang) if svg else ""
    if explain:
        print(shown("".join(f"{line}\n" for line in told(outcome.trace, lang))), end="")
    elif text:
        print(shown(transcript(outcome.trace)), end="")
    if svg:
        print(drawn, end="")
    if json or not (text or explain or svg):
        say(json, _said(found, outcome, lang), _facts(outcome, lang))
    return outcome.code


@lab.command
def serve(*, port: int = 0, open: Switch = False, json: Switch = False) -> int:
    """Serve a page on 127.0.0.1 that runs scenarios, puts faults into runs and compares them: recipes lab serve --open.

    Args:
        port: of 127.0.0.1; 0 for a free one.
        open: open the page in the browser.
        json: print the address as one object.
    """
    import webbrowser

    import anyio

    from recipes.lab.serving import serve as serve_pages

    def told(address: str) -> None:
        say(json, address, {"url": address})
        if open:
            webbrowser.open(address)

    if not 0 <= port < 65536:
        raise BadArguments("", f"--port {port}: expected a number from 0 to 65535")
    try:
        anyio.run(serve_pages, port, told, source_commit())
    except OSError as error:
        raise BadArguments("", f"--port {port}: {error.strerror or error}") from None
    return 0


@lab.command
def compare(
    *protocols: str,
    scenario: str | None = None,
    seeds: str = "1-20",
    servers: int = 3,
    csv: Switch = False,
    svg: Switch = False,
    html: Path | None = None,
    lang: Language = "en",
    json: Switch = False,
) -> int:
    """Print what a write and a fault take on several protocols, side by side: recipes lab compare zab raft.

    Times are virtual: they follow from the laboratory's delays and time-outs, and are no benchmark.

    Args:
        protocols: some of zab, raft, multi-paxos and primary-backup.
        scenario: the fault, such as crash-leader; one of the scenarios cmp-*.
        seeds: the first and the last seed, A-B.
        servers: how many servers there are.
        csv: print a line per figure, protocol and seed.
        svg: print a picture of the same: the runs of the first seed below each other, and the table.
        html: write a page to this file with the table, and the runs of the first seed side by side.
        lang: the language of the picture's title, en or zh.
        json: print an array of objects, one for each protocol.
    """
    if not protocols:
        raise BadArguments("", f"no protocol: expected some of {', '.join(FORMULAS)}")
    chosen = seeds_of(seeds)
    columns = compare_protocols(protocols, scenario, chosen, servers)
    if html is not None:
        write(html, document(comparison(columns, scenario, chosen, servers)))
    if csv:
        print(csv_of(columns), end="")
    elif svg:
        print(comparison_picture(columns, scenario, chosen, servers, lang), end="")
    else:
        say(json, table(columns, servers), facts(columns))
    return 0


def _said(found: Scenario, outcome: Outcome, lang: str) -> str:
    end = outcome.trace.end or {}
    numbers = end["figures"]
    lines = [f"{found.id}: {found.title[lang]}"]
    lines += [verdict(name, broken, lang) for name, broken in outcome.found.items()]
    lines.append(
        f"  {numbers['messages']} messages, {numbers['fsyncs']} syncs, {numbers['ok']} calls ok, "
        f"{numbers['fail']} failed, {numbers['unknown']} unknown, {numbers['virtual_ms']} ms of virtual time"
    )
    if outcome.waits_for:
        lines.append(f"  it did not end: it still waits for {outcome.waits_for}")
    lines += [f"  not as expected: {wrong}" for wrong in outcome.wrong]
    if not outcome.code:
        lines.append("  as expected" + (f": {', '.join(outcome.broken)} broke" if outcome.broken else ""))
    return "\n".join(lines)


def _facts(outcome: Outcome, lang: str) -> dict[str, object]:
    trace, end = outcome.trace, outcome.trace.end or {}
    return {
        **{key: trace.header[key] for key in ("scenario", "protocol", "mode", "seed", "plant", "sites")},
        "as_expected": outcome.code == 0,
        "ended": not outcome.waits_for,
        "wrong": outcome.wrong,
        "checks": facts_of_checks(outcome.found, lang),
        "figures": end["figures"],
        "events": len(trace.events),
        "sha256": end["sha256"],
    }
