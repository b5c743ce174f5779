"""Requests to participants, each with a time limit and with an answer whatever happens."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

import anyio

from recipes.transaction.branch import Answer, Reply
from recipes.transaction.participant import BranchId, TransactionParticipant
from recipes.transaction.record import Decision

log: logging.Logger = logging.getLogger("recipes.transaction")

Method = Literal["can_commit", "pre_commit", "prepare", "commit", "abort", "forget"]

ASK_SECONDS = 5.0  # for an answer, unless a deadline is nearer
_OUTCOMES: dict[Decision, tuple[Method, Answer]] = {
    Decision.COMMIT: ("commit", Answer.COMMITTED),
    Decision.ABORT: ("abort", Answer.ABORTED),
}


async def ask(
    participant: TransactionParticipant, branch: BranchId, method: Method, within: float = ASK_SECONDS
) -> Reply:
    """Call one method of a participant, for `within` seconds at most. An exception counts as UNKNOWN."""
    with anyio.move_on_after(within):
        return await call(participant, branch, method)
    return no_answer(within)


async def call(participant: TransactionParticipant, branch: BranchId, method: Method) -> Reply:
    """As `ask`, without a limit: the caller has one for several calls."""
    try:
        answer = await getattr(participant, method)(branch)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        log.debug("%s raised", branch, exc_info=True)
        return Reply(Answer.UNKNOWN, f"{type(error).__name__}: {error}")
    if isinstance(answer, Answer):
        return Reply(answer)
    if isinstance(answer, Reply) and isinstance(answer.answer, Answer):
        return answer
    return Reply(Answer.UNKNOWN, f"it answered {answer!r}, which is none of recipes.transaction.Answer")


def _is_cancelled() -> bool:
    """Whether this task was cancelled on asyncio, and not something that the participant waited for. A participant's
    own cancellation must not pass for the end of a task group, in which all others seem to have answered."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def no_answer(within: float) -> Reply:
    """What counts as the reply of a participant that took too long."""
    return Reply(Answer.UNKNOWN, f"no answer within {within:.3g} s")


def patience(deadline: float) -> float:
    """Seconds to wait for a participant's proof of the outcome; also the longest pause between two tries.

    deadline: of the transaction, in seconds. When it is short, a participant that was away must not hold its locks for
    long after its return: one wait and one pause together take less than the deadline plus two seconds.
    """
    return min(ASK_SECONDS, 0.5 + deadline / 2)


async def tell(
    participants: Mapping[str, TransactionParticipant],
    branch: BranchId,
    decision: Decision,
    within: float = ASK_SECONDS,
) -> str:
    """Tell a participant the outcome once. Return "" if it has proved the outcome, else what it says."""
    participant = participants.get(branch.participant)
    if participant is None:  # it joined by itself
        return "this coordinator has no such participant"
    method, proof = _OUTCOMES[decision]
    reply = await ask(participant, branch, method, within)
    if reply.answer is Answer.CONTRADICTION:
        log.error("the branch %s was told to %s and has done the opposite: %s", branch, method, reply)
    return "" if reply.answer is proof else str(reply)


async def forget(participant: TransactionParticipant, branches: Sequence[BranchId]) -> None:
    """Let a participant drop its marks of these branches, together if it can. Its errors do not matter: it is asked to
    drop old marks later on."""
    with anyio.move_on_after(ASK_SECONDS):
        if (forget_all := getattr(participant, "forget_all", None)) is not None:
            try:
                await forget_all(branches)
            except Exception:
                log.debug("%s and others are not forgotten", branches[0], exc_info=True)
        elif hasattr(participant, "forget"):
            async with anyio.create_task_group() as group:
                for branch in branches:
                    group.start_soon(call, participant, branch, "forget")
