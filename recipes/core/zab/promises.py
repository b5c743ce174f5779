"""What a leader makes of the epochs that others say they have promised, without a proof that they are members.

A promise that a quorum can do without moves no epoch. One that is needed moves an epoch once its sender has
acknowledged an epoch above it, as a member does. Before that it is written nowhere.
"""

from collections.abc import Mapping
from typing import Final

from recipes.core.giving_way import GivingWay
from recipes.core.quorum import Membership

_MOST_AHEAD: Final = 1 << 16  # of an established leader; elections that came to nothing leave a few


def needed_promise(membership: Membership, own_sid: int, own_epoch: int, promised: Mapping[int, int]) -> int | None:
    """The lowest epoch such that a quorum has promised none above it; None where too few are connected.

    own_epoch: the one that this server has promised. promised: voter -> the epoch that it says it has promised.
    """
    for epoch in sorted({own_epoch, *(epoch for epoch in promised.values() if epoch > own_epoch)}):
        if membership.is_quorum([own_sid, *(sid for sid, other in promised.items() if other <= epoch)]):
            return epoch
    return None


class LatePromises:
    """The servers for which this one gives way as an established leader: for each once in a while, whatever it says.

    A server that can only join a later epoch looks for a leader again when it is offered this one. So it counts only
    where it was heard to look, at the election port, since this leadership was established.
    """

    __slots__ = ("_giving_way", "_looked", "_named")

    def __init__(self, tick_ms: int) -> None:
        self._giving_way = GivingWay(tick_ms)
        self._looked: set[int] = set()
        self._named: set[int] = set()

    def established(self) -> None:
        """A new leadership of this server is established."""
        self._looked.clear()
        self._named.clear()

    def looks(self, sid: int) -> None:
        """The server looks for a leader."""
        self._looked.add(sid)

    def count(self, sid: int, epochs_ahead: int, now_ms: int) -> bool:
        """Whether this server gives way for `sid`, once that has acknowledged an epoch above its promise."""
        return self._giving_way.may(sid, now_ms) and sid in self._looked and 0 < epochs_ahead <= _MOST_AHEAD

    def name(self, sid: int, promised: int, epoch: int) -> str:
        """A text for the operator, once in a leadership, about a promise too far ahead of `epoch`; "" for others."""
        if promised - epoch <= _MOST_AHEAD or sid in self._named:
            return ""
        self._named.add(sid)
        return (
            f"a connection says that server {sid} has promised epoch {promised}, more than {_MOST_AHEAD} above epoch "
            f"{epoch}: no leader gives way for that; if it is true, let server {sid} rejoin without data"
        )

    def gave_way(self, sid: int, now_ms: int) -> None:
        """This server gives way for `sid`."""
        self._giving_way.gave_way(sid, now_ms)
