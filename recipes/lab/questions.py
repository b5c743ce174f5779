"""Questions of the kind "what happens next?" about a run. The answers are read from the trace: nobody writes them.

There are four kinds: how a call will be answered; who leads after a fault; what a site does with a message, where sites
do different things with messages of that kind; and which property breaks.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from recipes.lab.checks.check import Broken
from recipes.lab.checks.registry import CHECKS
from recipes.lab.expectations import follow_state
from recipes.lab.figures import HEARTBEATS, start_of
from recipes.lab.timeline import LEADING
from recipes.lab.trace import Event, Trace
from recipes.lab.transcript import brief

MOST_CHOICES = 5
_MOST = {"call": 6, "leader": 3, "message": 6}
_HITS_LEADER = frozenset({"crash", "power", "pause"})

Text = Mapping[str, str]  # by language


class Question(NamedTuple):
    """A question. event: it is asked after this one. answer: which of the choices is right. shown_at: the event that
    shows it."""

    kind: str
    event: int
    text: Text
    choices: tuple[Text, ...]
    answer: int
    shown_at: int

    def plain(self) -> dict[str, Any]:
        """The question as an object."""
        return {**self._asdict(), "text": dict(self.text), "choices": [dict(each) for each in self.choices]}


def questions(trace: Trace, found: Mapping[str, Broken | None]) -> list[Question]:
    """The questions about a run, by event. found: what the checks say of it."""
    asked = [*_of_calls(trace), *_of_leaders(trace), *_of_messages(trace), *_of_checks(trace, found)]
    return sorted(asked, key=lambda each: each.event)


def _of_calls(trace: Trace) -> Iterator[Question]:
    start = start_of(trace)
    calls = [event for event in trace.events[start:] if event["k"] == "call"]
    replies = {event["call"]: event for event in trace.events if event["k"] == "reply"}
    seen = {_answer(replies[call["call"]]): None for call in calls if call["call"] in replies}
    usual = [_Answer("fail", ""), _Answer("unknown", "")]
    for call in calls[: _MOST["call"]]:
        reply = replies.get(call["call"])
        if reply is None:
            continue
        right = _answer(reply)
        others = [each for each in (*seen, *usual) if each != right and (each.value or each.outcome != right.outcome)]
        text = {
            "en": f"{call['n']} is asked for {brief(call['op'])}. How is that answered?",
            "zh": f"{call['n']} 收到请求 {brief(call['op'])}。会得到怎样的回答？",
        }
        yield _question("call", call["i"], text, [right.text(), *(each.text() for each in others)], reply["i"])


class _Answer(NamedTuple):
    outcome: str
    value: str

    def text(self) -> Text:
        en = {"ok": "ok", "fail": "an error", "unknown": "nothing is known: no answer in time"}
        zh = {"ok": "成功", "fail": "失败", "unknown": "结果未知：没有及时得到回答"}
        more = f", {self.value}" if self.value and self.outcome != "unknown" else ""
        return {"en": en.get(self.outcome, self.outcome) + more, "zh": zh.get(self.outcome, self.outcome) + more}


def _answer(reply: Event) -> _Answer:
    outcome = str(reply["outcome"])
    return _Answer(outcome, "" if outcome == "unknown" else brief(reply.get("value")))


def _of_leaders(trace: Trace) -> Iterator[Question]:
    """After a fault that hits the site that leads."""
    states: dict[str, dict[str, object]] = {}
    asked: list[tuple[Event, str]] = []
    start = start_of(trace)
    for event in trace.events:
        leads = states.get(event["n"], {}).get("role") in LEADING
        if leads and event["k"] in _HITS_LEADER and event["i"] >= start:
            asked.append((event, event["n"]))
        follow_state(states, event)
    for fault, leader in asked[: _MOST["leader"]]:
        later = trace.events[fault["i"] + 1 :]
        next_one = next((each for each in later if each["k"] == "state" and each.get("role") in LEADING), None)
        who = {"crash": ("crashes", "宕机"), "power": ("loses power", "断电"), "pause": ("stands still", "停顿")}
        en, zh = who[fault["k"]]
        text = {
            "en": f"{leader}, which leads, {en}. Which server leads next?",
            "zh": f"正在领导的 {leader} {zh}。下一个 leader 是谁？",
        }
        nobody = {"en": "nobody, until the run ends", "zh": "直到运行结束都没有"}
        alike = [name for name, kind in trace.sites.items() if kind == trace.sites[leader]]
        right = nobody if next_one is None else {"en": next_one["n"], "zh": next_one["n"]}
        others = [each for each in (*({"en": name, "zh": name} for name in alike), nobody) if each != right]
        shown_at = trace.events[-1]["i"] if next_one is None else next_one["i"]
        yield _question("leader", fault["i"], text, [right, *others], shown_at)


def _of_messages(trace: Trace) -> Iterator[Question]:
    """Where sites do different things with messages of one kind: the rarest first."""
    caused: dict[int, list[Event]] = {}
    for event in trace.events:
        if "cause" in event:
            caused.setdefault(event["cause"], []).append(event)
    groups: dict[tuple[str, str], dict[tuple[str, ...], list[Event]]] = {}
    for event in trace.events[start_of(trace) :]:
        if event["k"] == "deliver":
            sent = trace.events[event["id"]]
            if sent["role"] not in HEARTBEATS:
                group = groups.setdefault((trace.sites.get(event["n"], ""), sent["real"]), {})
                group.setdefault(_done(caused.get(event["i"], [])), []).append(event)
    found = [
        (len(events), events[0], done, group)
        for group in groups.values()
        if len(group) > 1
        for done, events in group.items()
    ]
    found.sort(key=lambda each: (each[0], each[1]["i"]))
    for _, event, done, group in found[: _MOST["message"]]:
        sent = trace.events[event["id"]]
        message = f"{sent['real']} {_fields(sent)}".strip()
        text = {
            "en": f"{event['n']} gets {message} from {sent['n']}. What does it do?",
            "zh": f"{event['n']} 收到 {sent['n']} 的 {message}。它会做什么？",
        }
        choices = [_done_text(done), *(_done_text(other) for other in group if other != done)]
        shown_at = max((each["i"] for each in caused.get(event["i"], [])), default=event["i"])
        yield _question("message", event["i"], text, choices, shown_at)


def _done(events: Iterable[Event]) -> tuple[str, ...]:
    """What an event has led to, without the values."""
    found: set[str] = set()
    for event in events:
        if event["k"] == "send" and event["role"] not in HEARTBEATS:
            found.add(f"send {event['real']}")
        elif event["k"] == "write":
            found.add(f"write {event['what'].partition(':')[0]}")
        elif event["k"] == "reply":
            found.add(f"reply {event['outcome']}")
    return tuple(sorted(found))


def _done_text(done: tuple[str, ...]) -> Text:
    if not done:
        return {"en": "it sends and writes nothing", "zh": "不发送，也不写入"}
    en = {"send": "sends", "write": "writes", "reply": "answers its client:"}
    zh = {"send": "发送", "write": "写入", "reply": "回答客户端："}
    words = [each.partition(" ") for each in done]
    return {
        "en": ", ".join(f"{en[verb]} {what}" for verb, _, what in words),
        "zh": "，".join(f"{zh[verb]} {what}" for verb, _, what in words),
    }


def _fields(sent: Event) -> str:
    shown = [f"{name}={brief(value)[:40]}" for name, value in sent["fields"].items() if value is not None]
    return " ".join(shown[:3])


def _of_checks(trace: Trace, found: Mapping[str, Broken | None]) -> Iterator[Question]:
    """Which property breaks first, asked at the last fault before; of a run in which none does, if it has a fault."""
    broken = [(each.event, name) for name, each in found.items() if each is not None]
    first, name = min(broken, default=(len(trace.events), ""))
    faults = [each["i"] for each in trace.events[start_of(trace) : first] if each["k"] in (*_HITS_LEADER, "fault")]
    if not (trace.events and (broken or faults)):
        return
    all_hold = {"en": "none: all hold", "zh": "没有：全部成立"}
    right = _property(name) if broken else all_hold
    others = [*([all_hold] if broken else []), *(_property(each) for each in found if found[each] is None)]
    text = {"en": "Which of these breaks first in this run?", "zh": "这次运行中，以下哪一项最先被破坏？"}
    asked_at = faults[-1] if faults else max(first - 1, 0)
    yield _question("check", asked_at, text, [right, *others], min(first, len(trace.events) - 1))


def _property(name: str) -> Text:
    check = CHECKS[name]
    return {"en": f"{name}: {check.says}", "zh": f"{name}：{check.says_zh}"}


def _question(kind: str, event: int, text: Text, choices: list[Text], shown_at: int) -> Question:
    """A question with a few choices, of which the first one is right; they are put in order, to tell nothing."""
    right = choices[0]
    different = {each["en"]: each for each in choices}
    few = [different[each] for each in list(different)[:MOST_CHOICES]]
    few.sort(key=lambda each: each["en"])
    return Question(kind, event, text, tuple(few), [each["en"] for each in few].index(right["en"]), shown_at)
