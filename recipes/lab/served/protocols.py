"""The protocols that serve, by name."""

from collections.abc import Mapping

from recipes.core.errors import BadArguments
from recipes.lab.served.protocol import ServedProtocol
from recipes.lab.served.raft import SERVED_RAFT
from recipes.lab.served.zab import SERVED_ZAB

SERVED: Mapping[str, ServedProtocol] = {each.name: each for each in (SERVED_ZAB, SERVED_RAFT)}


def find_served(name: str) -> ServedProtocol:
    """The protocol of this name. Raises BadArguments if it does not serve."""
    if name not in SERVED:
        raise BadArguments("", f"protocol {name!r} does not serve: expected {' or '.join(SERVED)}")
    return SERVED[name]
