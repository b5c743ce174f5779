"""A scenario with more of what happens in production: clients that go on writing, and faults that are named.

Both come after the scenario's own steps, so all that it shows is still there. Its expectations are left out: they count
what the scenario alone does. Its checks stay.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recipes.core.errors import BadArguments
from recipes.lab.casts import members_of, protocol_of
from recipes.lab.scenario import Scenario
from recipes.lab.steps import WELL, Step

MOST_CLIENTS = 20
FAULT_MS, QUIET_MS = 1000, 500  # how long a fault lasts, and how long it is quiet before it and behind it
CALL_MS = 100  # from one call of a client to its next
LOSS = 0.2  # the probability of a message to be lost, while `loss` lasts


@dataclass(frozen=True)
class Workload:
    """What the clients of a protocol do.

    kind: of the sites that take calls. call: the n-th one of all. first_only: only the first of these sites takes
    calls. leads: one of the sites leads.
    """

    kind: str
    call: Callable[[int], list[Any]]
    first_only: bool = False
    leads: bool = False


_SET = Workload("server", lambda number: ["set", "x", f"w{number}"], leads=True)
_PROPOSE = Workload("proposer", lambda number: ["propose", f"w{number}"])
_COMMIT = Workload("coordinator", lambda number: ["write", "x", f"w{number}"])
WORKLOADS: Mapping[str, Workload] = {
    "copies": Workload("server", lambda number: ["add", "x", number, number]),
    "primary-backup": replace(_SET, first_only=True),
    "multi-paxos": _SET,
    "raft": _SET,
    "zab": _SET,
    "paxos1": _PROPOSE,
    "paxos2": _PROPOSE,
    "paxos": _PROPOSE,
    "paxos_log": Workload("server", lambda number: ["append", f"w{number}"]),
    "2pc": _COMMIT,
    "3pc": _COMMIT,
}
_ALL = {"target": "all"}
# Each fault of sites, and the steps that end it, wherever it was: the leader may be another one by then.
_OF_SITES: Mapping[str, tuple[Step, tuple[Step, ...]]] = {
    "crash": ({"then": "crash"}, ({"then": "start", **_ALL},)),
    "power": ({"then": "power"}, ({"then": "start", **_ALL},)),
    "pause": ({"then": "pause"}, ({"then": "resume", **_ALL},)),
    "isolate": ({"then": "isolate"}, ({"then": "heal"},)),
    "slow-disk": ({"then": "disk", "disk": "slow"}, ({"then": "disk", "disk": WELL, **_ALL},)),
    "full-disk": (
        {"then": "disk", "disk": "full"},
        ({"then": "disk", "disk": WELL, **_ALL}, {"then": "start", **_ALL}),
    ),
}
_WORDS = ("leader", "follower", "followers", "all")


def with_load(scenario: Scenario, protocol: str, faults: Sequence[str], clients: int) -> Scenario:
    """The scenario with so many clients that go on writing, and these faults, one after another.

    faults: each a name such as crash-leader, pause-s2, isolate-follower, power-all or slow-disk-leader; or partition,
    or loss.

    Raises BadArguments for a fault that is not known, or too many clients.
    """
    if not 1 <= clients <= MOST_CLIENTS:
        raise BadArguments("", f"--clients {clients}: expected a number from 1 to {MOST_CLIENTS}")
    members, load = members_of(protocol_of(protocol), scenario.sites, {}), WORKLOADS[protocol]
    kinds = {name: kind for name, (kind, _) in members.items()}
    timed: list[tuple[int, Step]] = []
    for number, fault in enumerate(faults):
        begin_ms = QUIET_MS + number * (FAULT_MS + QUIET_MS)
        begins, ends = _fault(fault, load, kinds)
        timed.append((begin_ms, begins))
        timed += [(begin_ms + FAULT_MS, step) for step in ends]
    duration_ms = 2 * QUIET_MS + len(faults) * (FAULT_MS + QUIET_MS)
    timed += _calls(load, [name for name, kind in kinds.items() if kind == load.kind], clients, duration_ms)
    timed.sort(key=lambda each: each[0])
    return replace(
        scenario,
        steps=(*scenario.steps, *_one_after_another(timed)),
        expects=(),
        told=(),
        limit_ms=scenario.limit_ms + duration_ms + FAULT_MS,
    )


def _fault(name: str, load: Workload, kinds: Mapping[str, str]) -> tuple[Step, tuple[Step, ...]]:
    """The step at which a fault begins, and those that end it."""
    if name == "loss":
        return {"then": "loss", "probability": LOSS}, ({"then": "loss", "probability": 0.0},)
    if name == "partition":
        sites = list(kinds)
        few = sites[: (len(sites) - 1) // 2]
        return {"then": "isolate", "target": few}, ({"then": "heal"},)
    what = next((each for each in _OF_SITES if name.startswith(f"{each}-")), None)
    where = name.removeprefix(f"{what}-")
    known = [*(_WORDS if load.leads else ("all",)), *dict.fromkeys(kinds.values()), *kinds]
    if what is None or where not in known:
        raise BadArguments(
            "",
            f"--faults {name}: expected partition, loss, or one of {', '.join(_OF_SITES)} "
            f"with - and a site: {', '.join(known)}",
        )
    begins, ends = _OF_SITES[what]
    return {**begins, "target": where}, ends


def _calls(load: Workload, sites: Sequence[str], clients: int, duration_ms: int) -> Iterator[tuple[int, Step]]:
    """Each client makes its calls at one site, as far from each other as those of all clients are from each other."""
    takes = sites[:1] if load.first_only else sites
    if not takes:
        return
    for number in range(duration_ms * clients // CALL_MS):
        client = number % clients
        yield number * CALL_MS // clients, {
            "then": "call", "target": takes[client % len(takes)], "client": f"load{client + 1}",
            "op": load.call(number + 1), "as": f"load {number + 1}",
        }  # fmt: skip


def _one_after_another(timed: Sequence[tuple[int, Step]]) -> Iterator[Step]:
    """Steps at times as steps that follow each other: the time of the first is that of the scenario's last step."""
    last_ms = 0
    for at_ms, step in timed:
        yield {**step, "after_ms": at_ms - last_ms} if at_ms > last_ms else step
        last_ms = at_ms
