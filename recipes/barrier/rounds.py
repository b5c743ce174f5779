"""What the znodes of one round of a double barrier mean, and what a party does next: pure.

The data of the round's znode are empty while the parties come. Then they say once how that ended: {"members": [...]},
or {"who": ..., "why": ...} when a party broke the round. Its children:

    _r_<id>@<name>-party-<sequence>  ephemeral: this party is here, until it knows how the round ended
    <member>.died                    died before all were in, and does not count any more (on_death="shrink")
    <member>.left                    has left by the end of its block, or died inside and does not count any more
    <member>.place                   ephemeral: a party that took the place of this member, which died (on_death="wait")
    out/n<sequence>                  made together with each `.left`

The last of `out`, whose number is known from the members, ends the round by coming to be: no party has to count, and
nobody writes that all have left. A party that breaks the leaving takes that name, with data that say so.

So all parties of a round see the same outcome, whatever each of them saw before. A member is named by the znode it
entered with. Source: ZooKeeper Recipes and Solutions, Double Barriers.
"""

import json
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from recipes.line import in_order

MARKER = "party-"
LEFT = ".left"
DIED = ".died"
PLACE = ".place"
OUT = "out"

OnDeath = Literal["break", "shrink", "wait"]


class Outcome(NamedTuple):
    """How the entering or the leaving of a round ended. who, why: the party that broke it, "" when none did."""

    members: tuple[str, ...] = ()
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


def entering(
    names: Collection[str],
    me: str,
    seen: Collection[str],
    parties: int,
    on_death: OnDeath,
    order: Sequence[str] | None = None,
) -> Step:
    """What the party `me` does while nothing is decided.

    names: children of the round's znode, as just read. seen: parties it saw in an earlier reading. order: the parties
    among the names, first come first, for whoever knows them.

    One party opens the gate, so that not all of them try: the one that completes the round. The first one, which looks
    after all others, does it when parties have died, since then the one that completed the round need not know that.
    """
    if order is None:
        order = in_order(list(names), MARKER)
    gone = {name.removesuffix(DIED) for name in names if name.endswith(DIED)}
    if on_death != "wait":
        died = sorted(set(seen).difference(order, gone))
        if died and on_death == "break":
            return Decide(Outcome(who=said(died[0]), why="it died before all were in"))
        if died:
            return Forget(tuple(died))
    members = order[: max(0, parties - len(gone))]
    complete = len(members) + len(gone) >= parties
    if complete and (me not in members or me == members[-1] or (gone and me == members[0])):
        return Decide(Outcome(tuple(members)))
    return Wait()


def admitted(names: Collection[str], gate: Outcome, on_death: OnDeath) -> TakePlace | NextRound | Full:
    """Where a party goes that is not a member of a round of which the entering has ended."""
    if gate.broken or not gate.members:
        return NextRound()
    dead = _dead(names, gate.members)
    if dead and on_death == "wait":
        return TakePlace(dead[0])
    return NextRound() if dead or any(name.endswith(LEFT) for name in names) else Full()


def leaving(names: Collection[str], members: Sequence[str], on_death: OnDeath) -> Step:
    """What a member does that finds another one's znode gone, until the leaving has ended."""
    dead = _dead(names, members)
    if dead and on_death == "break":
        return Decide(Outcome(who=said(dead[0]), why="it died inside"))
    if dead and on_death == "shrink":
        return Forget(tuple(dead))
    return Wait()


def neighbour(names: Collection[str], me: str, members: Sequence[str]) -> str | None:
    """The znode that `me` looks after: the nearest member before it, around the ring, that is still here.

    So each member is looked after by at least one other.
    """
    here = set(names)
    at = members.index(me)
    for member in (*reversed(members[:at]), *reversed(members[at + 1 :])):
        if member in here:
            return member
    return None


def last_out(members: Sequence[str]) -> str:
    """The znode below that of the round that ends it."""
    return f"{OUT}/n{len(members) - 1:010d}"


def is_empty(names: Collection[str]) -> bool:
    """Whether nobody is in a round any more, so that what it left behind may go."""
    return not any(name.endswith(PLACE) for name in names) and not in_order(list(names), MARKER)


def said(member: str) -> str:
    """The name by which a party introduced itself, from the name of its znode; its id when it gave none."""
    known, _, label = member.removeprefix("_r_").rpartition(f"-{MARKER}")[0].partition("@")
    return label or known


def encode(outcome: Outcome) -> bytes:
    """What is stored of an outcome."""
    fields = {key: value for key, value in outcome._asdict().items() if value}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(data: bytes) -> Outcome | None:
    """An outcome, as stored; None before there is one. Data that make no sense count as broken."""
    if not data:
        return None
    try:
        fields = json.loads(data)
        members = tuple(map(str, fields.get("members", ())))
        return Outcome(members, str(fields.get("who", "")), str(fields.get("why", "")))
    except (ValueError, AttributeError, TypeError):
        return Outcome(why=f"its record makes no sense: {data[:60]!r}")


def decode_end(data: bytes) -> Outcome:
    """How the leaving ended, by the data of the last of `out`: they are empty when all have left."""
    return decode(data) or Outcome()


def _dead(names: Collection[str], members: Sequence[str]) -> list[str]:
    here = set(names)
    return [member for member in members if not (member in here or member + PLACE in here or member + LEFT in here)]
