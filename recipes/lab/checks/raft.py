"""Checks of Raft: what servers say, compared with disks and with what others have said."""

from typing import Any

from recipes.lab.checks.check import Broken, Check, text_of
from recipes.lab.checks.histories import Histories, epoch_of, text_of_zxid, zxid_of
from recipes.lab.checks.replicated import applied_differently, logs_do_not_match
from recipes.lab.trace import Event, Trace

_TERM, _VOTE = "acceptedEpoch", "raftVote"
_LEADERS = frozenset({"APPEND", "SNAPSHOT", "LEADS"})


def _two_leaders(trace: Trace) -> Broken | None:
    first: dict[int, tuple[str, int]] = {}
    for event in trace.events:
        if event["k"] == "send" and event["real"] in _LEADERS:
            term = event["fields"]["term"]
            who, when = first.setdefault(term, (event["n"], event["i"]))
            if who != event["n"]:
                return Broken(
                    event["i"],
                    f"{event['n']} leads term {term}, and so does {who}",
                    f"{event['n']} 和 {who} 同时领导任期 {term}",
                    (when,),
                )
    return None


def _vote(value: Any) -> tuple[int, int]:
    """The term and the candidate of a stored vote."""
    term, _, candidate = str(value or "0 -1").partition(" ")
    return int(term), int(candidate)


def _goes_back(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    before: dict[str, tuple[int, tuple[int, int]]] = {}
    granted: dict[tuple[str, int], tuple[str, int]] = {}
    # Names have the numbers of servers: those of real ones need not count from 1.
    numbers = {name: int(name[1:]) if name[1:].isdecimal() else at for at, name in enumerate(trace.sites, 1)}
    for event, stored in histories.moments():
        site = event["n"]
        if event["k"] == "start" or any(each.key in (_TERM, _VOTE) for each in stored):
            term, vote = histories.cell(site, _TERM) or 0, _vote(histories.cell(site, _VOTE))
            old_term, old_vote = before.get(site, (0, (0, -1)))
            changed = vote[0] == old_vote[0] and old_vote[1] > 0 and vote[1] not in (old_vote[1], -2)
            if term < old_term or vote[0] < old_vote[0] or changed:
                return Broken(
                    event["i"],
                    f"on the disk of {site} are term {term} and vote {vote}, and before {old_term} and {old_vote}",
                    f"{site} 的磁盘上是任期 {term} 和投票 {vote}，之前是 {old_term} 和 {old_vote}",
                )
            before[site] = term, vote
        elif event["k"] == "fault" and event.get("what") == "wipe":
            before.pop(site, None)
        if event["k"] != "send" or event["real"] not in ("GRANT", "ASK"):
            continue
        term = event["fields"]["term"]
        if term > (histories.cell(site, _TERM) or 0):
            return Broken(
                event["i"],
                f"{site} votes in term {term}, but on its disk is term {histories.cell(site, _TERM) or 0}",
                f"{site} 在任期 {term} 投票，但磁盘上的任期是 {histories.cell(site, _TERM) or 0}",
            )
        candidate = event["to"] if event["real"] == "GRANT" else site
        vote = _vote(histories.cell(site, _VOTE))
        if vote < (term, -1) or (
            vote[0] == term and vote[1] != numbers[candidate]
        ):  # a later one: this is an old message
            return Broken(
                event["i"],
                f"{site} votes for {candidate} in term {term}, but on its disk is the vote {vote}",
                f"{site} 在任期 {term} 投票给 {candidate}，但磁盘上的投票是 {vote}",
            )
        who, when = granted.setdefault((site, term), (candidate, event["i"]))
        if who != candidate:
            return Broken(
                event["i"],
                f"{site} votes for {candidate} in term {term}, and before for {who}",
                f"{site} 在任期 {term} 投票给 {candidate}，之前已投给 {who}",
                (when,),
            )
    return None


def _leader_cuts(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["k"] == "write" and event["what"].startswith("log:") and event.get("value") is None:
            state = histories.states.get(event["n"], {})
            led = _leads_again(trace, event)
            if state.get("stage") == "LEADING" or led:
                return Broken(
                    event["i"],
                    f"{event['n']} has led term {state.get('number')} and cuts "
                    f"{event['what'][4:]} of its own log by itself",
                    f"{event['n']} 领导过任期 {state.get('number')}，却自行截断日志 {event['what'][4:]}",
                )
    return None


def _leads_again(trace: Trace, cut: Event) -> bool:
    """Whether a server cuts its log without a leader that told it to."""
    for number in range(cut["i"] - 1, -1, -1):
        event = trace.events[number]
        if event["n"] != cut["n"]:
            continue
        if event["k"] == "deliver" and trace.events[event["id"]]["real"] in ("APPEND", "END"):
            return False
        if event["k"] == "start":
            return False
        if event["k"] == "send" and event["real"] == "APPEND":
            return True
    return False


def _leader_lacks(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    committed, told = 0, 0
    led: set[int] = set()
    for event, _ in histories.moments():
        if event["k"] != "send" or event["real"] not in _LEADERS:
            continue
        term = event["fields"]["term"]
        if term not in led:
            led.add(term)
            if epoch_of(committed) < term and not histories.log(event["n"]).has(committed):
                said = text_of_zxid(committed)
                return Broken(
                    event["i"],
                    f"{event['n']} leads term {term} without {said}, which is committed",
                    f"{event['n']} 领导任期 {term}，却没有已提交的 {said}",
                    (told,),
                )
        now = zxid_of(event["fields"].get("commit"))
        if now > committed:
            committed, told = now, event["i"]
    return None


def _counts_older(trace: Trace) -> Broken | None:
    committed = 0
    for event in trace.events:
        if event["k"] != "send" or event["real"] != "APPEND":
            continue
        now = zxid_of(event["fields"]["commit"])
        if now > committed:
            if epoch_of(now) != event["fields"]["term"] and not _is_known(trace, event, now):
                return Broken(
                    event["i"],
                    f"{event['n']} in term {event['fields']['term']} calls {text_of_zxid(now)} committed, which is of "
                    f"term {epoch_of(now)}",
                    f"{event['n']} 在任期 {event['fields']['term']} 提交了任期 {epoch_of(now)} 的 {text_of_zxid(now)}",
                )
            committed = now
    return None


def _is_known(trace: Trace, event: Event, zxid: int) -> bool:
    """Whether an earlier leader, or this one by an entry of its own term, has applied that far before."""
    return any(
        each["k"] == "state" and zxid_of(each.get("committed")) >= zxid and each["n"] != event["n"]
        for each in trace.events[: event["i"]]
    )


def _marks_out_of_order(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["k"] != "state":
            continue
        state = histories.states[event["n"]]
        marks = [zxid_of(state.get(name)) for name in ("applied", "committed", "last")]
        if min(marks) < 0:
            continue
        base = histories.log(event["n"]).base
        if not base <= max(marks[0], base) <= max(marks[1], base) <= max(marks[2], base):
            said = ", ".join(f"{name} {state[name]}" for name in ("applied", "committed", "last"))
            return Broken(event["i"], f"{event['n']} says: {said}", f"{event['n']} 的状态：{said}")
    return None


def _commit_falls(trace: Trace) -> Broken | None:
    last: dict[str, tuple[int, int]] = {}
    for event in trace.events:
        if event["k"] == "start":
            last.pop(event["n"], None)
        if event["k"] != "state" or "committed" not in event:
            continue
        now = zxid_of(event["committed"])
        before, when = last.get(event["n"], (now, event["i"]))
        if 0 <= now < before:
            return Broken(
                event["i"],
                f"the commit index of {event['n']} falls from {text_of_zxid(before)} to {text_of_zxid(now)}",
                f"{event['n']} 的提交位置从 {text_of_zxid(before)} 退回 {text_of_zxid(now)}",
                (when,),
            )
        last[event["n"]] = now, event["i"]
    return None


def _not_on_disks(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    committed = 0
    for event, _ in histories.moments():
        if event["k"] != "send":
            continue
        fields = event["fields"]
        if event["real"] == "APPENDED":
            zxid = zxid_of(fields["zxid"])
            if zxid > 0 and not histories.log(event["n"]).has(zxid):
                return Broken(
                    event["i"],
                    f"{event['n']} acknowledges {fields['zxid']}, but its disk ends at "
                    f"{text_of_zxid(histories.log(event['n']).last)}",
                    f"{event['n']} 确认了 {fields['zxid']}，但它的磁盘只到 "
                    f"{text_of_zxid(histories.log(event['n']).last)}",
                )
        elif event["real"] == "APPEND" and zxid_of(fields["commit"]) > committed:
            committed = zxid_of(fields["commit"])
            holders = histories.holders(committed)
            if len(holders) < histories.majority:
                return Broken(
                    event["i"],
                    f"{event['n']} calls {fields['commit']} committed, which only {text_of(holders)} have on disk",
                    f"{event['n']} 称 {fields['commit']} 已提交，但只有 {text_of(holders)} 的磁盘上有它",
                )
    return None


CHECKS = (
    Check("RF1", "a term has one leader", "一个任期只有一个 leader", _two_leaders),
    Check(
        "RF2",
        "neither term nor vote goes back on a disk, and no vote is told that the disk does not have",
        "任期和投票在磁盘上不会倒退，没有落盘的投票不会说出去",
        _goes_back,
    ),
    Check("RF3", "a leader never cuts its own log", "leader 从不截断自己的日志", _leader_cuts),
    Check(
        "RF4",
        "logs that have the same entry are the same up to it",
        "有同一条日志的两份日志，在它之前完全相同",
        logs_do_not_match,
    ),
    Check("RF5", "a new leader has everything that is committed", "新 leader 拥有全部已提交的日志", _leader_lacks),
    Check(
        "RF6",
        "no two servers apply different entries in one place, and none leaves one out",
        "同一位置上各节点应用同一条日志，且不遗漏",
        applied_differently,
    ),
    Check("RF7", "a leader counts only entries of its own term", "leader 只对自己任期的日志计数", _counts_older),
    Check(
        "RF8",
        "what is purged, applied, committed and in the log comes in this order",
        "快照、已应用、已提交、日志末尾依次不减",
        _marks_out_of_order,
    ),
    Check("RF9", "a commit index never falls", "提交位置从不后退", _commit_falls),
    Check(
        "RF10",
        "what a leader calls committed is on a majority's disks, and what a server acknowledges on its own",
        "leader 宣布提交的日志在多数派的磁盘上，节点确认的在它自己的磁盘上",
        _not_on_disks,
    ),
)
