"""In queues."""

from typing import Any

from recipes.queue.buckets import Buckets
from recipes.queue.consume import Messages
from recipes.queue.message import Custody
from recipes.writer import Write, Writer
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("queue", 11, "R9")
def a_failed_block_ends_its_item(patch: Patch) -> None:
    async def fail(self: Custody, error: Exception) -> None:
        self._error = None
        self._settled = False
        await self._leave(at_once=False)

    patch.setattr(Custody, "_fail", fail)


@planted("queue", 7, "R9", ("lost reply", "break"))
def a_put_whose_reply_was_lost_is_made_again(patch: Patch) -> None:
    original = Writer._request

    def request(self: Writer) -> None:
        self._version = -1  # of any version: what was applied is applied once more
        original(self)

    patch.setattr(Writer, "_request", request)


@planted("queue", 4, "R4")
def what_was_claimed_ahead_is_forgotten(patch: Patch) -> None:
    def back(self: Messages[Any], deliveries: list[Any]) -> list[Write]:
        for delivery in deliveries:
            self._in_hand.pop(delivery, None)
        return []

    patch.setattr(Messages, "_back", back)


@planted("queue", 2, "R9", ("crash",))
def an_item_is_acknowledged_as_it_is_handed_out(patch: Patch) -> None:
    """At most once: what its consumer had in hand when it died is gone."""
    original = Custody.enter

    async def enter(self: Custody, *arguments: Any, **more: Any) -> bool:
        got = await original(self, *arguments, **more)
        await self._leave(at_once=False)
        return got

    patch.setattr(Custody, "enter", enter)


@planted("queue", 1, "L5", ("crash",))
def a_claim_outlives_its_session(patch: Patch) -> None:
    original = Buckets.operations

    def operations(self: Buckets, bucket: str, changes: Any, data: bytes = b"") -> Any:
        return original(self, bucket, [("create" if kind == "claim" else kind, name) for kind, name in changes], data)

    patch.setattr(Buckets, "operations", operations)
