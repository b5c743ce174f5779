"""Scenarios: what happens to which protocol, and what is expected. Each is a TOML file; those of this package are in
`scenarios/`, and the file's name is the scenario's id.

All that can be wrong in a file is refused here, in one sentence.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

from recipes.core.errors import BadArguments
from recipes.lab.grammar import is_range, problem_of_expected, problem_of_tables
from recipes.lab.links import Direction
from recipes.lab.steps import MESSAGE_KEYS, OF_MESSAGE, Step, problem_of

LANGUAGES = ("en", "zh")
SECTIONS = {
    "con": {"en": "Consistency", "zh": "一致性"},
    "pb": {"en": "Primary-backup", "zh": "主从同步"},
    "2pc": {"en": "Two-phase commit", "zh": "两阶段提交"},
    "3pc": {"en": "Three-phase commit", "zh": "三阶段提交"},
    "txn": {"en": "A replicated decision", "zh": "复制的决议"},
    "p1": {"en": "Paxos, first step: a lock", "zh": "Paxos 方案一：互斥锁"},
    "p2": {"en": "Paxos, second step: epochs", "zh": "Paxos 方案二：抢占式访问权"},
    "px": {"en": "Paxos", "zh": "Paxos"},
    "mp": {"en": "Multi-Paxos", "zh": "Multi-Paxos"},
    "raft": {"en": "Raft", "zh": "Raft"},
    "zab": {"en": "ZAB", "zh": "ZAB"},
    "zk": {"en": "ZooKeeper", "zh": "ZooKeeper"},
    "rec": {"en": "Recipes", "zh": "应用场景"},
    "cmp": {"en": "Side by side", "zh": "并排比较"},
}


@dataclass(frozen=True)
class Scenario:
    """A scenario, checked.

    protocols: it runs on each of these; the first one if nothing is said. breaks: the checks that are expected to find
    something; all others must hold. plant: a planted bug that belongs to the story. told: for each paragraph of the
    story the event it tells of, as in an expectation; empty if it is told as a whole. sites: how many there are of a
    kind. delay_us, sync_us: the shortest and the longest delay of a message, and duration of a sync. loss: probability.
    limit_ms: when a run is stopped. linger_ms: how long it goes on after the last step and answer. call_timeout_ms:
    when a client gives up.
    """

    id: str
    section: str
    protocols: tuple[str, ...]
    title: Mapping[str, str]
    story: Mapping[str, str]
    told: tuple[Mapping[str, Any], ...] = ()
    seed: int = 1
    sites: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    expects: tuple[Mapping[str, Any], ...] = ()
    breaks: tuple[str, ...] = ()
    plant: str | None = None
    delay_us: tuple[int, int] = (500, 1500)
    delays_us: Mapping[Direction, tuple[int, int]] = field(default_factory=dict)
    loss: float = 0.0
    sync_us: tuple[int, int] = (200, 400)
    syncs_us: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    clocks_ms: Mapping[str, int] = field(default_factory=dict)
    limit_ms: int = 5000
    linger_ms: int = 20
    call_timeout_ms: int = 1000

    def sync_us_of(self, site: str) -> tuple[int, int]:
        """How long a sync takes at this site."""
        return self.syncs_us.get(site, self.sync_us)


def names() -> list[str]:
    """The ids of all scenarios of this package, sorted by section."""
    found = [each.name.removesuffix(".toml") for each in _directory().iterdir() if each.name.endswith(".toml")]
    order = list(SECTIONS)
    return sorted(found, key=lambda name: (order.index(section_of(name)), name))


def load(name: str) -> Scenario:
    """The scenario with this id. Raises BadArguments if there is none."""
    return parse(name, source(name))


def source(name: str) -> str:
    """The text of the scenario with this id. Raises BadArguments if there is none."""
    file = _directory() / f"{name}.toml"
    if "/" in name or not file.is_file():
        raise BadArguments(
            "", f"no scenario is called {name!r}: expected a name that `recipes lab list` prints, or a .toml file"
        )
    text: str = file.read_text(encoding="utf-8")
    return text


def load_all() -> Iterator[Scenario]:
    """All scenarios of this package."""
    for name in names():
        yield load(name)


def section_of(name: str) -> str:
    """The section of a scenario: what its id begins with."""
    section = name.partition("-")[0]
    return section if section in SECTIONS else "con"


def parse(name: str, text: str) -> Scenario:
    """Read a scenario. Raises BadArguments that says what is wrong where."""
    return of_document(name, read(f"scenario {name}", text))


def read(what: str, text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises BadArguments if it is none."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadArguments("", f"{what}: no TOML: {error}") from None


def of_document(name: str, document: dict[str, Any]) -> Scenario:
    """The scenario of such tables. Raises BadArguments that says what is wrong where."""
    if problem := problem_of_tables(document):
        raise _wrong(name, problem)
    if "inherits" in document:
        if document["inherits"] not in names():
            raise _wrong(name, f"inherits = {document['inherits']!r}: no scenario is called so")
        inherited = tomllib.loads(source(document["inherits"]))
        for each in ("expect", "breaks", "plant"):
            inherited.pop(each, None)
        if all(isinstance(each, dict) and "at_event" in each.get("when", {}) for each in document.get("do", [])):
            document["do"] = inherited.get("do", []) + document.get("do", [])  # beside those of the parent
        merged = {key: inherited.get(key, {}) | document.get(key, {}) for key in ("settings", "run", "sites")}
        document = inherited | document | merged
    for key in ("title", "story"):
        if not all(isinstance(document.get(key, {}).get(language), str) for language in LANGUAGES):
            raise _wrong(name, f"{key}: expected a text in en and in zh")
    protocols = document.get("protocols") or [document.get("protocol", "")]
    section = document.get("section", section_of(name))
    if section not in SECTIONS:
        raise _wrong(name, f"section = {section!r}: expected one of {', '.join(SECTIONS)}")
    net, disk = document.get("net", {}), document.get("disk", {})
    plain = Scenario(
        id=name,
        section=section,
        protocols=tuple(protocols),
        title=document["title"],
        story={language: document["story"][language] for language in LANGUAGES},
        told=_told(name, document["story"]),
        seed=document.get("seed", 1),
        sites=document.get("sites", {}),
        settings=document.get("settings", {}),
        steps=tuple(_step(name, number, each) for number, each in enumerate(document.get("do", []), 1)),
        expects=tuple(_expected(name, number, each) for number, each in enumerate(document.get("expect", []), 1)),
        breaks=tuple(document.get("breaks", [])),
        plant=document.get("plant"),
        delays_us={_direction(name, link): _range(name, link, each) for link, each in net.get("links", {}).items()},
        loss=net.get("loss", 0.0),
        syncs_us={site: _range(name, site, each) for site, each in disk.get("sites", {}).items()},
        clocks_ms=document.get("clocks_ms", {}),
        **document.get("run", {}),
    )
    if "delay_us" in net:
        plain = replace(plain, delay_us=_range(name, "delay_us", net["delay_us"]))
    return replace(plain, sync_us=_range(name, "sync_us", disk["sync_us"])) if "sync_us" in disk else plain


def check_sites(scenario: Scenario, known: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Raise BadArguments if a scenario names a site that the run does not have."""
    words = known.keys() | kinds.keys() | {"leader", "follower", "followers", "all"}
    named: list[Any] = [*scenario.syncs_us, *scenario.clocks_ms]
    for one, other in scenario.delays_us:
        named += [one, other]
    for step in scenario.steps:
        when = step.get("when", {})
        for each in (
            step.get("target"),
            step.get("from"),
            step.get("to"),
            when.get("from"),
            when.get("to"),
            when.get("site"),
        ):
            named += each if isinstance(each, list) else [each] if each is not None else []
    for each in scenario.expects:
        named += [each[key] for key in ("site",) if key in each] + each.get("sites", [])
    for site in named:
        if site not in words:
            raise _wrong(scenario.id, f"no site is called {site!r}: expected one of {', '.join(known)}")


def paragraphs(story: str) -> list[str]:
    """The paragraphs of a story: an empty line is between two of them."""
    return [each.strip() for each in story.strip().split("\n\n")]


def _told(name: str, story: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    events = story.get("at", [])
    if not isinstance(events, list) or not all(isinstance(each, dict) and each for each in events):
        raise _wrong(name, f"story: at = {events!r}: expected a list of events, each a table")
    for language in LANGUAGES:
        count = len(paragraphs(story[language]))
        if events and len(events) != count:
            raise _wrong(name, f"story: at has {len(events)} events, the story in {language} has {count} paragraphs")
    return tuple(events)


def _step(name: str, number: int, step: Any) -> Step:
    if problem := problem_of(step):
        raise _wrong(name, f"step {number}: {problem}")
    when = dict(step.get("when", {}))
    if when.keys() & (MESSAGE_KEYS - {"nth"}):
        when.setdefault("at", "sent" if step["then"] in OF_MESSAGE else "handled")
    return {**step, "when": when} if when else {key: value for key, value in step.items() if key != "when"}


def _expected(name: str, number: int, expected: Any) -> Mapping[str, Any]:
    if problem := problem_of_expected(expected):
        raise _wrong(name, f"expect {number}: {problem}")
    found: Mapping[str, Any] = expected
    return found


def _range(name: str, what: str, value: Any) -> tuple[int, int]:
    if not is_range(value):
        raise _wrong(name, f"{what} = {value!r}: expected a number of µs, or the lowest and the highest")
    low, high = value if isinstance(value, list) else (value, value)
    return (low, high)


def _direction(name: str, link: str) -> Direction:
    one, arrow, other = link.partition(">")
    if not (one and arrow and other):
        raise _wrong(name, f'link {link!r}: expected two sites, such as "s1>s2"')
    return (one, other)


def _wrong(name: str, what: str) -> BadArguments:
    return BadArguments("", f"scenario {name}: {what}")


def _directory() -> Any:
    return files("recipes.lab") / "scenarios"
