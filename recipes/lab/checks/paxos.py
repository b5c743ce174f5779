"""Checks of Paxos, for single values and for logs. Sources: Lamport, Paxos Made Simple (2001), P1 to P2c.

The keys on the disks are those of `recipes/core/agree`: `promised:SLOT`, or `promised` for all slots, and
`accepted:SLOT`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from recipes.lab.checks.check import Broken, Check, Disks, slot_of, text_of
from recipes.lab.trace import Event, Trace

NO_OP = ["noop"]
Epoch = list[Any]


class Chosen(NamedTuple):
    """A value that a majority has on disk from one epoch. event: by which it was chosen."""

    slot: int
    epoch: Epoch
    value: Any
    event: int


def acceptors(trace: Trace) -> list[str]:
    """The sites that accept."""
    return trace.of_kind("acceptor") or trace.of_kind("server")


def _acceptances(trace: Trace) -> Iterator[tuple[Event, str, int, Epoch, Any]]:
    """Each value that became durable at an acceptor."""
    disks = Disks()
    voters = acceptors(trace)
    for event in trace.events:
        for site, key, value in disks.follow(event):
            slot = slot_of(key, "accepted")
            if slot is not None and value is not None and site in voters:
                yield event, site, slot, value[0], value[1]


def chosen_in(trace: Trace) -> list[Chosen]:
    """Each value that was chosen, once per slot and epoch, in order."""
    majority = len(acceptors(trace)) // 2 + 1
    votes: dict[tuple[int, str, str], set[str]] = {}
    found: list[Chosen] = []
    for event, site, slot, epoch, value in _acceptances(trace):
        voters = votes.setdefault((slot, text_of(epoch), text_of(value)), set())
        if site not in voters:
            voters.add(site)
            if len(voters) == majority:
                found.append(Chosen(slot, epoch, value, event["i"]))
    return found


def _two_chosen(trace: Trace) -> Broken | None:
    first: dict[int, Chosen] = {}
    for chosen in chosen_in(trace):
        before = first.setdefault(chosen.slot, chosen)
        if before.value != chosen.value:
            one, other = text_of(before.value), text_of(chosen.value)
            return Broken(
                chosen.event,
                f"slot {chosen.slot}: a majority has {other} on disk from epoch {text_of(chosen.epoch)}, "
                f"while {one} had been chosen in {text_of(before.epoch)}",
                f"槽位 {chosen.slot}：多数派磁盘上已有 epoch {text_of(before.epoch)} 选定的 {one}，"
                f"现在又在 {text_of(chosen.epoch)} 选定了 {other}",
                (before.event,),
            )
    return None


def _not_proposed(trace: Trace) -> Broken | None:
    calls: dict[int, Any] = {}
    for event in trace.events:
        if event["k"] == "call":
            calls[event["call"]] = event["op"]
        slot = slot_of(event["what"], "accepted") if event["k"] == "write" else None
        if slot is None:
            continue
        value = event["value"][1]
        if trace.protocol == "paxos":
            asked = any(op[0] == "propose" and op[1] == value for op in calls.values())
        else:
            op = calls.get(value[0]) if isinstance(value, list) and value else None
            asked = value == [0, NO_OP] or (op is not None and (value[1] in (op, op[1]) or value[1][1:] == op[1:]))
        if not asked:
            return Broken(
                event["i"],
                f"{event['n']} accepted {text_of(value)} in slot {slot}, which nobody has proposed",
                f"{event['n']} 在槽位 {slot} 接受了 {text_of(value)}，可是没有人提议过它",
            )
    return None


def _higher_differs(trace: Trace) -> Broken | None:
    chosen: dict[int, list[Chosen]] = {}
    for each in chosen_in(trace):
        chosen.setdefault(each.slot, []).append(each)
    for event in trace.events:
        for slot, epoch, value in _proposed_by(event):
            for before in chosen.get(slot, ()):
                if epoch > before.epoch and value != before.value:
                    return Broken(
                        event["i"],
                        f"{event['n']} proposes {text_of(value)} for slot {slot} in epoch {text_of(epoch)}, "
                        f"though {text_of(before.value)} is chosen in {text_of(before.epoch)}",
                        f"{event['n']} 在 epoch {text_of(epoch)} 为槽位 {slot} 提议 {text_of(value)}，"
                        f"而 {text_of(before.epoch)} 已选定 {text_of(before.value)}",
                        (before.event,),
                    )
    return None


def _proposed_by(event: Event) -> Iterator[tuple[int, Epoch, Any]]:
    """What an event proposes: a message of the second phase, or the proposer's own acceptance."""
    if event["k"] == "send" and event["real"] == "ACCEPT":
        fields = event["fields"]
        yield fields["slot"], fields["epoch"], fields["value"]
    elif event["k"] == "write":
        slot = slot_of(event["what"], "accepted")
        if slot is not None and event["value"] is not None and event["value"][0][1] == event["n"]:
            yield slot, event["value"][0], event["value"][1]


def _accepts_below(trace: Trace) -> Broken | None:
    promised: dict[tuple[str, Any], tuple[Epoch, int]] = {}
    for event in trace.events:
        site = event["n"]
        if event["k"] == "send" and event["real"] == "PROMISE":
            key = (site, event["fields"].get("slot"))
            before = promised.get(key)
            if before is None or event["fields"]["epoch"] > before[0]:
                promised[key] = (event["fields"]["epoch"], event["i"])
        slot = slot_of(event["what"], "accepted") if event["k"] == "write" else None
        if slot is None:
            continue
        epoch = event["value"][0]
        for key in ((site, slot), (site, None)):
            if key in promised and epoch < promised[key][0]:
                return Broken(
                    event["i"],
                    f"{site} accepts epoch {text_of(epoch)} in slot {slot}, has promised {text_of(promised[key][0])}",
                    f"{site} 已承诺 {text_of(promised[key][0])}，却在槽位 {slot} 接受了 {text_of(epoch)}",
                    (promised[key][1],),
                )
    return None


def _answer_before_disk(trace: Trace) -> Broken | None:
    disks = Disks()
    for event in trace.events:
        disks.follow(event)
        if event["k"] != "send" or event["real"] not in ("PROMISE", "ACCEPTED"):
            continue
        site, epoch, slot = event["n"], event["fields"]["epoch"], event["fields"].get("slot")
        if event["real"] == "PROMISE":
            held = disks.of(site).get("promised" if slot is None else f"promised:{slot}")
        else:
            held = (disks.of(site).get(f"accepted:{slot}") or [None])[0]
        if held is None or held < epoch:
            return Broken(
                event["i"],
                f"{site} answers {event['real']} for epoch {text_of(epoch)}, while its disk has {text_of(held)}",
                f"{site} 以 {event['real']} 应答 epoch {text_of(epoch)}，而它的磁盘上是 {text_of(held)}",
            )
    return None


def _epoch_of_two(trace: Trace) -> Broken | None:
    owners: dict[str, tuple[str, int]] = {}
    values: dict[tuple[str, int], tuple[str, int]] = {}
    used: dict[str, set[str]] = {}
    earlier: dict[str, set[str]] = {}  # what each site had used when it last started
    for event in trace.events:
        if event["k"] == "start":
            earlier[event["n"]] = set(used.get(event["n"], ()))
        if event["k"] == "send" and event["real"] in ("PREPARE", "ACCEPT"):
            epoch = text_of(event["fields"]["epoch"])
            used.setdefault(event["n"], set()).add(epoch)
            if epoch in earlier.get(event["n"], ()):
                return Broken(
                    event["i"],
                    f"{event['n']} uses epoch {epoch} again, after a restart",
                    f"{event['n']} 重启之后又用了 epoch {epoch}",
                    (owners[epoch][1],),
                )
            owner = owners.setdefault(epoch, (event["n"], event["i"]))
            if owner[0] != event["n"]:
                return Broken(
                    event["i"],
                    f"{event['n']} and {owner[0]} both propose in epoch {epoch}",
                    f"{event['n']} 和 {owner[0]} 都在 epoch {epoch} 提议",
                    (owner[1],),
                )
        for slot, number, value in _proposed_by(event):
            key = (text_of(number), slot)
            before = values.setdefault(key, (text_of(value), event["i"]))
            if before[0] != text_of(value):
                return Broken(
                    event["i"],
                    f"{event['n']} proposes {before[0]} and {text_of(value)} for slot {slot} in one epoch, {key[0]}",
                    f"{event['n']} 在同一个 epoch {key[0]} 里为槽位 {slot} 先后提议 {before[0]} 和 {text_of(value)}",
                    (before[1],),
                )
    return None


def _executed_not_chosen(trace: Trace) -> Broken | None:
    chosen = {each.slot: (each.value, each.event) for each in reversed(chosen_in(trace))}
    for event in trace.events:
        if event["k"] != "state" or "executed" not in event:
            continue
        for slot, command in enumerate(event["executed"] or (), 1):
            value, when = chosen.get(slot, (None, -1))
            if value is None or when > event["i"] or command != value[1]:
                return Broken(
                    event["i"],
                    f"{event['n']} has executed {text_of(command)} as number {slot}; chosen there is {text_of(value)}",
                    f"{event['n']} 把 {text_of(command)} 当作第 {slot} 条执行，而该槽位选定的是 {text_of(value)}",
                )
    return None


def _learned_not_chosen(trace: Trace) -> Broken | None:
    chosen: dict[int, tuple[Any, int]] = {}
    for each in chosen_in(trace):
        chosen.setdefault(each.slot, (each.value, each.event))
    for event in trace.events:
        if event["k"] == "send" and event["real"] == "CHOSEN":
            slot, value = event["fields"]["slot"], event["fields"]["value"]
        elif event["k"] == "reply" and event["outcome"] == "ok" and trace.protocol == "paxos":
            slot, value = 1, event["value"]
        else:
            continue
        held, when = chosen.get(slot, (None, -1))
        if when < 0 or when > event["i"] or held != value:
            return Broken(
                event["i"],
                f"{event['n']} takes {text_of(value)} for chosen in slot {slot}; no majority has it on disk",
                f"{event['n']} 认为槽位 {slot} 已选定 {text_of(value)}，但多数派的磁盘上并非如此",
            )
    return None


CHECKS = (
    Check("P1", "one value is chosen per slot", "每个槽位只选定一个值", _two_chosen),
    Check("P2", "only a value that was proposed is accepted", "只接受有人提议过的值", _not_proposed),
    Check(
        "P3",
        "once a value is chosen in an epoch, every newer epoch proposes the same value",
        "某个 epoch 选定一个值之后，更大的 epoch 只能提议同一个值",
        _higher_differs,
    ),
    Check("P4", "no acceptor accepts below its promise", "接受者不接受小于其承诺的 epoch", _accepts_below),
    Check(
        "P5",
        "a promise or an acceptance is on disk before its answer leaves",
        "承诺和接受先落盘，再应答",
        _answer_before_disk,
    ),
    Check(
        "P6",
        "an epoch belongs to one proposer, with one value per slot",
        "一个 epoch 只属于一个提议者，每个槽位只有一个值",
        _epoch_of_two,
    ),
    Check(
        "P7", "what is executed is a prefix of what is chosen", "已执行的是已选定日志的连续前缀", _executed_not_chosen
    ),
    Check("P8", "what a site learns as chosen is chosen", "被学习到的值确实已被选定", _learned_not_chosen),
)
