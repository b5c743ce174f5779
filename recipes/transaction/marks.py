"""Old marks at participants, of branches that ended long ago: a coordinator that died could not have them dropped."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio

from recipes.core.errors import NoNode
from recipes.transaction import asking
from recipes.transaction.participant import BranchId, TransactionParticipant

if TYPE_CHECKING:
    from recipes.core.client.client import Client

log: logging.Logger = logging.getLogger("recipes.transaction")

# No prepare can be under way for this long. More than a day, since a database's clock may have another time zone.
OLD_SECONDS = 2 * 86_400.0
_AT_ONCE = 16
_FORGET_SECONDS = 60.0  # for one look; the next look goes on


async def forget_old(
    client: "Client", records: str, participants: Mapping[str, TransactionParticipant], fleet: str
) -> None:
    """Have participants drop the marks of branches that ended long ago and no longer have a record.

    records: the parent of the records. While a record exists, its branches may be told the outcome again, and need
    their marks to answer. Raises what every call of the client raises.
    """
    old: list[BranchId] = []
    for name, participant in participants.items():
        if (marks := getattr(participant, "marks", None)) is None:
            continue
        try:
            with anyio.move_on_after(asking.ASK_SECONDS):
                found = await marks(OLD_SECONDS)
                old += [branch for branch in found if (branch.fleet, branch.participant) == (fleet, name)]
        except Exception:  # it is away; a participant may raise anything
            log.debug("the participant %s does not list its marks", name, exc_info=True)
    if not old:
        return
    try:
        await client.sync(records)
        there = set(await client.children(records))
    except NoNode:
        return
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def forget(branch: BranchId) -> None:
        async with limiter:
            await asking.ask(participants[branch.participant], branch, "forget")

    with anyio.move_on_after(_FORGET_SECONDS):
        async with anyio.create_task_group() as group:
            for branch in old:
                if branch.transaction not in there:
                    group.start_soon(forget, branch)
