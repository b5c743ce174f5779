"""The same random operations on ours and on a live Apache: the same errors, answers, Stats and events, times aside.

Three sessions take turns. Each reads its replies and events as one stream; when the turn goes to another, everybody
pings, so that what a stream holds does not hang on who was faster. Left out is exactly what docs/differences.md lists
(test_differences.py asserts what ours does there).
"""

from __future__ import annotations

import itertools
import re
import struct
import time
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.apache
OPERATIONS, SESSIONS = 200, 3
RUNS = itertools.count()
# The first five bytes of the wall clock in ms hold for 4 hours, and may change during these runs: no zxid or data of
# them looks so.
HOURS = [struct.pack(">q", int((time.time() + later) * 1000))[:5] for later in (0, 4 * 3600)]
TIME = re.compile(b"(?:" + b"|".join(map(re.escape, HOURS)) + rb")[\x00-\xff]{3}")
CREATE, DELETE, EXISTS, GET, SET, GET_ACL, SET_ACL, CHILDREN, SYNC, PING, CHILDREN2 = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12
CHECK, MULTI, CREATE2, REMOVE_WATCHES, CREATE_CONTAINER, CREATE_TTL, MULTI_READ, AUTH = 13, 14, 15, 18, 19, 21, 22, 100
GET_EPHEMERALS, ALL_CHILDREN, SET_WATCHES2, ADD_WATCH, WHO_AM_I, CLOSE = 103, 104, 105, 106, 107, -11
RECONNECT, MANGLED = "reconnect", "mangled"
CREATES = (CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL)

NAMES = ["a", "b", "a/b", "a/a", "a/b/c", "b/s-0000000000", "a/s-0000000001", "", "a/"]
ODD_NAMES = [
    "a//b", "a/./b", "a/..", "..a", "a/...", "a/ b", "a\0b", "a/\x1f", "a/\x7f", "a/\x9f", "a/\u00a0", "a/\ud7ff",
    "a/\ue000", "a/\uf8ff", "a/\uf900", "a/\uffef", "a/\ufff0", "a/\ufffd", "\u00e9", "a/b/", "a/b/c/d",
]  # fmt: skip
PRIVATE_NAMES = ["p", "p/a", "p/a/b", "p/s-0000000000"]  # their ACLs shut sessions out: no watches there
QUOTA_NAMES = ["q", "q/a", "q/a/b", "q/b"]
LIMITS, STATS = "/zookeeper/quota{base}/q/zookeeper_limits", "/zookeeper/quota{base}/q/zookeeper_stats"


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">i", len(raw)) + raw


def acl(*entries: tuple[int, str, str]) -> bytes:
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + text(scheme) + text(ident) for perms, scheme, ident in entries
    )


OPEN, READ_ONLY, BAD_ACL = acl((31, "world", "anyone")), acl((1, "world", "anyone")), acl((31, "bad", "z"))
BOB = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="  # bob:pw
PRIVATE_ACLS = [
    OPEN,
    acl((31, "auth", "")),
    acl((31, "digest", BOB)),
    acl((1, "world", "anyone"), (30, "digest", BOB)),
    acl((16, "world", "anyone"), (15, "digest", BOB), (15, "digest", BOB)),
    acl((4, "world", "anyone"), (1, "auth", "")),
    acl((31, "ip", "127.0.0.0/8")),
    acl((31, "ip", "10.0.0.1"), (12, "world", "anyone")),
    acl((31, "digest", "no-hash")),
    acl(),
]
ACLS = [OPEN, OPEN, OPEN, OPEN, OPEN, READ_ONLY, BAD_ACL]
DONE = bytes.fromhex("ffffffff01ffffffff")
# One-shot and persistent watches of one session stay on paths of their own: 3.8 keeps one mode a path, ours stacks.
PERSISTENT_NAMES = {1: ["a", "b/s-0000000000"], 2: ["b", "a/b"]}  # persistent of session 1, recursive of session 2
QUOTA_LIMITS = [
    b"count=3,bytes=5",
    b"count=-1,bytes=-1=;byteHardLimit=8;countHardLimit=3",
    b"count=2,bytes=-1=;byteHardLimit=-1;countHardLimit=2",
    b"count=-1,bytes=3=;byteHardLimit=4;countHardLimit=-1",
]
SETUP = [
    *((CREATE, name, b"", OPEN, 0) for name in ("", "/zookeeper/quota{base}", "/zookeeper/quota{base}/q")),
    *((CREATE, name, b"", OPEN, 0) for name in ("a", "b", "a/b", "p", "p/a", "q", "q/a")),
    (CREATE, STATS, b"", OPEN, 0),
]


class Chance:
    """Draws steps, from a random source that hypothesis seeds."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pick = random.choice

    def turns(self) -> list[tuple[int, list[tuple]]]:
        turns, left = [], OPERATIONS
        while left > 0:
            steps = [self._step() for _ in range(min(left, self._random.randint(1, 10)))]
            turns.append((self._random.randrange(SESSIONS), steps))
            left -= len(steps)
        return turns

    def _step(self) -> tuple:
        draws = (self._change, self._read, self._watch, self._multi, self._of_session, self._private, self._quota)
        step = self._random.choices(draws, (30, 12, 18, 8, 5, 15, 12))[0]()
        if self._random.random() < 0.02 and step[0] not in (CLOSE, RECONNECT, AUTH, WHO_AM_I):
            return MANGLED, step, self._random.randrange(1, 12)
        return step

    def _name(self, among: Sequence[str]) -> str:
        return self._pick(ODD_NAMES if among is NAMES and self._random.random() < 0.05 else among)

    def _version(self) -> int:
        return self._pick([-1, -1, -1, 0, 1, 2])

    def _data(self) -> bytes:
        return self._random.randbytes(self._random.randrange(7))

    def _change(self, among: Sequence[str] = NAMES, acls: Sequence[bytes] = ACLS) -> tuple:
        """A write that may also stand in a multi."""
        name, data, mode = self._name(among), self._data(), self._pick(acls)
        kind = self._random.choices((CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL, SET, DELETE), (4, 2, 1, 1, 4, 4))[0]
        if kind == DELETE:
            return kind, name, self._version()
        if kind == SET:
            return kind, name, data, self._version()
        if kind == CREATE_CONTAINER:
            return kind, name, data, mode, 4
        if kind == CREATE_TTL:
            return kind, name, data, mode, self._pick([5, 6]), self._pick([1 << 30, 1 << 39, 1 << 30, 0, -7, 1 << 40])
        flags = self._pick([0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 7, -1])
        if flags in (2, 3):
            name = self._pick(among[:2]) + self._pick(["/s-", "/", "/x"])
        return kind, name, data, mode, flags

    def _read(self) -> tuple:
        if self._random.random() < 0.2:
            kinds = [GET, GET, CHILDREN] if self._random.random() < 0.95 else [DELETE]
            return MULTI_READ, [(self._pick(kinds), self._pick(NAMES), -1) for _ in range(self._random.randrange(4))]
        kind = self._pick([EXISTS, GET, GET_ACL, CHILDREN, CHILDREN2, ALL_CHILDREN, SYNC, GET_EPHEMERALS])
        if kind == GET_EPHEMERALS:
            return kind, self._pick([None, None, "/", "a", "a/b"])
        return kind, self._name(NAMES)

    def _watch(self) -> tuple:
        return self._pick(
            [
                ("watch", self._pick([EXISTS, GET, CHILDREN, CHILDREN2]), self._name(NAMES)),
                ("watch", self._pick([EXISTS, GET, CHILDREN, CHILDREN2]), self._name(NAMES)),
                (ADD_WATCH, self._random.randrange(2)),
                (REMOVE_WATCHES, self._pick(NAMES), self._pick([1, 2, 3, 9])),
            ]
        )

    def _multi(self) -> tuple:
        parts = [
            (CHECK, self._pick(NAMES), self._version()) if self._random.random() < 0.2 else self._change()
            for _ in range(self._random.randrange(5))
        ]
        if self._random.random() < 0.05:
            parts.append((GET, "a"))
        return MULTI, parts

    def _of_session(self) -> tuple:
        if self._random.random() < 0.3:
            return (CLOSE,)
        lists = [[self._name(NAMES) for _ in range(self._random.randrange(4))] for _ in range(3)]
        return RECONNECT, self._random.random() < 0.5, *lists, self._random.random() < 0.7

    def _private(self) -> tuple:
        draw = self._random.random()
        if draw < 0.15:
            return AUTH, self._pick(["bob:pw", "bob:pw", "alice:x", "bob:pw:odd", "nobody"])
        if draw < 0.2:
            return (WHO_AM_I,)
        if draw < 0.35:
            return SET_ACL, self._pick(PRIVATE_NAMES), self._pick(PRIVATE_ACLS), self._version()
        if draw < 0.45:
            parts = [self._change(PRIVATE_NAMES, PRIVATE_ACLS) for _ in range(2)]
            return MULTI, [*parts, (CHECK, self._pick(PRIVATE_NAMES), -1)]
        if draw < 0.7:
            return self._pick([GET, GET_ACL, GET_ACL, CHILDREN, CHILDREN2, ALL_CHILDREN]), self._pick(PRIVATE_NAMES)
        if draw < 0.75:
            return MULTI_READ, [(GET, self._pick(PRIVATE_NAMES)), (CHILDREN, self._pick(PRIVATE_NAMES))]
        return self._change(PRIVATE_NAMES, PRIVATE_ACLS)

    def _quota(self) -> tuple:
        draw = self._random.random()
        if draw < 0.6:
            return self._change(QUOTA_NAMES, [OPEN])
        return self._pick(
            [
                (MULTI, [self._change(QUOTA_NAMES, [OPEN])]),  # Apache lets several parts pass a hard limit together
                (CREATE, LIMITS, self._pick(QUOTA_LIMITS), OPEN, 0),
                (CREATE, LIMITS, self._pick(QUOTA_LIMITS), OPEN, 0),
                (CREATE, STATS, b"count=0,bytes=0", OPEN, 0),
                (SET, LIMITS, self._pick(QUOTA_LIMITS), -1),
                (SET, STATS, b"count=1,bytes=1", -1),
                (DELETE, self._pick([LIMITS, STATS]), -1),
                (GET, STATS),
                (GET, STATS),
                (GET, LIMITS),
            ]
        )


class Player:
    """The sessions of one run on one server, and what each of them has read."""

    def __init__(self, wire, in_order, server, base: str, enforced: bool) -> None:
        self._enforced = enforced
        self._in_order = in_order
        self._open = lambda **options: wire(server.port, **options)
        self._base = base
        self.clients = [self._open() for _ in range(SESSIONS)]
        self.sessions = [client.session_id for client in self.clients]
        self.streams: list[list[tuple]] = [[] for _ in range(SESSIONS)]
        self._waiting: list[tuple] = []  # what the session whose turn it is has asked for, and no reply read yet
        self._last_zxid = 0
        for step in SETUP:
            self.ask(0, step)
        self.end_turn(0)

    def path(self, name: str) -> str:
        if name.startswith("/"):
            return name.format(base=self._base)
        return f"{self._base}/{name}" if name else self._base

    def ask(self, who: int, step: tuple) -> None:
        client = self.clients[who]
        kind = step[0]
        if kind == RECONNECT:
            self.drain(who)
            client.close()
            self.clients[who] = client = self._open(session=client.session)
            self.streams[who].append((RECONNECT, client.session_id in self.sessions, client.timeout_ms))
            if step[1]:
                self._post(who, (AUTH, "bob:pw"))
                self.drain(who)
        elif kind == CLOSE:
            self.end_turn(who)
            before = [len(stream) for stream in self.streams]
            self._post(who, step)
            self.end_turn(who)
            for stream, start in zip(self.streams, before, strict=True):
                # In which order the session's ephemerals go is not said.
                stream[start:] = sorted(stream[start:], key=lambda item: item if item[0] == "event" else ("",))
            client.close()
            self.clients[who] = client = self._open()
            self.sessions.append(client.session_id)
            return
        # Alone: Apache checks what is behind a setACL or an enforced quota against the tree from before until it is
        # applied, and keeps the changes of a multi it could not read for as long; replies to auth overtake others.
        alone = kind in (SET_ACL, AUTH) or (self._enforced and "q/" in str(step)) or (kind == MULTI and _mistaken(step))
        if alone:
            self.drain(who)
        self._post(who, step)
        if alone:
            self.drain(who)

    def _post(self, who: int, step: tuple) -> None:
        if step[0] == MANGLED:  # without its end
            _, whole, size = step
            kind = whole[1] if whole[0] == "watch" else whole[0]
            self.clients[who].post(kind, self._body(who, whole)[:-size])
            self._waiting.append((kind, step))
            return
        kind = step[1] if step[0] == "watch" else SET_WATCHES2 if step[0] == RECONNECT else step[0]
        self.clients[who].post(kind, self._body(who, step))
        self._waiting.append((kind, step))

    def end_turn(self, who: int) -> None:
        """Read everything that is under way to anybody."""
        self.drain(who)
        for other in range(SESSIONS):
            if other != who:
                self._post(other, (PING,))
                self.drain(other)

    def drain(self, who: int) -> None:
        stream, client = self.streams[who], self.clients[who]
        while self._waiting:
            payload = client.receive()
            xid, zxid, error = struct.unpack_from(">iqi", payload)
            if xid == -1:
                stream.append(("event", struct.unpack_from(">i", payload, 16)[0], payload[28:]))
                continue
            kind, step = self._waiting.pop(0)
            self._last_zxid = max(self._last_zxid, zxid)
            stream.append((kind, step, zxid, error, self._answer(kind, error, payload[16:])))

    def _answer(self, kind: int, error: int, body: bytes) -> object:
        """A reply's body with what may differ blanked, and lists whose order means nothing sorted."""
        for number, session_id in enumerate(self.sessions):
            body = body.replace(struct.pack(">q", session_id), b"-sess%02d-" % number)
        body = TIME.sub(b"-moment-", body)
        return body if error else self._in_order(kind, body)

    def _body(self, who: int, step: tuple) -> bytes:
        kind, *rest = step
        if kind in (MULTI, MULTI_READ):
            parts = [struct.pack(">i?i", part[0], False, -1) + self._body(who, part) for part in rest[0]]
            return b"".join(parts) + DONE
        if kind == "watch":
            name = rest[1]
            if name in PERSISTENT_NAMES.get(who, ()):
                name = "b/one-shot"
            return text(self.path(name)) + b"\x01"
        if kind == ADD_WATCH:
            if who == 0:
                return text(self.path("")) + struct.pack(">i", 7)  # no such mode
            return text(self.path(PERSISTENT_NAMES[who][rest[0]])) + struct.pack(">i", who - 1)
        if kind == REMOVE_WATCHES:
            name, which = rest
            if name in PERSISTENT_NAMES.get(who, ()):
                which = 3
            return text(self.path(name)) + struct.pack(">i", which)
        if kind == RECONNECT:
            _, *lists, fresh = rest
            mine = PERSISTENT_NAMES.get(who, ())
            body = struct.pack(">q", self._last_zxid if fresh else 0)
            for found in lists:
                found = [self.path(name) for name in found if name not in mine]
                body += struct.pack(">i", len(found)) + b"".join(map(text, found))
            for mode in (1, 2):
                found = [self.path(name) for name in mine if mode == who]
                body += struct.pack(">i", len(found)) + b"".join(map(text, found))
            return body
        if kind == AUTH:
            return struct.pack(">i", 0) + text("digest") + text(rest[0])
        if kind in (PING, WHO_AM_I, CLOSE):
            return b""
        if kind == GET_EPHEMERALS:
            return struct.pack(">i", -1) if rest[0] is None else text("/" if rest[0] == "/" else self.path(rest[0]))
        path = text(self.path(rest[0]))
        if kind in CREATES:
            ttl = struct.pack(">q", rest[4]) if kind == CREATE_TTL else b""
            return path + text(rest[1]) + rest[2] + struct.pack(">i", rest[3]) + ttl
        if kind == SET:
            return path + text(rest[1]) + struct.pack(">i", rest[2])
        if kind == SET_ACL:
            return path + rest[1] + struct.pack(">i", rest[2])
        if kind in (DELETE, CHECK):
            return path + struct.pack(">i", rest[1])
        return path if kind in (GET_ACL, ALL_CHILDREN, SYNC) else path + b"\x00"


def _mistaken(step: tuple) -> bool:
    return any(part[0] in (CREATE, CREATE2) and part[4] in (5, 6) for part in step[1])


def play(player: Player, turns: list[tuple[int, list[tuple]]]) -> list[list[tuple]]:
    for who, steps in turns:
        for step in steps:
            player.ask(who, step)
        player.end_turn(who)
    for client in player.clients:
        client.close_session()
    return player.streams


def first_difference(ours: list[list[tuple]], apache: list[list[tuple]]) -> str | None:
    for who in range(SESSIONS):
        for number, (got, expected) in enumerate(itertools.zip_longest(ours[who], apache[who])):
            if got != expected:
                before = "\n".join(map(repr, ours[who][max(0, number - 3) : number]))
                return f"session {who}, item {number}: ours {got}\nApache {expected}\nbefore that:\n{before}"
    return None


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("false", id="soft quotas", marks=pytest.mark.thorough),  # the same, but for the refusals
        pytest.param("true", id="hard quotas"),
    ],
)
def pair(request, start_server):
    """Two servers that nobody else writes to, so that their zxids run alike; no container goes meanwhile."""
    options = {
        "enforceQuota": request.param,
        "znode.container.checkIntervalMs": 3_600_000,
        "maxSessionTimeout": 60_000,  # nobody pings while others have their turn
    }
    return start_server("ours", **options), start_server("apache", **options), request.param == "true"


@settings(
    max_examples=settings.default.max_examples // 3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(random=st.randoms(use_true_random=True))
def test_the_same_steps_have_the_same_outcomes(pair, wire, in_order, random):
    *servers, enforced = pair
    turns, base = Chance(random).turns(), f"/run-{next(RUNS)}"
    ours, apache = (play(Player(wire, in_order, server, base, enforced), turns) for server in servers)
    assert first_difference(ours, apache) is None
