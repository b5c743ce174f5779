"""What a planted bug is: code with one mistake each, to show what breaks, and that the checks find it.

None of them is ever part of a protocol. A run with one says so in the header of its trace.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plant:
    """A mistake. protocol: where. says, says_zh: what is wrong. finds: the checks that can find it.

    replaced: the wrong class for each right one: a machine, or a peer that serves.
    settings: of the protocol, that bring the mistake out. sites: so does a hunt with these numbers of sites.
    wipes: so does a disk that is replaced while its server is down.
    """

    name: str
    protocol: str
    says: str
    says_zh: str
    finds: tuple[str, ...]
    replaced: Mapping[type[Any], type[Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    sites: Mapping[str, int] = field(default_factory=dict)
    wipes: bool = False
