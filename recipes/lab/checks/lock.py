"""Checks of Paxos' first two steps, with their one acceptor."""

from recipes.lab.checks.check import Broken, Check, Disks, text_of
from recipes.lab.trace import Trace


def _value_changed(trace: Trace) -> Broken | None:
    (acceptor,) = trace.of_kind("acceptor")
    disks = Disks()
    determined: tuple[str, int] | None = None
    for event in trace.events:
        for site, key, value in disks.follow(event):
            if site != acceptor or key not in ("value", "accepted:1"):
                continue
            now = text_of(value if key == "value" or value is None else value[1])
            if determined is not None and now != determined[0]:
                return Broken(
                    event["i"],
                    f"{site} had {determined[0]} on disk, and now has {now}",
                    f"{site} 的磁盘上原来是 {determined[0]}，现在变成了 {now}",
                    (determined[1],),
                )
            determined = (now, event["i"])
    answers: dict[str, int] = {}
    for event in trace.events:
        if event["k"] == "reply" and event["outcome"] == "ok":
            answers.setdefault(text_of(event["value"]), event["i"])
            if len(answers) > 1:
                one, other = answers
                return Broken(
                    event["i"],
                    f"one proposer was told {one}, another one {other}",
                    f"一个提议者得到 {one}，另一个得到 {other}",
                    (answers[one],),
                )
    return None


def _two_hold_it(trace: Trace) -> Broken | None:
    return _two_locks(trace) if trace.protocol == "paxos1" else _old_epoch(trace)


def _two_locks(trace: Trace) -> Broken | None:
    """The lock goes from one token to another without being free; or a value comes from a proposer without the lock."""
    (acceptor,) = trace.of_kind("acceptor")
    holder = None
    for event in trace.events:
        if event["n"] != acceptor:
            continue
        if event["k"] == "start":
            holder = event["stored"].get("lock")
        elif event["k"] == "write" and event["what"] == "lock":
            value = event["value"]
            if value is not None and holder is not None and value != holder:
                return Broken(
                    event["i"],
                    f"{acceptor} gives the lock to {text_of(value)} while {text_of(holder)} holds it",
                    f"{text_of(holder)} 还持有锁，{acceptor} 就把锁给了 {text_of(value)}",
                )
            holder = value
    return None


def _old_epoch(trace: Trace) -> Broken | None:
    """An epoch is granted to two proposers, or a value is taken from an epoch that a newer one has replaced."""
    granted: dict[str, tuple[str, int]] = {}
    newest: dict[str, list[object]] = {}
    for event in trace.events:
        site = event["n"]
        if event["k"] == "send" and event["real"] == "PROMISE":
            epoch = event["fields"]["epoch"]
            before = granted.setdefault(text_of(epoch), (event["to"], event["i"]))
            if before[0] != event["to"]:
                return Broken(
                    event["i"],
                    f"{site} granted epoch {text_of(epoch)} to {event['to']}, which {before[0]} has as well",
                    f"{site} 把 epoch {text_of(epoch)} 发给了 {event['to']}，而 {before[0]} 也持有同一个 epoch",
                    (before[1],),
                )
            newest[site] = max(newest.get(site, epoch), epoch)
        elif event["k"] == "write" and event["what"] == "accepted:1":
            epoch = event["value"][0]
            if epoch < newest.get(site, epoch):
                return Broken(
                    event["i"],
                    f"{site} accepted epoch {text_of(epoch)}, after it had granted {text_of(newest[site])}",
                    f"{site} 已经发放了 {text_of(newest[site])}，却又接受了 {text_of(epoch)}",
                )
    return None


CHECKS = (
    Check("V1", "once a value is determined, it never changes", "取值一旦确定，就不再改变", _value_changed),
    Check(
        "V2",
        "one proposer at a time has the right: the holder of the lock, or the newest epoch",
        "同一时刻只有一个提议者拥有访问权：持锁者，或最新的 epoch",
        _two_hold_it,
    ),
)
