"""What the znodes of one round of a double barrier mean, and what a party does next: pure.

The data of the round's znode says how far it is; its version makes sure that each outcome is written once:

    version 0   the parties come
    version 1   how the entering ended: {"members": [...]}, or {"who": ..., "why": ...} when a party broke it
    version 2   how the leaving ended: {"members": [...], "ended": true}, with who and why when a party broke it

Its children:

    _r_<id>@<name>-party-<sequence>  ephemeral: this party is in; all of a round's go with the end of the leaving
    <member>.left                    this member has left by the end of its block
    <member>.gone                    this member died and does not count any more (on_death="shrink")
    <member>.place                   ephemeral: a party that took the place of this member, which died (on_death="wait")

So all parties of a round see the same outcome, whatever each of them saw before. A member is named by the znode it
entered with. Source: ZooKeeper Recipes and Solutions, Double Barriers.
"""

import json
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from recipes.line import in_order

MARKER = "party-"
LEFT = ".left"
GONE = ".gone"
PLACE = ".place"

OnDeath = Literal["break", "shrink", "wait"]


class Outcome(NamedTuple):
    """How far a round is. who, why: the party that broke it, "" when none did."""

    members: tuple[str, ...] = ()
    ended: bool = False
    who: str = ""
    why: str = ""

    @property
    def broken(self) -> bool:
        """Whether a party broke it."""
        return bool(self.who or self.why)


class Wait(NamedTuple):
    """Nothing to do until something changes."""


class Decide(NamedTuple):
    """Write this outcome, unless another party was quicker."""

    outcome: Outcome


class Forget(NamedTuple):
    """Write down that these are gone and do not count any more."""

    gone: tuple[str, ...]


class TakePlace(NamedTuple):
    """Enter in the place of this member, which died."""

    of: str


class NextRound(NamedTuple):
    """This round takes nobody any more: go to the next one."""


class Full(NamedTuple):
    """All places are taken, and nobody has begun to leave."""


Step = Wait | Decide | Forget


def entering(names: Collection[str], me: str, seen: Collection[str], parties: int, on_death: OnDeath) -> Step:
    """What the party `me` does while nothing is decided.

    names: children of the round's znode, as just read. seen: parties it saw in an earlier reading.

    One party opens the gate, so that not all of them try: the one that completes the round. The first one, which looks
    after all others, does it when parties have died, since then the one that completed the round need not know that.
    """
    order = in_order(list(names), MARKER)
    gone = [name.removesuffix(GONE) for name in names if name.endswith(GONE)]
    if on_death != "wait":
        died = sorted(set(seen) - set(order) - set(gone))
        if died and on_death == "break":
            return Decide(Outcome(who=said(died[0]), why="it died before all were in"))
        if died:
            return Forget(tuple(died))
    members = order[: max(0, parties - len(gone))]
    complete = len(members) + len(gone) >= parties
    if complete and (me == members[-1] or me not in members or (gone and me == members[0])):
        return Decide(Outcome(tuple(members)))
    return Wait()


def admitted(names: Collection[str], gate: Outcome, on_death: OnDeath) -> TakePlace | NextRound | Full:
    """Where a party goes that is not a member of a round of which the entering has ended."""
    if gate.broken or gate.ended:
        return NextRound()
    if on_death == "wait" and (dead := _dead(names, gate.members)):
        return TakePlace(dead[0])
    return NextRound() if any(name.endswith((LEFT, GONE)) for name in names) else Full()


def leaving(names: Collection[str], members: Sequence[str], on_death: OnDeath) -> Step:
    """What a member does while it waits for the others to leave, or is still inside and looks after the others."""
    dead = _dead(names, members)
    if dead and on_death == "break":
        return Decide(Outcome(tuple(members), True, said(dead[0]), "it died inside"))
    if dead and on_death == "shrink":
        return Forget(tuple(dead))
    if all(_has_left(names, member) for member in members):
        return Decide(Outcome(tuple(members), True))
    return Wait()


def neighbour(names: Collection[str], me: str, members: Sequence[str]) -> str | None:
    """The znode that `me` looks after: the nearest member before it, around the ring, that has not left.

    So each member inside is looked after by at least one other.
    """
    at = members.index(me)
    for member in (*reversed(members[:at]), *reversed(members[at + 1 :])):
        for node in (member, member + PLACE):
            if node in names:
                return node
    return None


def nodes_of(names: Collection[str], members: Sequence[str]) -> list[str]:
    """What the members have among `names`: to be deleted once all have left."""
    every = {member + suffix for member in members for suffix in ("", LEFT, GONE, PLACE)}
    return [name for name in names if name in every]


def said(member: str) -> str:
    """The name by which a party introduced itself, from the name of its znode; its id when it gave none."""
    known, _, label = member.removeprefix("_r_").rpartition(f"-{MARKER}")[0].partition("@")
    return label or known


def encode(outcome: Outcome) -> bytes:
    """The data of a round."""
    fields = {key: value for key, value in outcome._asdict().items() if value}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(data: bytes) -> Outcome | None:
    """How far a round is; None before all are in. Data of another program, which make no sense, count as broken."""
    if not data:
        return None
    try:
        fields = json.loads(data)
        members = tuple(map(str, fields.get("members", ())))
        return Outcome(members, bool(fields.get("ended")), str(fields.get("who", "")), str(fields.get("why", "")))
    except (ValueError, AttributeError, TypeError):
        return Outcome(why=f"its record makes no sense: {data[:60]!r}")


def _dead(names: Collection[str], members: Sequence[str]) -> list[str]:
    return [
        member for member in members if not (member in names or member + PLACE in names or _has_left(names, member))
    ]


def _has_left(names: Collection[str], member: str) -> bool:
    return member + LEFT in names or member + GONE in names
