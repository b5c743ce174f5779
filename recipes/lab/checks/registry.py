"""All checks by name, and what a run of them says of a trace."""

from collections.abc import Mapping

from recipes.lab.casts import protocol_of
from recipes.lab.checks import backup, commit, linear, liveness, lock, logs, paxos, raft, zab, zab_logs
from recipes.lab.checks.check import Broken, Check
from recipes.lab.trace import Trace

CHECKS: Mapping[str, Check] = {
    check.name: check
    for check in (
        *backup.CHECKS,
        *commit.CHECKS,
        *lock.CHECKS,
        *paxos.CHECKS,
        *raft.CHECKS,
        *zab.CHECKS,
        *zab_logs.CHECKS,
        *logs.CHECKS,
        *linear.CHECKS,
        *liveness.CHECKS,
    )
}


def checks_of(protocol: str) -> list[Check]:
    """The checks of a protocol, in order."""
    return [CHECKS[name] for name in protocol_of(protocol).checks]


def check(trace: Trace) -> dict[str, Broken | None]:
    """What each check of the trace's protocol finds; None where the property holds."""
    return {each.name: each.find(trace) for each in checks_of(trace.protocol)}


def checked(trace: Trace) -> tuple[dict[str, Broken | None], dict[str, str]]:
    """What each check finds, and for each that could not be made, as in a trace from elsewhere, why."""
    found: dict[str, Broken | None] = {}
    unchecked: dict[str, str] = {}
    unseen = ", ".join(trace.unseen)
    for check in checks_of(trace.protocol):
        found[check.name] = None
        if unseen:
            unchecked[check.name] = f"not checked: the trace does not have all that was done by {unseen}"
            continue
        try:
            found[check.name] = check.find(trace)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            unchecked[check.name] = f"not checked: an event lacks or has wrongly {error}"
    return found, unchecked
