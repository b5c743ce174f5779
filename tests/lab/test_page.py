"""The page of a trace: one file that loads nothing, in which nothing of a trace is markup."""

import json
import random
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from recipes.core.errors import BadArguments
from recipes.lab import page
from recipes.lab.jump_targets import jump_targets
from recipes.lab.page import content, document
from recipes.lab.trace import Trace, dumps, loads

MOST_LINES, MOST_LINES_OF_A_PART, MOST_BYTES = 1500, 250, 150_000
HOSTILE = (
    "</script><script>window.hit=1</script>", "<!--<script>", "]]>", "@data@", "@program@", "\\", '"', "\u2028",
    "\ud800", "<img src=x onerror=window.hit=1>", "'><svg onload=window.hit=1>", "javascript:window.hit=1",
    "__proto__", "\x00", "&lt;",
)  # fmt: skip


class Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag if tag != "script" else f"script {dict(attrs)['type']}")
        self.attributes += attrs
        self._in = self.tags[-1]

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._in] = self.texts.get(self._in, "") + data

    @property
    def data(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.texts["script application/json"])
        return found


def hashed(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_this_style_and_this_program_and_nothing_else(outcome):
    made = Parsed(document(content(outcome("px-restart-forgets").trace)))
    policies = [value for name, value in made.attributes if name == "content" and "default-src" in (value or "")]
    assert len(policies) == 1
    policy = (policies[0] or "").split("; ")
    program, style = made.texts["script module"], made.texts["style"]
    assert policy[:3] == ["default-src 'none'", f"script-src {hashed(program)}", f"style-src {hashed(style)}"]
    assert "unsafe" not in "".join(policy)
    assert not any(name.startswith("on") or name in ("style", "src", "href") for name, _ in made.attributes)
    assert len(program.splitlines()) <= MOST_LINES
    assert len(program) + len(style) <= MOST_BYTES
    assert "innerHTML" not in program
    assert "eval" not in program


def test_the_program_is_in_parts_that_can_be_read_and_none_is_left_out():
    directory = Path(page.__file__).parent / "static" / "page"
    parts = {file.stem: file.read_text() for file in directory.iterdir()}
    assert sorted(parts) == sorted(page.PROGRAM)
    names: dict[str, str] = {}
    for part in page.PROGRAM:
        text = parts[part]
        assert any(text in page.program(compared=compared) for compared in (False, True))
        assert text.startswith("// ") and len(text.splitlines()) <= MOST_LINES_OF_A_PART, part
        assert not re.search(r"^(import|export)\b", text, re.MULTILINE), f"{part}: all parts are one module"
        for name in re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", text, re.MULTILINE):
            assert names.setdefault(name, part) == part, f"{name} is in {names[name]} and in {part}"
    assert parts["begin"].rstrip().endswith("begin();")


def test_what_the_page_shows_is_the_trace(outcome):
    trace = outcome("px-restart-forgets").trace
    data = Parsed(document(content(trace))).data
    assert data["events"] == trace.events
    assert data["title"]["zh"].startswith("acceptor 重启后忘记承诺")  # type: ignore[index]
    assert {check["name"] for check in data["checks"] if check["event"] is not None} == {"P1", "P3", "P4", "P5", "P8"}  # type: ignore[attr-defined]
    assert len(data["said"]) == len(data["picture"]["x"]) == len(trace.events)  # type: ignore[arg-type, index]
    assert data["live"] is None


def test_a_hostile_trace_puts_nothing_into_the_page(outcome):
    plain = outcome("px-preempted-midway").trace
    tags = Parsed(document(content(plain))).tags
    for seed in range(40):
        trace = hostile(plain, random.Random(seed))
        try:
            shown = content(trace)
        except BadArguments:
            continue  # an event lacks what the picture needs
        page = Parsed(document(shown))
        assert page.tags == tags
        assert page.data["events"] == trace.events


def hostile(plain: Trace, chance: random.Random) -> Trace:
    """The trace with texts in place of some of its values, and of some names of fields."""

    def changed(value: object) -> object:
        if isinstance(value, dict):
            return {
                chance.choice(HOSTILE) if chance.random() < 0.02 else name: changed(each)
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [changed(each) for each in value]
        return chance.choice(HOSTILE) if isinstance(value, str) and chance.random() < 0.3 else value

    kept = ("i", "t", "n", "k", "id", "at", "number", "cause", "call")
    events = [
        {name: value if name in kept else changed(value) for name, value in event.items()} | {"extra": changed("x")}
        for event in plain.events
    ]
    header = {**plain.header, "scenario": "".join(HOSTILE), "mode": HOSTILE[0]}
    return replace(plain, header=header, events=events, end=None)


def test_values_that_no_page_can_count_are_refused(outcome):
    lines = dumps(outcome("px-null").trace).split("\n")
    number = next(number for number, line in enumerate(lines) if '"k":"send"' in line and "cause" in line)
    changes = [
        {"t": 2**60},
        {"t": -1},
        {"cause": number},
        {"cause": "x"},
        {"id": 0},
        {"bytes": "many"},
        {"t": float("nan")},
    ]
    for change in changes:
        event = json.dumps(json.loads(lines[number]) | change)
        with pytest.raises(BadArguments, match=f"line {number + 1}"):
            loads("\n".join([*lines[:number], event, *lines[number + 1 : -2], ""]))
    with pytest.raises(BadArguments, match="no JSON"):
        loads("\n".join([lines[0], "[" * 100_000, "", ""]))


def test_jump_targets_are_what_a_reader_jumps_to(outcome):
    found = outcome("mp-two-leaders")
    places = jump_targets(found.trace, [])
    events = found.trace.events
    assert [events[number]["k"] for number in places["message"]] == ["send"] * len(places["message"])
    assert places["fault"]
    assert {events[number]["n"] for number in places["election"]} >= {"s1", "s2"}
    assert places["commit"]
    assert set(places["election"] + places["fault"] + places["note"]) <= set(places["phase"])
    assert all(list_ == sorted(set(list_)) for list_ in places.values())


def test_a_page_has_the_last_line_of_its_trace_if_a_browser_would_write_the_same_lines(outcome):
    trace = outcome("zab-broadcast").trace
    shown = json.loads(json.dumps(content(trace)))
    assert loads(dumps(Trace(shown["header"], shown["events"], shown["end"]))) == trace
    for value in (1.0, 1 << 60, {"2": 0, "1": 0}, [[-0.0]]):
        changed = replace(trace, events=[trace.events[0] | {"more": value}, *trace.events[1:]])
        assert content(changed)["end"] is None
    assert content(replace(trace, end=None))["end"] is None
