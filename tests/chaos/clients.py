"""The load of a chaos run: clients that note what they were answered.

Those that read and write speak raw frames, so that a request's xid and its reply's zxid are known; those that lock use
this library's client and Lock.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from recipes import Lock, connect
from recipes.core.errors import RecipesError
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import ACL, STAT, ConnectRequest, Id, decode_connect_response, encode_connect_request
from recipes.core.sim.histories import Call
from tests.chaos.history import Answer, History

ACLS = (ACL(op.ALL, Id("world", "anyone")),)
EPHEMERAL, SEQUENTIAL = 1, 2
_SESSION_EXPIRED, _SESSION_MOVED = -112, -118
_WRITES = frozenset((op.CREATE2, op.SET_DATA, op.DELETE))
KEYS = [b"/k%d" % number for number in range(4)]
Request = tuple[int, bytes, bytes]  # opcode, path, body


def create(path: bytes, data: bytes = b"", flags: int = 0) -> Request:
    return op.CREATE2, path, rq.encode_create(path, data, ACLS, flags)


def set_data(path: bytes, data: bytes, version: int = -1) -> Request:
    return op.SET_DATA, path, rq.encode_set_data(path, data, version)


def delete(path: bytes) -> Request:
    return op.DELETE, path, rq.encode_path_version(path, -1)


def read(path: bytes, kind: int = op.GET_DATA) -> Request:
    return kind, path, rq.encode_path_watch(path, False)


def sync(path: bytes) -> Request:
    return op.SYNC, path, rq.encode_path(path)


class SessionOver(Exception):
    """The servers have ended the session."""


class RawClient:
    """One session, at any of the servers behind `ports`; a connection that is silent is given up for another.

    tick_ms: of the servers, for how long a session may be unknown to them to be in use.
    """

    def __init__(self, history: History, ports: Sequence[int], random: Random, timeout_ms: int, tick_ms: int) -> None:
        self.history = history
        self.session_id = 0
        self.last_zxid = 0
        self._ports = list(ports)
        self._random = random
        self._wanted_ms = self._timeout_ms = timeout_ms
        self._tick_ms = tick_ms
        self._password = bytes(16)
        self._xid = 0
        self._alive_at = time.monotonic()  # a request sent then was answered
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._frames = FrameReader(1 << 24)
        self._payloads: list[bytes] = []

    def use(self, port: int) -> None:
        """Go to one server only."""
        self._ports = [port]

    def hang_up(self) -> None:
        """Break the connection; the session goes on."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def connected(self) -> None:
        """Return once there is a connection. Raises SessionOver."""
        while self._writer is None:
            try:
                async with asyncio.timeout(self._timeout_ms / 3000):
                    await self._connect(self._random.choice(self._ports))
            except (OSError, EOFError, TimeoutError):
                self.hang_up()
                await asyncio.sleep(0.02)

    async def _connect(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._frames, self._payloads = FrameReader(1 << 24), []
        sent_at = time.monotonic()
        hello = ConnectRequest(self.last_zxid, self._wanted_ms, self.session_id, self._password)
        self._writer.write(frame(encode_connect_request(hello)))
        answer = decode_connect_response(await self._receive())
        if answer.timeout_ms <= 0:
            self.hang_up()
            silent_ms = (time.monotonic() - self._alive_at) * 1000
            if silent_ms < self._timeout_ms - 2 * self._tick_ms:
                self.history.violations.append(
                    f"E1 0x{self.session_id:x} ended {silent_ms:.0f} ms after a sign of life"
                )
            raise SessionOver
        self.session_id, self._password = answer.session_id, answer.password
        self._timeout_ms = answer.timeout_ms
        self._alive_at = sent_at

    async def _receive(self) -> bytes:
        while not self._payloads:
            assert self._reader is not None
            data = await self._reader.read(1 << 16)
            if not data:
                raise EOFError
            self._payloads += self._frames.feed(data)
        return self._payloads.pop(0)

    async def batch(self, *requests: Request) -> list[Answer | None]:
        """Send all at once and wait for the replies, None for those whose outcome is unknown. Raises SessionOver."""
        await self.connected()
        assert self._writer is not None
        history = self.history
        sent_at, synced, calls, parts = time.monotonic(), False, [], []
        for kind, path, body in requests:
            self._xid += 1
            synced = synced or kind == op.SYNC
            floor = history.newest_seen if synced or kind in _WRITES else self.last_zxid
            calls.append(Call(self.session_id, self._xid, kind, path, False, 0, floor))
            parts.append(frame(struct.pack(">ii", self._xid, kind) + body))
        answers: list[Answer | None] = []
        try:
            self._writer.write(b"".join(parts))
            async with asyncio.timeout(self._timeout_ms / 3000):
                for call in calls:
                    answers.append(self._answer(call, await self._receive()))
                    self._alive_at = max(self._alive_at, sent_at)
        except (OSError, EOFError, TimeoutError):
            self.hang_up()
        unknown = len(calls) - len(answers)
        history.counts["unknown"] += unknown
        return answers + [None] * unknown

    def _answer(self, call: Call, payload: bytes) -> Answer:
        xid, zxid, error = struct.unpack_from(">iqi", payload)
        if error in (_SESSION_EXPIRED, _SESSION_MOVED):
            raise EOFError  # whether it is over is for the next connection to say
        if xid != call.xid:
            self.history.violations.append(f"C5 reply {xid} where {call.xid} is due")
            raise EOFError
        if zxid < self.last_zxid:
            self.history.violations.append(f"C3 0x{call.session_id:x} saw 0x{self.last_zxid:x} and then 0x{zxid:x}")
        self.last_zxid = max(self.last_zxid, zxid)
        call.zxid, call.error = zxid, error
        answer = Answer(call, call.path, None, None, [])
        if error == 0:
            self._decode(answer, payload)
        self.history.answered(answer, error == 0 and call.kind in _WRITES)
        return answer

    @staticmethod
    def _decode(answer: Answer, payload: bytes) -> None:
        kind, stat_at = answer.call.kind, 16
        if kind == op.CREATE2:
            answer.path, _, end = rq.decode_path_stat(payload, 16)
            stat_at = end - STAT.size
        elif kind == op.GET_DATA:
            answer.data, _, end = rq.decode_data_stat(payload, 16)
            stat_at = end - STAT.size
        elif kind == op.GET_CHILDREN2:
            answer.names, stat_at = rq.decode_children(payload, 16)
        elif kind not in (op.SET_DATA, op.EXISTS):
            return
        answer.stat = payload[stat_at : stat_at + STAT.size]

    async def close(self) -> None:
        """End the session, if a server can be told so."""
        with suppress(SessionOver):
            await self.batch((op.CLOSE_SESSION, b"", b""))
        self.hang_up()


class Load:
    """All clients of a run, each a task, on the servers behind `ports`.

    pace: how many times longer its pauses are than those of a heavy load.
    mortals: sessions that were left to die, each with its ephemeral znode. holders: those that live on to `release`.
    """

    def __init__(self, history: History, ports: Sequence[int], random: Random, tick_ms: int, pace: float = 1.0) -> None:
        self.history = history
        self.mortals: dict[int, bytes] = {}
        self.holders: dict[int, tuple[RawClient, bytes]] = {}
        self._ports = list(ports)
        self._hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        self._random = random
        self._tick_ms = tick_ms
        self._pace = pace
        self._tasks: list[asyncio.Task[None]] = []
        self._reset = asyncio.Event()
        self._holding: list[asyncio.Task[None]] = []
        self._stopping = self._released = False

    def client(self, timeout_ms: int = 4000) -> RawClient:
        return RawClient(self.history, self._ports, Random(self._random.random()), timeout_ms, self._tick_ms)

    async def prepare(self) -> None:
        """Make what everybody works on."""
        client, wanted = self.client(), [*KEYS, b"/e", b"/s"]
        while wanted:
            answers = await client.batch(*(create(path) for path in wanted))
            wanted = [
                path
                for path, got in zip(wanted, answers, strict=True)
                if got is None or got.call.error not in (0, -110)
            ]
        await client.close()

    def start(self, writers: int = 5) -> None:
        jobs = [self._write(number) for number in range(writers)]
        jobs += [self._number(), self._leave_ephemerals(), *(self._lock() for _ in range(3))]
        self._tasks = [asyncio.ensure_future(job) for job in jobs]
        self._holding = [asyncio.ensure_future(self._hold(number)) for number in range(2)]

    def reset_connections(self) -> None:
        """Let every raw client break its connection."""
        self._reset.set()
        self._reset = asyncio.Event()

    async def stop(self) -> None:
        """End the load. The clients that hold an ephemeral go on until `release`."""
        self._stopping = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), 60)

    async def release(self) -> None:
        """Let the holders end their sessions."""
        self._released = True
        await asyncio.wait_for(asyncio.gather(*self._holding), 60)

    def cancel(self) -> None:
        """Whatever runs still is not wanted any more."""
        for task in (*self._tasks, *self._holding):
            task.cancel()

    def check(self) -> None:
        """Raise what a client has ended with."""
        for task in (*self._tasks, *self._holding):
            if task.done():
                task.result()

    async def _turn(self, client: RawClient, pause_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._reset.wait(), pause_s)
            client.hang_up()

    async def _write(self, number: int) -> None:
        client, random, count, version = self.client(), self._random, 0, -1
        while not self._stopping:
            requests: list[Request] = []
            for _ in range(random.choice((1, 1, 2, 6))):
                key, chance = random.choice(KEYS), random.random()
                if chance < 0.5:
                    count += 1
                    requests.append(set_data(key, b"%d-%d" % (number, count), version if chance < 0.05 else -1))
                elif chance < 0.8:
                    requests += [sync(key), read(key)]
                else:
                    requests.append(read(key))
            try:
                answers = await client.batch(*requests)
            except SessionOver:
                self.history.counts["expired"] += 1
                client = self.client()
                continue
            if answers[-1] is not None and answers[-1].stat is not None:
                version = STAT.unpack(answers[-1].stat)[4]
            await self._turn(client, random.random() * 0.02 * self._pace)
        await client.close()

    async def _number(self) -> None:
        client, made = self.client(), []
        while not self._stopping:
            requests = [create(b"/s/n-", b"x", SEQUENTIAL)]
            if len(made) > 5:
                requests.append(delete(made.pop(0)))
            try:
                answer = (await client.batch(*requests))[0]
            except SessionOver:
                self.history.counts["expired"] += 1
                client = self.client()
                continue
            if answer is not None and answer.call.error == 0:
                made.append(answer.path)
            await self._turn(client, 0.02 * self._pace)
        await client.close()

    async def _leave_ephemerals(self) -> None:
        number = 0
        while not self._stopping:
            client = self.client(timeout_ms=1000)
            number += 1
            path = b"/e/mortal-%d" % number
            with suppress(SessionOver):
                answers = await client.batch(create(path, b"", EPHEMERAL), read(path))
                if answers[0] is not None and answers[0].call.error == 0:
                    self.mortals[client.session_id] = path
            client.hang_up()
            await asyncio.sleep(0.5)

    async def _hold(self, number: int) -> None:
        client, made, path = self.client(), 0, b""
        while not self._released:
            try:
                if not path:
                    made += 1
                    path = b"/e/held-%d-%d" % (number, made)
                    answer = (await client.batch(create(path, b"", EPHEMERAL)))[0]
                    if answer is None or answer.call.error:
                        path = b""
                        continue
                await client.batch(read(path, op.EXISTS))
            except SessionOver:
                self.history.counts["expired"] += 1
                client, path = self.client(), b""
                self.holders.pop(number, None)
                continue
            self.holders[number] = client, path
            await self._turn(client, 0.1)
        await client.close()

    async def _lock(self) -> None:
        while not self._stopping:
            with suppress(RecipesError, OSError, TimeoutError):
                async with connect(self._hosts, session_timeout=3.0) as client:
                    lock = Lock(client, "/lock")
                    while not self._stopping:
                        async with asyncio.timeout(10), lock as grant:
                            self.history.granted(grant.fence)
                            await asyncio.sleep(0.01 * self._pace)
                        await asyncio.sleep(0.01 * self._pace)
