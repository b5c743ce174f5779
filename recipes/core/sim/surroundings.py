"""What a simulated server is given: what all servers of its world share, and its own settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from recipes.core.member.config import MemberConfig
from recipes.core.sim.checks import Ledger
from recipes.core.sim.election_links import ElectionLinks
from recipes.core.sim.network import Network
from recipes.core.sim.timeline import Timeline
from recipes.core.zab.membership import Membership

if TYPE_CHECKING:
    from recipes.core.sim.node import Node


class Surroundings(NamedTuple):
    """What all servers of a world share. ended: called with a server whose process has ended, and why."""

    timeline: Timeline
    network: Network
    election_links: ElectionLinks
    ledger: Ledger
    happened: Callable[[str], None]
    note: Callable[[int, str], None]
    packets: dict[str, int]
    states: dict[str, int]
    ended: Callable[["Node", str], None]


class NodeSettings(NamedTuple):
    """One server's own.

    membership: None of a server alone. rate_pm: how fast its clocks go, in thousandths; snap_count: txns between
    snapshots, at most.
    """

    sid: int
    membership: Membership | None
    tick_ms: int
    init_limit: int
    sync_limit: int
    member: MemberConfig
    rate_pm: int
    snap_count: int
    flush_us: int
