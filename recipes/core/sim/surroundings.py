"""The arguments of a simulated server: objects that all servers of its world share, and its own settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from recipes.core.member.config import MemberConfig
from recipes.core.quorum import Membership
from recipes.core.replication import ReplicationProtocol
from recipes.core.sim.checks import Ledger
from recipes.core.sim.election_links import ElectionLinks
from recipes.core.sim.network import Network
from recipes.core.sim.recorder import Recorder
from recipes.core.sim.timeline import Timeline

if TYPE_CHECKING:
    from recipes.core.sim.node import Node


class Surroundings(NamedTuple):
    """Objects that all servers of a world share. ended: called with a server whose process has ended, and why.

    recorder: is told what happens; None: nobody is.
    """

    timeline: Timeline
    network: Network
    election_links: ElectionLinks
    ledger: Ledger
    happened: Callable[[str], None]
    note: Callable[[int, str], None]
    ended: Callable[["Node", str], None]
    recorder: Recorder | None = None


class NodeSettings(NamedTuple):
    """The settings of one server.

    protocol, membership: both None for a standalone server. rate_pm: the speed of its clocks, in thousandths.
    snap_count: as in SnapshotWriter. flush_us: between how many durations of a job of the disk chance chooses;
    flush_least_us: the shortest. turn_us: the longest time for which a turn collects input.
    """

    sid: int
    protocol: ReplicationProtocol | None
    membership: Membership | None
    tick_ms: int
    init_limit: int
    sync_limit: int
    member: MemberConfig
    rate_pm: int
    snap_count: int
    flush_us: int
    turn_us: int = 60
    flush_least_us: int = 1
