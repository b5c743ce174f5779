"""Reads etcd/raft's interaction transcripts: which votes were given, and what became of each MsgApp."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DIRECTORY = Path(__file__).parent / "etcd"
_BLOCK = re.compile(r"(raft-log|process-ready|deliver-msgs) (\d+)|> (\d+) (handling|receiving)")
_ENTRY = re.compile(r"(\d+)/(\d+) Entry")
_VOTE = re.compile(
    r"INFO (\d+) \[logterm: (\d+), index: (\d+), vote: (\d+)\] (cast|rejected|ignored) Msg(Pre)?Vote (?:for|from) "
    r"(\d+) \[logterm: (\d+), index: (\d+)\] at term (\d+)"
)
_APPEND = re.compile(r"(\d+)->(\d+) MsgApp Term:\d+ Log:(\d+)/(\d+)")
_ANSWER = re.compile(r"(\d+)->(\d+) MsgAppResp Term:\d+ Log:\d+/(\d+)(?: Rejected \(Hint: (\d+)\))?")

Place = tuple[int, int]  # term and index


class Vote(NamedTuple):
    """A voter was asked. said: cast, rejected, or ignored since a leader is heard from."""

    voter: int
    log: Place
    vote: int
    said: str
    early: bool
    candidate: int
    candidate_log: Place
    term: int


class Append(NamedTuple):
    """A MsgApp leaves (`arrives` False) or arrives."""

    arrives: bool
    leader: int
    follower: int
    behind: Place
    entries: list[Place]


class Answer(NamedTuple):
    """A MsgAppResp leaves. index: up to where the logs agree, or the one that is refused; then `hint` says how far
    they may."""

    follower: int
    leader: int
    index: int
    hint: int | None


class Log(NamedTuple):
    """A log as it is printed: all of it, or what a node has appended."""

    node: int
    whole: bool
    entries: list[Place]


def names() -> list[str]:
    """The transcripts."""
    return sorted(file.stem for file in DIRECTORY.glob("*.txt"))


def votes(name: str) -> list[Vote]:
    """All votes of a transcript."""
    found = []
    for each in _VOTE.finditer((DIRECTORY / f"{name}.txt").read_text()):
        voter, term, index, vote, said, early, candidate, its_term, its_index, at = each.groups()
        found.append(
            Vote(
                int(voter), (int(term), int(index)), int(vote), said, early is not None, int(candidate),
                (int(its_term), int(its_index)), int(at),
            )
        )  # fmt: skip
    return found


def steps(name: str) -> Iterator[Append | Answer | Log]:
    """What happens to logs, in order."""
    lines = (DIRECTORY / f"{name}.txt").read_text().splitlines()
    node, receives, at = 0, False, 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if command := _BLOCK.match(line):
            node = int(command[2] or command[3])
            receives = command[1] == "deliver-msgs" or command[4] == "receiving"
            if command[1] == "raft-log":
                entries, at = _entries(lines, at + 1)  # behind the line ----
                yield Log(node, True, entries)
        elif line == "Entries:":
            entries, at = _entries(lines, at)
            yield Log(node, False, entries)
        elif found := _APPEND.match(line):
            entries = [(int(term), int(index)) for term, index in _ENTRY.findall(line)]
            if line.endswith("["):
                more, at = _entries(lines, at)
                entries += more
            leader, follower, term, index = map(int, found.groups())
            yield Append(receives, leader, follower, (term, index), entries)
        elif (found := _ANSWER.match(line)) and not receives:
            yield Answer(int(found[1]), int(found[2]), int(found[3]), None if found[4] is None else int(found[4]))


def _entries(lines: list[str], at: int) -> tuple[list[Place], int]:
    found = []
    while at < len(lines) and (each := _ENTRY.match(lines[at].strip())):
        found.append((int(each[1]), int(each[2])))
        at += 1
    return found, at
