"""In counters, and in the writer and the update behind them."""

from typing import Any

from recipes.core.client.multi import Multi
from recipes.core.errors import BadVersion, ConnectionLoss
from recipes.update import Outcome, apply_in_order
from recipes.writer import Writer
from tests.simulation.recipes.planted.bug import Patch, planted


@planted("counter", 2, "R13", ("lost reply", "break"))
def an_addition_whose_reply_was_lost_is_made_again(patch: Patch) -> None:
    """As by kazoo's Counter, which reads the number that it has increased already (S8)."""
    original = Writer._heard

    def heard(self: Writer, call: Any) -> None:
        if isinstance(call.error, ConnectionLoss):
            self._fail_all(BadVersion())
        else:
            original(self, call)

    patch.setattr(Writer, "_heard", heard)


@planted("counter", 1, "R13")
def a_number_is_written_over_that_of_others(patch: Patch) -> None:
    original = Multi.set

    def set_any(self: Multi, path: str, data: bytes, version: int = -1) -> None:
        original(self, path, data, version if "/writer-" in path else -1)

    patch.setattr(Multi, "set", set_any)


@planted("counter", 1, "R13")
def additions_that_are_combined_start_from_the_same_number(patch: Patch) -> None:
    def apply_each(data: bytes, changes: Any) -> Any:
        found = [Outcome(change(data)[1], None) for change in changes]
        return apply_in_order(data, changes)[0], found

    patch.setattr("recipes.update.apply_in_order", apply_each)


@planted("counter", 1, "R13", ("kill", "break", "lost reply"))
def a_write_that_is_refused_behind_a_lost_reply_was_not_made(patch: Patch) -> None:
    original = Writer._take_in

    def take_in(self: Writer, call: Any) -> None:
        if self._doubtful and isinstance(call.value.error, BadVersion):
            self._own, self._doubtful, self._losses = "", False, 0
            self._fail_all(BadVersion())
        else:
            original(self, call)

    patch.setattr(Writer, "_take_in", take_in)
