"""The replication protocols that a server can run. What starts and configures a server names a protocol nowhere else.

The simulator has those and its own in sim/protocols.py, the laboratory in lab/casts.py and lab/served/.
"""

from collections.abc import Iterable
from typing import Final, Literal, get_args

from recipes.core.replication import ReplicationProtocol

ProtocolName = Literal["zab", "raft"]
DEFAULT: Final = "zab"
NAMES: Final[tuple[ProtocolName, ...]] = get_args(ProtocolName)
SIMULATED: Final = ("multi-paxos", "primary-backup")  # no server runs them
COUNTING_GROUPS: Final = ("zab",)  # whose quorum may be of groups and weights, where others have a majority
SHARING_SECRETS: Final = ("zab",)  # whose leader can hand its members the secret of sessions
# A file that only the directory of a member has -> its protocol.
_MARKS: Final = {"currentEpoch": "zab", "raftVote": "raft"}


def find_protocol(name: str) -> ReplicationProtocol:
    """The protocol of this name."""
    match name:
        case "zab":
            from recipes.core.zab.protocol import ZAB  # a standalone server starts sooner without it

            return ZAB
        case "raft":
            from recipes.core.raft.protocol import RAFT

            return RAFT
        case _:
            raise ValueError(f"protocol {name!r}: expected {' or '.join(NAMES)}")


def refusal(protocol: str, names: Iterable[str], directory: object) -> str:
    """Why a member that runs `protocol` must not start on a directory with files of these names; empty if it may."""
    found = protocol_of(names)
    if found is None or found == protocol:
        return ""
    return (
        f"data directory {directory} belongs to a server that runs {found}, and this one is to run {protocol}: "
        f"set protocol={found}, or give it an empty directory"
    )


def protocol_of(names: Iterable[str]) -> str | None:
    """The protocol of the member whose directory holds files of these names; None for a standalone server's."""
    return next((_MARKS[name] for name in names if name in _MARKS), None)
