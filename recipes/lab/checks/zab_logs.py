"""Checks of ZAB: what a log takes in, gives up, gets as a snapshot, and has after a restart.

Each has the number of the property in the simulator that checks the servers while they run. What these call Z3 is part
of Z2 here, and Z13 is A2.
"""

from collections.abc import Iterable
from typing import Any

from recipes.core.zxid import counter_of, follows
from recipes.lab.checks.check import Broken, Check, Disks, text_of
from recipes.lab.checks.histories import Histories, Log, text_of_zxid, zxid_of
from recipes.lab.trace import Trace

_ENTRY = "log:"


def _entries(keys: Iterable[str]) -> list[int]:
    """The zxids among the keys of a disk, in order."""
    return sorted(zxid_of(key.removeprefix(_ENTRY)) for key in keys if key.startswith(_ENTRY))


def _snapshot_of_nothing(trace: Trace) -> Broken | None:
    """Z4. A zxid with counter 0 names the state with which an epoch begins: it has no entry."""
    made: set[int] = set()
    for event in trace.events:
        if event["k"] == "start":
            made.update((*_entries(event["stored"]), zxid_of(event["stored"].get("base"))))
        elif event["k"] == "write" and event["what"].startswith(_ENTRY):
            made.update(_entries([event["what"]]))
        elif event["k"] == "write" and event["what"] == "base":
            zxid = zxid_of(event["value"])
            if counter_of(zxid) and zxid not in made:
                return Broken(
                    event["i"],
                    f"{event['n']} takes a snapshot of {event['value']}, a txn that nobody has made",
                    f"{event['n']} 接收了 {event['value']} 的快照，而这个事务并不存在",
                )
    return None


def _logged_with_a_gap(trace: Trace) -> Broken | None:
    """Z6. Looks at what is written, durable or not."""
    logs: dict[str, Log] = {}
    for event in trace.events:
        if event["k"] == "start":
            log = logs[event["n"]] = Log()
            for key, value in event["stored"].items():
                if key == "base" or key.startswith(_ENTRY):
                    log.put(key, value)
        elif event["k"] == "write" and event["what"].startswith(_ENTRY) and event["value"] is not None:
            log, zxid = logs.setdefault(event["n"], Log()), zxid_of(event["what"].removeprefix(_ENTRY))
            if log.entries.get(zxid) == event["value"]:
                continue  # it is tried again: the disk had no room
            if not follows(log.last, zxid):
                said = text_of_zxid(log.last)
                return Broken(
                    event["i"],
                    f"{event['n']} logs {text_of_zxid(zxid)} behind {said}, which it does not follow",
                    f"{event['n']} 在 {said} 之后写入 {text_of_zxid(zxid)}，两者并不相接",
                )
            log.put(event["what"], event["value"])
        elif event["k"] == "write" and (event["what"] == "base" or event["what"].startswith(_ENTRY)):
            logs.setdefault(event["n"], Log()).put(event["what"], event["value"])
    return None


def _snapshot_too_short(trace: Trace) -> Broken | None:
    """Z7. An epoch starts from the log that its leader has on disk when it first sends NEWLEADER."""
    initial: dict[tuple[str, int], tuple[int, int]] = {}
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["k"] != "send" or event["real"] not in ("NEWLEADER", "SNAP"):
            continue
        site = event["n"]
        epoch = histories.cell(site, "currentEpoch") or 0
        last, since = initial.setdefault((site, epoch), (histories.log(site).last, event["i"]))
        zxid = zxid_of(event["fields"]["zxid"])
        if event["real"] == "SNAP" and zxid < last:
            said = text_of_zxid(last)
            return Broken(
                event["i"],
                f"{site} sends a snapshot of {event['fields']['zxid']}, though its epoch {epoch} starts from {said}",
                f"{site} 发送了 {event['fields']['zxid']} 的快照，而纪元 {epoch} 从 {said} 开始",
                (since,) if since < event["i"] else (),
            )
    return None


def _committed_taken_back(trace: Trace) -> Broken | None:
    """Z12. Committed is what a COMMIT has named, and what the log of its sender has before that."""
    told: dict[int, int] = {}  # when each zxid was committed
    newest = 0
    histories = Histories(trace)
    for event, stored in histories.moments():
        if event["k"] == "send" and event["real"] == "COMMIT" and event["role"] == "commit-notice":
            zxid = zxid_of(event["fields"]["zxid"])
            told |= {each: event["i"] for each in histories.log(event["n"]).between(newest, zxid)}
            newest = max(newest, zxid)
        if event["k"] == "start":
            continue  # what a new disk does not have was not taken back
        for site, key, value in stored:
            zxid = zxid_of(key.removeprefix(_ENTRY)) if key.startswith(_ENTRY) else -1
            if value is None and zxid in told:
                holders = histories.holders(zxid)
                if len(holders) < histories.majority:
                    said = text_of_zxid(zxid)
                    return Broken(
                        event["i"],
                        f"{site} takes back {said}, which was committed, and now only {text_of(holders)} have it "
                        "on disk",
                        f"{site} 撤回了已提交的 {said}，现在只有 {text_of(holders)} 的磁盘上有它",
                        (told[zxid],),
                    )
    return None


def _log_comes_back_otherwise(trace: Trace) -> Broken | None:
    """Z14. What was written without a sync may be there or not, and so may what was to be deleted."""
    disks = Disks()
    written: dict[str, dict[str, list[Any]]] = {}  # by site and key: all that was written since the last start
    for event in trace.events:
        site = event["n"]
        if event["k"] == "fault" and event.get("what") == "wipe":
            disks.durable.pop(site, None)
            written.pop(site, None)
        elif event["k"] == "write":
            written.setdefault(site, {}).setdefault(event["what"], []).append(event.get("value"))
        elif event["k"] == "start" and site in disks.durable:
            before, since, now = disks.of(site), written.pop(site, {}), event["stored"]
            base = zxid_of(now.get("base"))
            keys = [key for key in {**before, **now} if key.startswith(_ENTRY)]
            for zxid in _entries(keys):
                key = f"{_ENTRY}{text_of_zxid(zxid)}"
                held, found, said = before.get(key), now.get(key), text_of_zxid(zxid)
                if held != found and found not in since.get(key, ()) and not (found is None and zxid <= base):
                    return Broken(
                        event["i"],
                        f"{site} comes back with {text_of(found)} at {said}, where its disk had {text_of(held)}",
                        f"{site} 重启后在 {said} 处是 {text_of(found)}，而磁盘上原本是 {text_of(held)}",
                    )
        disks.follow(event)
    return None


CHECKS = (
    Check("Z4", "a snapshot is of a txn that was made", "快照对应的事务确实存在", _snapshot_of_nothing),
    Check(
        "Z6", "txns are logged without a gap, and epochs ascend", "日志没有缺口，纪元递增", _logged_with_a_gap
    ),
    Check(
        "Z7",
        "a snapshot that a leader sends has all of the history that its epoch starts from",
        "leader 发送的快照包含本纪元起点之前的全部历史",
        _snapshot_too_short,
    ),
    Check(
        "Z12",
        "what is committed and taken back by one server stays on the disks of a majority",
        "已提交的事务即使被某个节点撤回，仍在多数派的磁盘上",
        _committed_taken_back,
    ),
    Check(
        "Z14",
        "a log comes back as it was made durable",
        "日志重启后与落盘时一致",
        _log_comes_back_otherwise,
    ),
)  # fmt: skip
