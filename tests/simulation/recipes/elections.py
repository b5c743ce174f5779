"""Election in simulated runs: steps lead, resign, run term after term, ask who leads and observe."""

from contextlib import aclosing

import anyio

from recipes import Election
from recipes.core.errors import LeadershipLost, SessionError
from tests.simulation.recipes.holds import Holds
from tests.simulation.recipes.plan import Step

_OBSERVED = 2  # the key that observers look at


class Enough(Exception):
    """Ends `Election.run` from inside."""


class Elections:
    """The Workload of a world; see World."""

    kinds = (*["lead"] * 6, *["resign"] * 2, *["run"] * 2, *["leader"] * 2, *["observe"] * 2, "break")
    errors = (LeadershipLost, SessionError)
    expected = (
        "lead: free", "lead: waited", "lead: LeadershipLost", "resign: free", "resigned", "run: free", "seen",
        "nobody leads", "observed", "woken", "broken", "body whole", "left when lost", "died inside", "fence refused",
        "cancelled", "close inside",
        "container removed",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.holds = Holds(world, "/elections", "lead-", "R8", _OBSERVED)
        self.quiet, self.finish = self.holds.quiet, self.holds.finish
        self.life_ended, self.event = self.holds.life_ended, self.holds.event
        self.holder = self.holds.holder

    def open(self, process, client):
        """What steps of one session share."""
        return [Election(client, self.holds.path_of(key)) for key in range(3)], client

    async def act(self, process, opened, step):
        """Carry out a step."""
        elections, client = opened
        election = elections[step.key]
        if step.kind == "leader":
            since_zxid = client.session.last_zxid
            self.saw(process, step, await election.leader(), since_zxid)
        elif step.kind == "observe":
            await self.observe(process, elections[_OBSERVED], step._replace(key=_OBSERVED))
        elif step.kind == "break":
            await self.holds.break_open(process, client, step)
        elif step.kind == "run":
            terms = []

            async def lead(term):
                terms.append(term)
                await self.inside(process, step, term, waited=False)
                if len(terms) >= 2:
                    raise Enough

            try:
                await election.run(lead)
            except Enough:
                pass
        else:
            began_us = process.now_us
            async with election.lead() as term:
                await self.inside(process, step, term, waited=process.now_us - began_us > 50_000)

    async def inside(self, process, step, term, waited):
        holding = self.holds.acquired(process, step, term, waited)
        try:
            await self.holds.use(holding)
            if step.kind == "resign":
                await term.resign()
                self.world.count("resigned")
                if not term.ended.is_set():
                    self.world.fail("R8", f"{holding} has resigned, and is not told so")
                await anyio.sleep(step.for_us / 1e6)
        finally:
            self.holds.left(holding, process)

    def saw(self, process, step, leader, since_zxid):
        if leader is None:
            self.world.count("nobody leads")
            process.note(f"{step.number} sees nobody")
        else:
            self.holds.saw(process, step, leader.path, leader.fence, since_zxid)

    async def observe(self, process, election, step):
        with anyio.move_on_after(0.1 + step.for_us / 1e6):
            async with aclosing(election.observe()) as leaders:
                async for leader in leaders:
                    self.world.count("observed")
                    self.saw(process, step, leader, 0)

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [Step(0, 0, "lead", key, 1_000_000 + key, 0, -1, "") for key in range(3)]
