"""Why each message was sent, and what its receiver did with it: read from the causes of events, written by nobody."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from recipes.lab.trace import Event, Trace
from recipes.lab.transcript import brief, spoken

Text = Mapping[str, str]  # by language
_MOST_CHARACTERS = 60  # of a value
_MOST_VALUES = 3  # that a site writes or shows
_LOST_ZH = {
    "cut": "链路被切断", "loss": "丢包", "down": "接收方已宕机", "dropped": "被丢弃",
    "the connection is gone": "连接已断开", "a newer one takes its place": "被更新的消息取代",
}  # fmt: skip


class Explained(NamedTuple):
    """One message. why: it was sent. outcome: how it ended."""

    why: Text
    outcome: Text


def explain(trace: Trace) -> dict[int, Explained]:
    """The explanation of each message, by the number of its `send`."""
    effects: dict[int, list[Event]] = {}
    ends: dict[int, list[Event]] = {}  # of each message: more than one if the network repeats it
    written: dict[tuple[str, int], Event] = {}  # by site and number: the last write with that number so far
    synced: dict[int, Event] = {}  # the last write of each sync
    begun: dict[str, Event] = {}  # the last start or end of a standstill of each site
    whys: dict[int, Text] = {}
    for event in trace.events:
        kind, cause = event["k"], event.get("cause")
        if cause is not None:
            effects.setdefault(cause, []).append(event)
        if kind == "write":
            written[event["n"], event["number"]] = event
        elif kind == "fsync" and (event["n"], event["number"]) in written:
            synced[event["i"]] = written[event["n"], event["number"]]
        elif kind in ("start", "resume"):
            begun[event["n"]] = event
        elif kind in ("deliver", "lost"):
            ends.setdefault(event["id"], []).append(event)
        elif kind == "send":
            reason = trace.events[cause] if cause is not None else begun.get(event["n"])
            if cause is None and reason is not None and reason["t"] != event["t"]:
                reason = None
            whys[event["i"]] = _why(trace, event, reason, synced)
    return {
        number: Explained(why, _outcomes(trace.events[number]["to"], ends.get(number, []), effects))
        for number, why in whys.items()
    }


def _why(trace: Trace, sent: Event, reason: Event | None, synced: Mapping[int, Event]) -> Text:
    site = sent["n"]
    en, zh = _reason(trace, sent["to"], reason, synced)
    return _text(f"{site} sends it {en}.", f"{site} {zh}发出。")


def _reason(trace: Trace, to: str, reason: Event | None, synced: Mapping[int, Event]) -> tuple[str, str]:
    if reason is None:
        return "by itself", "自行"
    kind = reason["k"]
    if kind == "call":
        asked = brief(reason["op"])
        return f"because a client asks for {asked}", f"因客户端请求 {asked} 而"
    if kind == "deliver":
        got = trace.events[reason["id"]]
        real, other = got["real"], got["n"]
        if other == to:
            return f"to answer {real} of {other}", f"为回应 {other} 的 {real} 而"
        return f"because {real} of {other} has come", f"因收到 {other} 的 {real} 而"
    if kind == "timer":
        return f"because its timer {reason['name']} has run out", f"因定时器 {reason['name']} 到期而"
    if kind == "fsync" and reason["i"] in synced:
        stored = _value(synced[reason["i"]])
        return f"now that {stored} is on its disk", f"在 {stored} 落盘后"
    if kind == "resume":
        return "as it goes on", "在恢复运行后"
    if kind == "start":
        return "as it starts", "在启动时"
    return f"because of event {reason['i']}", f"因事件 {reason['i']} 而"


def told(trace: Trace, lang: str) -> Iterator[str]:
    """The transcript, with two lines below each message that is sent."""
    explained = explain(trace)
    for event, line in spoken(trace):
        yield line
        if event["i"] in explained:
            for text in explained[event["i"]]:
                yield f"{'':21}{text[lang]}"


def _outcomes(site: str, ends: list[Event], effects: Mapping[int, list[Event]]) -> Text:
    first = _outcome(site, ends[0] if ends else None, effects)
    en, zh = [first["en"]], [first["zh"]]
    for again in ends[1:]:
        more = _outcome(site, again, effects)
        en.append(f"It comes again, at event {again['i']}: {more['en']}")
        zh.append(f"在事件 {again['i']} 它再次到来：{more['zh']}")
    return _text(" ".join(en), "".join(zh))


def _outcome(site: str, end: Event | None, effects: Mapping[int, list[Event]]) -> Text:
    if end is None:
        return _text("It is still on its way when the run ends.", "运行结束时它仍在途中。")
    if end["k"] == "lost":
        why = str(end["why"])
        return _text(f"It does not arrive: {why}.", f"未送达：{_LOST_ZH.get(why, why)}。")
    done = [event for event in effects.get(end["i"], ()) if event["n"] == site]
    en: list[str] = []
    zh: list[str] = []
    writes = [_value(event) for event in done if event["k"] == "write"]
    if writes:
        shown = _some(writes)
        en.append(f"writes {shown}")
        zh.append(f"写入 {shown}")
    for real, receivers in _sent(done).items():
        to = " ".join(receivers)
        en.append(f"sends {real} to {to}")
        zh.append(f"向 {to} 发送 {real}")
    for event in done:
        if event["k"] == "reply":
            said = f"{event['outcome']} {_short(event.get('value'))}"
            en.append(f"answers call {event['call']}: {said}")
            zh.append(f"回复调用 {event['call']}：{said}")
    states = [event for event in done if event["k"] == "state"]
    if states:
        last = {name: value for event in states for name, value in event.items() if name not in _FRAME}
        shown = _some([f"{name} = {_short(value)}" for name, value in last.items()])
        en.append(f"shows {shown}")
        zh.append(f"状态变为 {shown}")
    if not en:
        return _text(f"{site} takes it and does nothing at once.", f"{site} 收到后没有立即动作。")
    return _text(f"{site} {', '.join(en)}.", f"{site} {'，'.join(zh)}。")


_FRAME = frozenset({"i", "t", "n", "k", "cause"})


def _sent(done: list[Event]) -> dict[str, list[str]]:
    """What a site has sent, and to whom."""
    sent: dict[str, list[str]] = {}
    for event in done:
        if event["k"] == "send":
            receivers = sent.setdefault(str(event["real"]), [])
            receivers += [event["to"]] if event["to"] not in receivers else []
    return sent


def _value(write: Event) -> str:
    return f"{write['what']} = {_short(write.get('value'))}"


def _some(values: list[str]) -> str:
    return ", ".join(values[:_MOST_VALUES]) + (", ..." if len(values) > _MOST_VALUES else "")


def _short(value: Any) -> str:
    text = brief(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _text(en: str, zh: str) -> Text:
    return {"en": en, "zh": zh}
