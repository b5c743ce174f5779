"""Requests to participants: in parallel, each with its limit, and an answer whatever happens."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import anyio

from recipes.transaction.branch import Answer
from recipes.transaction.participant import BranchId, TransactionParticipant

log: logging.Logger = logging.getLogger("recipes.transaction")

Ask = Callable[[TransactionParticipant, BranchId], Awaitable[Answer]]


class Reply(NamedTuple):
    """What came of one request. why: in words, for a refusal or when nobody knows."""

    answer: Answer
    why: str = ""


async def ask(participant: TransactionParticipant, branch: BranchId, request: Ask, within: float) -> Reply:
    """Ask one participant, and wait `within` seconds for its answer at most. What it raises counts as UNKNOWN."""
    try:
        with anyio.move_on_after(within):
            answer = await request(participant, branch)
            if isinstance(answer, Answer):
                return Reply(answer)
            return Reply(Answer.UNKNOWN, f"it answered {answer!r}, which is none of recipes.transaction.Answer")
        return Reply(Answer.UNKNOWN, f"no answer within {within:.3g} s")
    except Exception as error:
        log.debug("%s raised", branch, exc_info=True)
        return Reply(Answer.UNKNOWN, f"{type(error).__name__}: {error}")


async def ask_all(
    participants: Mapping[str, TransactionParticipant],
    branches: Sequence[BranchId],
    request: Ask,
    within: float,
    good: frozenset[Answer],
) -> dict[BranchId, Reply]:
    """Ask them at the same time. The first that gives none of the `good` answers ends the waiting for the others."""
    replies: dict[BranchId, Reply] = {}

    async def ask_one(branch: BranchId) -> None:
        reply = await ask(participants[branch.participant], branch, request, within)
        replies[branch] = reply
        if reply.answer not in good:
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for branch in branches:
            group.start_soon(ask_one, branch)
    return replies


async def can_commit(participant: TransactionParticipant, branch: BranchId) -> Answer:
    """3PC's first question. A participant without it could not take part."""
    return await participant.can_commit(branch)  # type: ignore[attr-defined,no-any-return]  # checked when it enlisted


async def pre_commit(participant: TransactionParticipant, branch: BranchId) -> Answer:
    """3PC's second."""
    return await participant.pre_commit(branch)  # type: ignore[attr-defined,no-any-return]


async def prepare(participant: TransactionParticipant, branch: BranchId) -> Answer:
    """2PC's first."""
    return await participant.prepare(branch)


async def commit(participant: TransactionParticipant, branch: BranchId) -> Answer:
    """The outcome."""
    return await participant.commit(branch)


async def abort(participant: TransactionParticipant, branch: BranchId) -> Answer:
    """The outcome."""
    return await participant.abort(branch)


async def forget(participant: TransactionParticipant, branch: BranchId) -> Answer:
    """Drop the mark of a branch that has ended."""
    await participant.forget(branch)  # type: ignore[attr-defined]  # looked for by its caller
    return Answer.UNKNOWN
