"""Checks of atomic commit, by the records on the participants' disks."""

from typing import Any

from recipes.lab.checks.check import Broken, Check, Disks, text_of
from recipes.lab.trace import Trace

_DECIDED = ("committed", "aborted")
_GRACE_MS = 2000
_IN_WORDS_ZH = {"committed": "提交", "aborted": "回滚"}


def _decisions(trace: Trace) -> list[tuple[int, str, str, str]]:
    """Each decision that became durable at a participant: event, site, transaction, stage."""
    disks = Disks()
    participants = trace.of_kind("participant")
    found = []
    for event in trace.events:
        for site, key, value in disks.follow(event):
            what, _, txn = key.partition(":")
            if what == "txn" and value is not None and value["stage"] in _DECIDED and site in participants:
                found.append((event["i"], site, txn, value["stage"]))
    return found


def _decided_differently(trace: Trace) -> Broken | None:
    first: dict[str, tuple[int, str, str]] = {}
    for event, site, txn, stage in _decisions(trace):
        when, where, before = first.setdefault(txn, (event, site, stage))
        if before != stage and where != site:
            return Broken(
                event,
                f"transaction {txn} is {stage} at {site}, and {before} at {where}",
                f"事务 {txn} 在 {site} 已{_IN_WORDS_ZH[stage]}，在 {where} 却已{_IN_WORDS_ZH[before]}",
                (when,),
            )
    return None


def _committed_without_votes(trace: Trace) -> Broken | None:
    voters: dict[str, set[str]] = {}
    at = {event: (site, txn) for event, site, txn, stage in _decisions(trace) if stage == "committed"}
    for event in trace.events:
        if event["k"] == "send" and event["real"] == "YES":
            voters.setdefault(str(event["fields"]["txn"]), set()).add(event["n"])
        elif event["i"] in at:
            site, txn = at[event["i"]]
            missing = [each for each in trace.of_kind("participant") if each not in voters.get(txn, set())]
            if missing:
                return Broken(
                    event["i"],
                    f"{site} has committed transaction {txn}, for which {missing[0]} has never voted yes",
                    f"{site} 提交了事务 {txn}，而 {missing[0]} 从未投过同意票",
                )
    return None


def _decision_changed(trace: Trace) -> Broken | None:
    disks = Disks()
    first: dict[tuple[str, str], tuple[int, Any]] = {}
    for event in trace.events:
        for site, key, value in disks.follow(event):
            what, _, txn = key.partition(":")
            decision = value["stage"] if what == "txn" and value else value if what == "decision" else None
            if decision in (*_DECIDED, "commit", "abort"):
                when, before = first.setdefault((site, key), (event["i"], decision))
                if before != decision:
                    return Broken(
                        event["i"],
                        f"{site} had {before} for transaction {txn}, and now has {decision}",
                        f"{site} 对事务 {txn} 的决定原来是 {before}，现在变成了 {decision}",
                        (when,),
                    )
    return None


def _lock_outside(trace: Trace) -> Broken | None:
    """Somebody reads what is locked, or a lock outlives its transaction."""
    open_: dict[tuple[str, str], list[str]] = {}
    reads: dict[int, tuple[str, str]] = {}
    for event in trace.events:
        site = event["n"]
        if event["k"] == "write" and event["what"].startswith("txn:"):
            record = event["value"]
            open_[site, event["what"][4:]] = [] if record["stage"] in _DECIDED else list(record["redo"])
        elif event["k"] == "start":
            for gone in [each for each in open_ if each[0] == site]:
                del open_[gone]
            for what, record in event["stored"].items():
                if what.startswith("txn:") and record["stage"] not in _DECIDED:
                    open_[site, what[4:]] = list(record["redo"])
        elif event["k"] == "call" and event["op"][0] == "read":
            reads[event["call"]] = (site, event["op"][1])
        elif event["k"] == "reply" and event["call"] in reads and event["outcome"] == "ok":
            where, key = reads[event["call"]]
            for (locked_at, txn), keys in open_.items():
                if locked_at == where and key in keys:
                    return Broken(
                        event["i"],
                        f"{where} has answered a read of {key}, which transaction {txn} has locked",
                        f"事务 {txn} 还锁着 {key}，{where} 却应答了对它的读取",
                    )
        elif event["k"] == "state" and event.get("locks"):
            for key, txn in event["locks"]:
                if key not in open_.get((site, str(txn)), []):
                    return Broken(
                        event["i"],
                        f"{site} keeps {key} locked for transaction {txn}, which is over",
                        f"事务 {txn} 已经结束，{site} 却还锁着 {key}",
                    )
    return None


def _undecided(trace: Trace) -> Broken | None:
    """With a replicated decision: two seconds and the time-outs after the last fault, nothing is in doubt."""
    if trace.settings.get("decision") != "replicated" or not trace.events:
        return None
    quiet_us, running = 0, {}
    disks = Disks()
    for event in trace.events:
        disks.follow(event)
        if event["k"] in ("crash", "power", "start", "pause", "resume", "fault", "heal"):
            quiet_us = event["t"]
        if event["k"] in ("start", "crash", "power"):
            running[event["n"]] = event["k"] == "start"
    waits_ms = max(trace.settings.get("ask_ms", 100), trace.settings.get("wait_ms", 120)) + _GRACE_MS
    last = trace.events[-1]
    acceptors = trace.of_kind("acceptor")
    if last["t"] - quiet_us < waits_ms * 1000 or sum(running.get(each, False) for each in acceptors) * 2 <= len(
        acceptors
    ):
        return None
    for site in trace.of_kind("participant"):
        for key, value in disks.of(site).items():
            if running.get(site) and key.startswith("txn:") and value["stage"] not in _DECIDED:
                return Broken(
                    last["i"],
                    f"{site} is still in doubt about transaction {key[4:]}: {text_of(value['stage'])}",
                    f"{site} 对事务 {key[4:]} 仍然没有结论：{text_of(value['stage'])}",
                )
    return None


CHECKS = (
    Check("T1", "no two participants decide differently", "参与者的决定互不矛盾", _decided_differently),
    Check("T2", "a commit has the yes of all participants", "全体同意才提交", _committed_without_votes),
    Check("T3", "a decision never changes", "决定一经作出就不再改变", _decision_changed),
    Check(
        "T4",
        "locks are held from the vote to the decision, and only then",
        "锁只在投票之后、决定之前持有",
        _lock_outside,
    ),
    Check(
        "T5",
        "with a replicated decision nothing is in doubt once the faults are over",
        "决议有副本时，故障恢复后没有悬而未决的事务",
        _undecided,
    ),
)
