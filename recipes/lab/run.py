"""Run a scenario: the same scenario, seed and protocol give the same trace."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from recipes.core.errors import BadArguments
from recipes.core.sim.chance import Random
from recipes.lab.casts import members_of, protocol_of
from recipes.lab.checks.check import Broken
from recipes.lab.checks.registry import CHECKS, check
from recipes.lab.ending import closed
from recipes.lab.expectations import misses
from recipes.lab.plants.registry import plant_of
from recipes.lab.scenario import Scenario, check_sites
from recipes.lab.served.protocols import find_served
from recipes.lab.served.world import ServedWorld
from recipes.lab.settings import check_settings
from recipes.lab.trace import VERSION, Trace, settled
from recipes.lab.world import World


class Outcome(NamedTuple):
    """What came of a run.

    found: what each check says. wrong: a sentence for each thing that is not as the scenario expects. waits_for: what
    the run still waited for when it was stopped, "" if it came to its end. faults: how many its steps have made.
    """

    trace: Trace
    found: Mapping[str, Broken | None]
    wrong: tuple[str, ...]
    waits_for: str
    faults: int

    @property
    def code(self) -> int:
        """The exit code of a command: 0 as expected, 1 not as expected, 3 the run did not end."""
        return 3 if self.waits_for else 1 if self.wrong else 0

    @property
    def broken(self) -> dict[str, Broken]:
        """The checks that found something."""
        return {name: broken for name, broken in self.found.items() if broken is not None}


def run(
    scenario: Scenario,
    *,
    protocol: str | None = None,
    seed: int | None = None,
    sites: Mapping[str, int] | None = None,
    settings: Mapping[str, Any] | None = None,
    plant: str | None = None,
    replaced: Mapping[type[Any], type[Any]] | None = None,
    most_events: int | None = None,
) -> Outcome:
    """Run a scenario, perhaps with another protocol, seed, number of sites, other settings, or a planted bug.

    replaced: other machines, by those of the protocol. most_events: stop after so many events.

    Raises BadArguments for a protocol that the scenario does not have, a site that does not exist, and the like.
    """
    name = protocol if protocol is not None else scenario.protocols[0]
    if name not in scenario.protocols:
        protocol_of(name)
        raise BadArguments("", f"{scenario.id} does not run on {name}: expected {', '.join(scenario.protocols)}")
    planted = plant if plant is not None else scenario.plant
    bug = plant_of(planted) if planted is not None else None
    if bug is not None and bug.protocol != name:
        raise BadArguments("", f"the planted bug {bug.name} belongs to {bug.protocol}, not to {name}")
    used_seed = scenario.seed if seed is None else seed
    scenario = replace(
        scenario,
        sites={**scenario.sites, **(sites or {})},
        settings={**scenario.settings, **(bug.settings if bug else {}), **(settings or {})},
    )
    replaced = {**(bug.replaced if bug else {}), **(replaced or {})}
    members = members_of(protocol_of(name), scenario.sites, replaced)
    kinds = {kind: kind for kind, _ in members.values()}
    check_sites(scenario, members, kinds)
    check_settings(scenario.id, scenario.protocols, scenario.settings, members)

    def source(purpose: str) -> Random:
        return random.Random(f"{used_seed}/{purpose}")

    mode = protocol_of(name).mode
    world: World | ServedWorld
    if protocol_of(name).served:
        protocol_served = find_served(name)
        mode = protocol_served.mode(scenario.settings)
        kinds_of = {site: kind for site, (kind, _) in members.items()}
        world = ServedWorld(scenario, kinds_of, protocol_served, replaced, source)
    else:
        world = World(scenario, {site: (kind, each) for site, (kind, each) in members.items() if each}, source)
    world.run(most_events)
    header = {
        "version": VERSION,
        "scenario": scenario.id,
        "protocol": name,
        "mode": mode,
        "seed": used_seed,
        "sites": {site: kind for site, (kind, _) in members.items()},
        "settings": dict(scenario.settings),
        "plant": planted,
    }
    trace = settled(header, world.events)
    found = check(trace)
    wrong = tuple(_wrong_checks(scenario, found)) + tuple(misses(trace, scenario.expects))
    waits_for = "" if world.ended else world.waits_for
    return Outcome(closed(trace, found, wrong, ended=world.ended), found, wrong, waits_for, world.script.faults)


def _wrong_checks(scenario: Scenario, found: Mapping[str, Broken | None]) -> list[str]:
    for name in scenario.breaks:
        if name not in CHECKS:
            raise BadArguments("", f"scenario {scenario.id}: breaks: no check is called {name!r}")
    wrong = []
    for name, broken in found.items():
        if broken is not None and name not in scenario.breaks:
            wrong.append(f"{name} broke at event {broken.event}: {broken.why}")
        elif broken is None and name in scenario.breaks:
            wrong.append(f"{name} was expected to break, and holds")
    return wrong
