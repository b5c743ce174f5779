"""The settings that each protocol takes in a scenario's [settings], and what each of them has."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from recipes.core.errors import BadArguments
from recipes.lab.grammar import Rule, is_number


def _number(lowest: int) -> Rule:
    return f"a whole number from {lowest} on", lambda value: is_number(value, int, lowest)


def _one_of(*words: str) -> Rule:
    return " or ".join(map(repr, words)), lambda value: isinstance(value, str) and value in words


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _by_site(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_MS: Rule = ("a whole number of ms, from 1 on", lambda value: is_number(value, int, 1))
_SWITCH: Rule = ("true or false", lambda value: isinstance(value, bool))
_SITE: Rule = ("the name of a site", _is_text)
_SITES: Rule = ("a list of sites", _list_of(_is_text))
_REFUSES: Rule = ("a table: for a site the keys that it refuses", _by_site(_list_of(_is_text)))
_LOGS: Rule = (
    "a table: for a site the epochs or terms of its entries",
    _by_site(_list_of(lambda value: is_number(value, int, 1))),
)
_COMMIT: Mapping[str, Rule] = {
    "decision": _one_of("coordinator", "replicated"), "vote_ms": _MS, "resend_ms": _MS, "ask_ms": _MS,
    "refuses": _REFUSES, "backoff_ms": _number(0), "give_up_ms": _MS, "retry": _SWITCH,
}  # fmt: skip
_ALONE: Mapping[str, Rule] = {"give_up_ms": _MS, "resend_ms": _MS}
_SERVED: Mapping[str, Rule] = {
    "tick_ms": _number(10), "init_limit": _number(1), "sync_limit": _number(1), "snap_count": _number(2),
    "session_ms": _MS, "logs": _LOGS, "stored": _number(0), "boot": _SWITCH, "late": ("a list of clients", _SITES[1]),
}  # fmt: skip
SETTINGS: Mapping[str, Mapping[str, Rule]] = {
    "copies": {"resend_ms": _MS, "order": _one_of("arrival", "sequence")},
    "primary-backup": {"resend_ms": _MS, "degrade_ms": _MS},
    "multi-paxos": {
        "lease_ms": _MS, "beat_ms": _number(0), "first_leader": _SITE, "notify": _one_of("next", "explicit"),
        "revote": _one_of("unconfirmed", "all"), "propose": _one_of("commands", "changes"),
    },
    "2pc": _COMMIT,
    "3pc": {**_COMMIT, "wait_ms": _MS},
    "paxos1": _ALONE,
    "paxos2": {**_ALONE, "epochs": _one_of("counter", "clock")},
    "paxos": {**_ALONE, "epochs": _one_of("counter", "clock"), "backoff_ms": _number(0), "retry": _SWITCH},
    "paxos_log": {**_ALONE, "backoff_ms": _number(0), "notify": _SWITCH},
    "raft": {**_SERVED, "pre_vote": _SWITCH, "check_quorum": _SWITCH, "back_off_by_term": _SWITCH},
    "zab": {**_SERVED, "votes": _one_of("answered", "silent"), "reordered": _SITES},
}  # fmt: skip
_NAME_SITES = frozenset({"first_leader", "logs", "refuses", "reordered"})


def check_settings(scenario: str, protocols: Iterable[str], settings: Mapping[str, Any], sites: Iterable[str]) -> None:
    """Raise BadArguments for a setting that none of these protocols has, or of another kind than it takes, or about a
    site that the run does not have."""
    known = {name: rule for protocol in protocols for name, rule in SETTINGS[protocol].items()}
    there = list(sites)
    for name, value in settings.items():
        if name not in known:
            raise _wrong(scenario, f"unknown setting {name!r}: expected one of {', '.join(sorted(known))}")
        wanted, fits = known[name]
        if not fits(value):
            raise _wrong(scenario, f"{name} = {value!r}: expected {wanted}")
        for site in ([value] if isinstance(value, str) else value) if name in _NAME_SITES else ():
            if site not in there:
                raise _wrong(scenario, f"{name}: no site is called {site!r}: expected one of {', '.join(there)}")


def _wrong(scenario: str, what: str) -> BadArguments:
    return BadArguments("", f"scenario {scenario}: settings: {what}")
