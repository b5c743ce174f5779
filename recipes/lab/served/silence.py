"""The simulator's Ledger, silent: the laboratory checks traces instead, after the run."""

from typing import NoReturn

from recipes.core.replication import Entry, Operation
from recipes.core.sim.checks import Ledger


class Silence(Ledger):
    """Takes everything in, and judges nothing."""

    def logged(self, sid: int, entries: list[Entry]) -> None:
        """Nothing is judged."""

    def synced(self, sid: int, unsynced: list[str]) -> None:
        """Nothing is judged."""

    def begins(self, sid: int, operation: Operation) -> None:
        """Nothing is judged."""

    def carried_out(self, sid: int, operation: Operation, last_zxid: int, keeps_tree: bool = False) -> None:
        """Nothing is judged."""

    def lost_power(self, sid: int) -> None:
        """Nothing is judged."""

    def recovered(self, sid: int, last_zxid: int, applied_zxid: int, cells: object, unsure: bool) -> None:
        """Nothing is judged."""

    def differs(self, sid: int, zxid: int) -> None:
        """Nothing is judged."""

    def applied(self, sid: int, entry: Entry) -> None:
        """Nothing is judged."""

    def has_applied(self, sid: int, zxid: int) -> None:
        """Nothing is judged."""

    def shows(self, sid: int, epoch: int, leads: bool, digest: int) -> None:
        """Nothing is judged."""

    def fail(self, name: str, message: str) -> NoReturn:
        """Nothing gets here."""
        raise AssertionError(f"{name} {message}")
