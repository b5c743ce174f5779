"""Recipes on clients that outlive their sessions: what goes on must go on, and nothing of a lost session with it (R16).

The same steps and promises as of the recipes themselves; sessions end, and their clients do not.
"""

import anyio

from recipes.core.errors import AckLost, ConnectionLoss, LeadershipLost, SessionError
from tests.simulation.recipes.caches import Caches
from tests.simulation.recipes.elections import Elections, Enough
from tests.simulation.recipes.queues import Queues


class RenewedElections(Elections):
    """`Election.run` goes on from session to session."""

    renew = True
    kinds = (*["lead"] * 2, *["run"] * 8, "resign", "leader", "break")
    expected = (
        "run: free", "run: waited", "run went on", "lead: LeadershipLost", "resigned", "left when lost", "died inside",
        "cancelled", "close inside",
        "container removed",
    )  # fmt: skip

    async def act(self, process, opened, step):
        """Carry out a step."""
        if step.kind != "run":
            await super().act(process, opened, step)
            return
        elections, client = opened
        election, terms = elections[step.key], []

        async def lead(term):
            terms.append(term)
            await self.inside(process, step, term, waited=len(terms) > 1)
            if len(terms) >= 2 or step.number % 2:
                raise Enough

        before = client.losses
        try:
            await election.run(lead)
        except Enough:
            if client.losses > before:
                self.world.count("run went on")
        except (LeadershipLost, SessionError) as error:
            if client.renews:
                self.world.fail("R16", f"{step} of {process} ends, although its client renews: {error!r}")
            raise


class RenewedQueues(Queues):
    """`Queue.consume` goes on from session to session."""

    renew = True
    kinds = (*["put"] * 6, "put many", "put key", *["receive"] * 2, *["consume"] * 6, "fail", "look")
    expected = (
        "put: acknowledged", "receive: item", "consume: item", "consume went on", "acknowledged", "again", "AckLost",
        "cancelled", "died inside", "close inside",
        "container removed",
    )  # fmt: skip

    def open(self, process, client):
        """What steps of one client share."""
        return [*super().open(process, client), client]

    async def consume(self, process, queue, step):
        """As it is, and for long enough that a session may end meanwhile."""
        client = self.world.clients[process]
        before = client.losses
        try:
            await super().consume(process, queue, step._replace(for_us=step.for_us * 8))
        except SessionError as error:
            if client.renews and not getattr(error, "maybe_applied", False):
                self.world.fail("R16", f"{step} of {process} ends, although its client renews: {error!r}")
            raise
        if client.losses > before:
            self.world.count("consume went on")

    async def iterate(self, process, messages, step):
        async for message in messages:
            try:
                async with message:
                    await self.inside(process, step, message)
            except AckLost:
                self.world.count("AckLost")
            else:
                self.whole(step, message)


class RenewedCaches(Caches):
    """A cache goes on from session to session, and does not go back in time."""

    renew = True
    expected = (
        "follow: right", "each: right", "was stale", "was current again", "follow went on", "each went on", "cancelled",
        "close inside", "died inside",
    )  # fmt: skip

    async def follow(self, process, client, step):
        before = client.losses
        try:
            await super().follow(process, client, step)
        except SessionError as error:
            # Entering raises when no server is to be had for long, as every call does.
            if client.renews and not isinstance(error, ConnectionLoss):
                self.world.fail("R16", f"{step} of {process} ends, although its client renews: {error!r}")
            raise
        if client.losses > before:
            self.world.count(f"{step.kind} went on")

    async def synced(self, client, path):
        """What the store had committed by now is what a cache shows from here on, in whatever session."""
        while True:
            session = client.session
            try:
                await client.sync(path)
            except SessionError:
                if not client.renews:
                    raise
                await anyio.sleep(0.01)
                continue
            if client.session is session:
                return session.last_zxid

    def quiet(self):
        """As it is; the world itself hears of the states of its clients."""
        for process, client in self.world.clients.items():
            left = [path for table in client.session.watches.values() for path in table]
            if left or len(client._state_listeners) > 1:
                self.world.fail("R4", f"{process} still watches {left}")
