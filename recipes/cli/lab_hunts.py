"""`recipes lab hunt` and `explore`: many runs of a protocol, in search of one in which a check breaks."""

from functools import partial
from pathlib import Path
from typing import Literal

from recipes.cli.access import Switch
from recipes.cli.lab_files import write
from recipes.cli.lab_verdicts import facts_of_checks, verdict
from recipes.cli.terminal import say
from recipes.core.errors import BadArguments
from recipes.lab.casts import protocol_of
from recipes.lab.explore import Faults, base_of
from recipes.lab.explore import explore as run_all
from recipes.lab.hunt import hunt as run_seeds
from recipes.lab.hunt import scenario_of as scenario_of_seed
from recipes.lab.run import run
from recipes.lab.shrink import expecting, toml
from recipes.lab.shrink import shrink as shrink_scenario

Language = Literal["en", "zh"]


def hunt(
    protocol: str,
    /,
    *,
    seeds: str = "1-200",
    plant: str | None = None,
    shrink: Path | None = None,
    lang: Language = "en",
    json: Switch = False,
) -> int:
    """Run random calls and faults, one run per seed, until a check breaks: recipes lab hunt paxos --seeds 1-1000.

    Exit codes: 0 no seed broke anything; 1 a check broke, and the seed is printed; 2 for a wrong argument.

    Args:
        protocol: one of those that `recipes lab list` names.
        seeds: the first and the last seed, A-B.
        plant: a planted bug, from `recipes lab list --plants`.
        shrink: write to this file a scenario that breaks the same with as few steps as were found.
        lang: the language of what the checks say, en or zh.
        json: print one object.
    """
    runs = seeds_of(seeds)
    unfinished = 0
    for seed, outcome in run_seeds(protocol, runs, plant):
        unfinished += bool(outcome.waits_for)
        if outcome.broken or outcome.wrong:
            lines = [f"seed {seed}: {len(outcome.trace.events)} events"]
            lines += [verdict(name, broken, lang) for name, broken in outcome.broken.items()]
            lines += [f"  after all faults: {wrong}" for wrong in outcome.wrong if not outcome.broken]
            if shrink is not None:
                small = shrink_scenario(scenario_of_seed(protocol, seed, plant), plant)
                write(shrink, toml(small))
                lines.append(f"  {len(small.steps)} steps are enough: recipes lab run {shrink}")
            facts = {
                "seed": seed,
                "runs": seed - runs.start + 1,
                "checks": facts_of_checks(outcome.broken, lang),
                "wrong": outcome.wrong,
            }
            say(json, "\n".join(lines), facts)
            return 1
    said = f"{len(runs)} seeds, nothing broke" + (f"; {unfinished} runs did not end" if unfinished else "")
    say(json, said, {"seed": None, "runs": len(runs), "unfinished": unfinished, "checks": {}, "wrong": []})
    return 0


def explore(
    protocol: str,
    /,
    *,
    servers: int | None = None,
    entries: int = 2,
    crashes: int = 0,
    power_cuts: int = 0,
    drops: int = 0,
    most: int = 10_000,
    plant: str | None = None,
    save: Path | None = None,
    lang: Language = "en",
    json: Switch = False,
) -> int:
    """Run a protocol with each fault wherever it makes a difference: recipes lab explore raft --crashes 1.

    A hunt draws faults by chance; this leaves out none, for the delays of one seed.

    Exit codes: 0 no run broke anything; 1 one did; 2 for a wrong argument; 3 there are more runs than --most.

    Args:
        protocol: one of those that `recipes lab list` names.
        servers: how many servers, acceptors or participants there are.
        entries: how many calls there are, besides one after all faults, which must succeed.
        crashes: how many sites crash at most in a run; each is back 60 ms later.
        power_cuts: how many sites lose power at most, and with it what they have not synced.
        drops: how many messages are lost at most.
        most: how many runs are made at most.
        plant: a planted bug, from `recipes lab list --plants`.
        save: write the scenario that breaks something to this file.
        lang: the language of what the checks say, en or zh.
        json: print one object.
    """
    faults = Faults(crashes, power_cuts, drops)
    for name, number, least in (*zip(Faults._fields, faults, (0, 0, 0), strict=True), ("most", most, 1)):
        if number < least:
            raise BadArguments("", f"--{name.replace('_', '-')} {number}: expected a number from {least} on")
    if not 1 <= entries <= 20:
        raise BadArguments("", f"--entries {entries}: expected a number from 1 to 20")
    sites = {} if servers is None else {protocol_of(protocol).parts[0].kind: servers}
    runs = events = 0
    complete = True
    for scenario, outcome in run_all(base_of(protocol, entries, sites, plant), faults, partial(run, plant=plant)):
        if runs == most:
            complete = False
            break
        runs += 1
        events += len(outcome.trace.events)
        if outcome.code:
            found = expecting(scenario, outcome, plant)
            done = [f"{step['then']} {step.get('target', '')} at {step['when']['at_event']}".replace("  ", " ")
                    for step in scenario.steps if "at_event" in step["when"] and step["then"] != "start"]  # fmt: skip
            lines = [f"run {runs}: {', '.join(done) or 'no fault'}"]
            lines += [verdict(name, broken, lang) for name, broken in outcome.broken.items()]
            lines += [f"  after all faults: {wrong}" for wrong in outcome.wrong if not outcome.broken]
            lines += [f"  it did not end: it still waits for {outcome.waits_for}"] if outcome.waits_for else []
            if save is not None:
                write(save, toml(found))
                lines.append(f"  to repeat it: recipes lab run {save}")
            checks = facts_of_checks(outcome.broken, lang)
            facts = {"runs": runs, "complete": False, "faults": done, "checks": checks, "wrong": outcome.wrong}
            say(json, "\n".join(lines), facts)
            return 1
    more = "" if complete else f"; there are more, beyond --most {most}"
    said = f"{runs} runs with {events} events, nothing broke{more}"
    say(json, said, {"runs": runs, "complete": complete, "faults": [], "checks": {}, "wrong": []})
    return 0 if complete else 3


def seeds_of(seeds: str) -> range:
    """The seeds from A to B. Raises BadArguments if it is no such range."""
    first, _, last = seeds.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
        raise BadArguments("", f"--seeds {seeds}: expected A-B, such as 1-1000")
    return range(int(first), int(last or first) + 1)
