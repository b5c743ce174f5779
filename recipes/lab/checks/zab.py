"""Checks of ZAB: epochs, acknowledgements and commits, compared with the disks; then those of all served protocols."""

from recipes.lab.checks.check import Broken, Check, text_of
from recipes.lab.checks.histories import Histories, epoch_of, text_of_zxid, zxid_of
from recipes.lab.checks.replicated import acknowledged_missing_in_leader as missing
from recipes.lab.checks.replicated import (
    applied_differently,
    client_misled,
    committed_cut,
    logs_do_not_match,
)
from recipes.lab.trace import Trace

_ACCEPTED, _CURRENT = "acceptedEpoch", "currentEpoch"


def _two_leaders(trace: Trace) -> Broken | None:
    first: dict[int, tuple[str, int]] = {}
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["k"] != "send" or event["real"] not in ("UPTODATE", "COMMIT", "PROPOSAL"):
            continue
        epoch = histories.cell(event["n"], _CURRENT) or 0
        if event["real"] != "UPTODATE" and epoch_of(zxid_of(event["fields"]["zxid"])) != epoch:
            continue
        who, when = first.setdefault(epoch, (event["n"], event["i"]))
        if who != event["n"]:
            return Broken(
                event["i"],
                f"{event['n']} leads epoch {epoch}, and so does {who}",
                f"{event['n']} 和 {who} 同时领导纪元 {epoch}",
                (when,),
            )
    return None


def _leader_lacks(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    committed, told = 0, 0
    led: set[int] = set()
    for event, _ in histories.moments():
        if event["k"] != "send":
            continue
        if event["real"] == "NEWLEADER":
            epoch = epoch_of(zxid_of(event["fields"]["zxid"]))
            if epoch not in led and epoch_of(committed) < epoch and not histories.log(event["n"]).has(committed):
                said = text_of_zxid(committed)
                return Broken(
                    event["i"],
                    f"{event['n']} begins epoch {epoch} without {said}, which is committed",
                    f"{event['n']} 开始纪元 {epoch}，却没有已提交的 {said}",
                    (told,),
                )
            led.add(epoch)
        elif event["real"] == "COMMIT" and event["role"] == "commit-notice":
            now = zxid_of(event["fields"]["zxid"])
            if now > committed:
                committed, told = now, event["i"]
    return None


def _not_on_own_disk(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["k"] != "send":
            continue
        site, fields = event["n"], event["fields"]
        log = histories.log(site)
        if event["real"] == "ACK":
            zxid = zxid_of(fields["zxid"])
            entered = zxid & 0xFFFFFFFF or (histories.cell(site, _CURRENT) or 0) >= epoch_of(zxid)
            if zxid > 0 and not (entered and (zxid & 0xFFFFFFFF == 0 or log.has(zxid))):
                return Broken(
                    event["i"],
                    f"{site} acknowledges {fields['zxid']}, but its disk ends at {text_of_zxid(log.last)}",
                    f"{site} 确认了 {fields['zxid']}，但它的磁盘只到 {text_of_zxid(log.last)}",
                )
        elif event["real"] == "NOTIFICATION" and fields.get("state") == "LOOKING" and fields["leader"] == site:
            zxid = zxid_of(fields["zxid"])
            if zxid > log.last:
                return Broken(
                    event["i"],
                    f"{site} stands for election with {fields['zxid']}, but its disk ends at {text_of_zxid(log.last)}",
                    f"{site} 以 {fields['zxid']} 参选，但它的磁盘只到 {text_of_zxid(log.last)}",
                )
    return None


def _epochs_fall(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    before: dict[str, tuple[int, int]] = {}
    for event, stored in histories.moments():
        site = event["n"]
        if event["k"] == "fault" and event.get("what") == "wipe":
            before.pop(site, None)
        if event["k"] == "send" and event["real"] == "ACKEPOCH":
            accepted = histories.cell(site, _ACCEPTED) or 0
            offered = _offered(trace, event["i"], site)
            if accepted < offered:
                return Broken(
                    event["i"],
                    f"{site} promises epoch {offered}, but on its disk is {accepted}",
                    f"{site} 承诺纪元 {offered}，但磁盘上是 {accepted}",
                )
        if event["k"] != "start" and not any(each.key in (_ACCEPTED, _CURRENT) for each in stored):
            continue
        accepted, current = (max(0, histories.cell(site, name) or 0) for name in (_ACCEPTED, _CURRENT))
        old = before.get(site, (0, 0))
        if accepted < old[0] or current < old[1] or current > accepted:
            return Broken(
                event["i"],
                f"on the disk of {site} are the epochs {accepted} and {current}, and before {old[0]} and {old[1]}",
                f"{site} 的磁盘上的纪元是 {accepted} 和 {current}，之前是 {old[0]} 和 {old[1]}",
            )
        before[site] = accepted, current
    return None


def _offered(trace: Trace, until: int, site: str) -> int:
    """The epoch that a server was last offered."""
    for event in reversed(trace.events[:until]):
        if event["n"] == site and event["k"] == "deliver" and trace.events[event["id"]]["real"] == "LEADERINFO":
            return epoch_of(zxid_of(trace.events[event["id"]]["fields"]["zxid"]))
    return 0


def _committed_too_early(trace: Trace) -> Broken | None:
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["k"] != "send" or event["real"] not in ("COMMIT", "INFORM") or event["role"] != "commit-notice":
            continue
        zxid = event["fields"]["zxid"]
        holders = histories.holders(zxid_of(zxid))
        if len(holders) < histories.majority:
            return Broken(
                event["i"],
                f"{event['n']} commits {zxid}, which only {text_of(holders)} have on disk",
                f"{event['n']} 提交 {zxid}，但只有 {text_of(holders)} 的磁盘上有它",
            )
    return None


CHECKS = (
    Check("Z1", "an epoch has one established leader", "一个纪元只有一个 leader", _two_leaders),
    Check("Z2", "a zxid is one txn, behind one other", "一个 zxid 只对应一个事务，且前一条相同", logs_do_not_match),
    Check("Z5", "txns are applied in one order, without a gap", "事务按同一顺序应用，没有遗漏", applied_differently),
    Check("Z8", "a leader has every committed txn", "leader 拥有全部已提交的事务", _leader_lacks),
    Check(
        "Z9",
        "what a server acknowledges, or stands for election with, is on its disk",
        "节点确认的和参选所用的事务都在它的磁盘上",
        _not_on_own_disk,
    ),
    Check(
        "Z10",
        "epochs never fall on a disk, and no epoch is promised that the disk does not have",
        "磁盘上的纪元从不倒退，没有落盘的纪元不会被承诺",
        _epochs_fall,
    ),
    Check(
        "Z11", "what is committed is on the disks of a majority", "已提交的事务在多数派的磁盘上", _committed_too_early
    ),
    Check("A1", "an acknowledged write is in every later leader", "已确认的写入在之后的每个 leader 中", missing),
    Check(
        "A3",
        "an acknowledged write stays on the disks of a majority",
        "已确认的写入始终在多数派的磁盘上",
        committed_cut,
    ),
    Check(
        "A5",
        "each client sees its own order, each write once, and reads as of their version",
        "每个客户端按自己的顺序、每次写入只一次，读到的是对应版本的值",
        client_misled,
    ),
)
