"""Multi-Paxos's messages on the quorum port: those that all protocols share, under its names, and three of its own."""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from recipes.core.jute.frames import frame
from recipes.core.replicas import wire as w
from recipes.core.replicas.wire import Dialect
from recipes.core.replication import Entry

PROMISE: Final = 13
LEARN: Final = 14
REPORT: Final = 15

_PROMISE: Final = Struct(">Bqqqq")
_LEARN: Final = Struct(">Bqq")
_REPORT: Final = Struct(">Bqq?i")


class Promise(NamedTuple):
    """Behind the HELLO of an acceptor that has promised `ballot`: all before it are void.

    accepted: the ballot in which it has accepted its log. last_zxid: where that log ends. chosen_zxid: up to there it
    knows that everything is chosen.
    """

    ballot: int
    accepted: int
    last_zxid: int
    chosen_zxid: int


class Learn(NamedTuple):
    """The proposer asks for what this acceptor has accepted behind `zxid`, or behind the last entry before that."""

    ballot: int
    zxid: int


class Report(NamedTuple):
    """The answer, in as many parts as it takes. more: another one follows."""

    ballot: int
    prev_zxid: int
    more: bool
    entries: list[Entry]


def encode_promise(ballot: int, accepted: int, last_zxid: int, chosen_zxid: int) -> bytes:
    """A PROMISE in its frame."""
    return frame(_PROMISE.pack(PROMISE, ballot, accepted, last_zxid, chosen_zxid))


def encode_learn(ballot: int, zxid: int) -> bytes:
    """A LEARN in its frame."""
    return frame(_LEARN.pack(LEARN, ballot, zxid))


def encode_report(ballot: int, prev_zxid: int, more: bool, entries: Sequence[Entry]) -> bytes:
    """A REPORT in its frame."""
    return frame(_REPORT.pack(REPORT, ballot, prev_zxid, more, len(entries)) + w.write_entries(entries))


def _read_promise(payload: bytes) -> Promise:
    return Promise(*_PROMISE.unpack_from(payload)[1:])


def _read_learn(payload: bytes) -> Learn:
    return Learn(*_LEARN.unpack_from(payload)[1:])


def _read_report(payload: bytes) -> Report:
    _, ballot, prev_zxid, more, count = _REPORT.unpack_from(payload)
    return Report(ballot, prev_zxid, more, w.read_entries(payload, _REPORT.size, count))


NAMES: Final = w.NAMES | {
    w.APPEND: "ACCEPT", w.APPENDED: "ACCEPTED", PROMISE: "PROMISE", LEARN: "LEARN", REPORT: "REPORT",
}  # fmt: skip
PAXOS_MESSAGES: Final = Dialect(
    "multi-paxos",
    b"recipes/paxo",
    NAMES,
    {Promise: (PROMISE, _read_promise), Learn: (LEARN, _read_learn), Report: (REPORT, _read_report)},
    first=(w.HELLO, w.REFUSED, LEARN),  # before the HELLO of a proposer, which says where its log ends
)
