"""The replication protocols that a server can run. The server names a protocol nowhere else."""

from collections.abc import Iterable
from typing import Final

from recipes.core.replication import ReplicationProtocol

DEFAULT: Final = "zab"
_MARKS: Final = {"currentEpoch": "zab"}  # a file that only the directory of a member has -> its protocol


def find_protocol(name: str) -> ReplicationProtocol:
    """The protocol of this name."""
    match name:
        case "zab":
            from recipes.core.zab.protocol import ZAB  # a standalone server starts sooner without it

            return ZAB
        case _:
            raise ValueError(f"protocol {name!r}: expected {DEFAULT!r}")


def protocol_of(names: Iterable[str]) -> str | None:
    """The protocol of the member whose directory holds files of these names; None for a standalone server's."""
    return next((_MARKS[name] for name in names if name in _MARKS), None)
