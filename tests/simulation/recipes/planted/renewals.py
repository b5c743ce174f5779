"""In clients that outlive their sessions, and in what goes on with them."""

from recipes.cache.mirror import Mirror
from recipes.core.client.client import Client
from recipes.queue.message import Custody
from recipes.renewal import Renewal
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("renewed-queue", 10, "R4")
def what_began_in_one_session_is_carried_on_in_the_next(patch: Patch) -> None:
    """As where a library keeps one handle for all sessions: a claim of the one after is never given back."""

    async def unclaim(self: Custody) -> None:
        """Nobody looks for what may have been left."""

    patch.setattr(Client, "bound", property(lambda self: self))
    patch.setattr(Custody, "_unclaim", unclaim)


@planted("renewed-cache", 3, "R15")
def a_cache_reads_nothing_again_in_the_next_session(patch: Patch) -> None:
    def resume(self: Mirror) -> None:
        self._resting, self._watched = False, True
        self._begin_session()
        self._settle()

    def settle(self: Mirror) -> None:
        self.stale_since, self.was_whole = None, True

    patch.setattr(Mirror, "_resume", resume)
    patch.setattr(Mirror, "_settle", settle)


@planted("renewed-election", 1, "R16")
def a_loss_while_waiting_ends_the_run(patch: Patch) -> None:
    original = Renewal.after

    async def after(self: Renewal, error: Exception) -> None:
        if "while waiting" in str(error):
            raise error
        await original(self, error)

    patch.setattr(Renewal, "after", after)
