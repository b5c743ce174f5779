"""The meaning of the znodes of one round of a double barrier, and a party's next step. Pure.

The data of the round's znode are empty while the parties come. Then they are written once, with the outcome:
{"members": [...]}, or {"who": ..., "why": ...} when a party broke the round. The znode's children:

    _r_<id>@<name>-party-<sequence>  ephemeral: this party is here, until it knows how the round ended
    <member>.died                    the party died before all were in and no longer counts (on_death="shrink")
    <member>.left                    the member has left its block, or died inside and no longer counts
    <member>.place                   ephemeral: a party that took the place of this dead member (on_death="wait")
    out/n<sequence>                  created together with each `.left`

The data of the barrier's own znode are a Notice: the number of the newest round and, from the end of an entering until
the next change, its outcome once more. So one read that all parties make anyway tells them how the entering has ended,
and its watch tells them of the next one.

The last child of `out` has a number that follows from the number of members. Its creation ends the round, so no party
has to count, and nobody writes that all have left. A party that breaks the leaving creates that znode itself, with the
outcome as data.

So all parties of a round see the same outcome, whatever each of them saw before. A member is named by the znode with
which it entered. Source: ZooKeeper Recipes and Solutions, Double Barriers.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from recipes.line import in_order

MARKER = "party-"
LEFT = ".left"
DIED = ".died"
PLACE = ".place"
OUT = "out"

_MOST_SHOWN_BYTES = 16_384  # of the barrier's data with a gate in them; some 250 members

OnDeath = Literal["break", "shrink", "wait"]


class Outcome(NamedTuple):
    """How the entering or the leaving of a round ended. who: the party that broke it. why: the reason. "" for none."""

    members: tuple[str, ...] = ()
    who: str = ""
    why: str = ""

    @property
    def broken(self) -> bool:
        """Whether it was broken."""
        return bool(self.who or self.why)


class Notice(NamedTuple):
    """The data of the barrier's znode, without its settings.

    newest: number of the newest round. shown: number of the round whose gate is shown, 0 if none is. gate: how its
    entering ended.
    """

    newest: int = 0
    shown: int = 0
    gate: Outcome = Outcome()


class Wait(NamedTuple):
    """Do nothing until something changes."""


class Decide(NamedTuple):
    """Write this outcome, unless another party was quicker."""

    outcome: Outcome


class Forget(NamedTuple):
    """Record that these parties are gone and no longer count."""

    gone: tuple[str, ...]


class TakePlace(NamedTuple):
    """Take the place of this dead member."""

    of: str


class NextRound(NamedTuple):
    """This round takes no more parties: go to the next one."""


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
    """The next step of the party `me` while nothing is decided.

    names: children of the round's znode, as just read. seen: parties that `me` saw in earlier reads. order: the parties
    among the names, in order of arrival, if the caller has them.

    Normally only the party that completes the round, or a surplus one, writes the outcome, so that not all of them try.
    If parties have died, the first party writes it as well, because it watches all others; the last one may not know
    that the round is complete.
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
    """Where a party goes if the entering of a round has ended and it is not a member."""
    if gate.broken or not gate.members:
        return NextRound()
    dead = _dead(names, gate.members)
    if dead and on_death == "wait":
        return TakePlace(dead[0])
    return NextRound() if dead or any(name.endswith(LEFT) for name in names) else Full()


def leaving(names: Collection[str], members: Sequence[str], on_death: OnDeath) -> Step:
    """The next step of a member that finds another member's znode gone, before the leaving has ended."""
    dead = _dead(names, members)
    if dead and on_death == "break":
        return Decide(Outcome(who=said(dead[0]), why="it died inside"))
    if dead and on_death == "shrink":
        return Forget(tuple(dead))
    return Wait()


def neighbour(names: Collection[str], me: str, members: Sequence[str]) -> str | None:
    """The znode that `me` watches: the nearest member before it, around the ring, that is still here.

    So each member is watched by at least one other.
    """
    here = set(names)
    at = members.index(me)
    for member in (*reversed(members[:at]), *reversed(members[at + 1 :])):
        if member in here:
            return member
    return None


def last_out(members: int) -> str:
    """The znode whose creation ends a round of so many members, relative to the round's znode."""
    return f"{OUT}/n{members - 1:010d}"


def is_empty(names: Collection[str]) -> bool:
    """Whether a round has no parties left, so that its znodes may be deleted."""
    return not any(name.endswith(PLACE) for name in names) and not in_order(list(names), MARKER)


def said(member: str) -> str:
    """A party's name, from the name of its znode; its id if it has no name."""
    known, _, label = member.removeprefix("_r_").rpartition(f"-{MARKER}")[0].partition("@")
    return label or known


def encode(outcome: Outcome) -> bytes:
    """An outcome as stored data."""
    return _json(_fields(outcome))


def decode(data: bytes) -> Outcome | None:
    """The outcome in stored data; None before there is one. Invalid data count as a broken round."""
    if not data:
        return None
    try:
        return _outcome(json.loads(data))
    except (ValueError, AttributeError, TypeError):
        return Outcome(why=f"its record makes no sense: {data[:60]!r}")


def decode_end(data: bytes) -> Outcome:
    """How the leaving ended, from the data of the last child of `out`: empty data mean that all have left."""
    return decode(data) or Outcome()


def encode_notice(settings: Mapping[str, int | str | None], notice: Notice) -> bytes:
    """The barrier's data. A gate with so many members that all would read them too often is left out."""
    bare = {**settings, "round": notice.newest}
    if not notice.shown:
        return _json(bare)
    data = _json({**bare, "gate": notice.shown, **_fields(notice.gate)})
    return data if len(data) <= _MOST_SHOWN_BYTES else _json(bare)


def decode_notice(data: bytes) -> Notice:
    """The notice in the barrier's data. An empty one if they are invalid: the next gate replaces them."""
    try:
        fields = json.loads(data)
        newest, shown = fields.get("round", 0), fields.get("gate", 0)
        if isinstance(newest, int) and isinstance(shown, int):
            return Notice(newest, shown, _outcome(fields)) if shown else Notice(newest)
    except (ValueError, AttributeError, TypeError):
        pass
    return Notice()


def _fields(outcome: Outcome) -> dict[str, object]:
    return {key: value for key, value in outcome._asdict().items() if value}


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    members = tuple(map(str, fields.get("members", ())))
    return Outcome(members, str(fields.get("who", "")), str(fields.get("why", "")))


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _dead(names: Collection[str], members: Sequence[str]) -> list[str]:
    here = set(names)
    return [member for member in members if not (member in here or member + PLACE in here or member + LEFT in here)]
