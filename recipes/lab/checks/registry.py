"""All checks by name, and what a run of them says of a trace."""

from collections.abc import Mapping

from recipes.lab.casts import protocol_of
from recipes.lab.checks import backup, commit, linear, liveness, lock, logs, paxos, raft, zab
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
