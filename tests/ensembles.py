"""Ensembles of real servers on 127.0.0.1, of ours and of Apache's in any mixture, each server its own process.

Every wait ends at a deadline, and then fails with what each server says of itself and the end of its log.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import TracebackType

import pytest

from tests.ports import ReservedPorts
from tests.servers import POLL_SECONDS, ServerProcess, four_letter
from tests.wire import Wire

WAIT_SECONDS = 60.0  # three JVMs may start on a busy machine
LOG_HEADER_BYTES = 16
_POLL_SECONDS = 0.02
SERVING = ("leader", "follower", "observer")


class EnsembleProcesses:
    """Servers 1, 2, ...: `kinds` ("ours" | "apache") are the voters, `observers` come after them.

    directory: each server has its own below it. settings: more lines for every zoo.cfg, which has server.N, tickTime
    500 and limits.
    `with EnsembleProcesses(...).start() as ensemble:` or close().
    """

    def __init__(self, directory: Path, *kinds: str, observers: Iterable[str] = (), **settings: object) -> None:
        observers = (observers,) if isinstance(observers, str) else tuple(observers)
        self._ports = ReservedPorts()
        self.kinds: dict[int, str] = dict(enumerate((*kinds, *observers), 1))
        self.voters = list(range(1, len(kinds) + 1))
        self.quorum_ports = {sid: self._ports.take() for sid in self.kinds}
        self.election_ports = {sid: self._ports.take() for sid in self.kinds}
        lines: dict[str, object] = {"initLimit": 20, "syncLimit": 10, "maxSessionTimeout": 60_000}
        for sid in self.kinds:
            role = "participant" if sid in self.voters else "observer"
            lines[f"server.{sid}"] = f"127.0.0.1:{self.quorum_ports[sid]}:{self.election_ports[sid]}:{role}"
        self.servers: dict[int, ServerProcess] = {}
        self._paused: set[int] = set()
        for sid, kind in self.kinds.items():
            own: dict[str, object] = {"clientPort": self._ports.take()}
            if sid not in self.voters:
                own["peerType"] = "observer"
            server = ServerProcess(kind, directory / f"s{sid}", **(lines | settings | own))
            (server.data_dir / "myid").write_text(str(sid))
            self.servers[sid] = server

    def __enter__(self) -> EnsembleProcesses:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def hosts(self) -> str:
        """A connect string of all servers, running or not."""
        return self.hosts_of(*self.servers)

    def hosts_of(self, *sids: int) -> str:
        return ",".join(self.servers[sid].hosts for sid in sids)

    def reserve_port(self) -> int:
        """A port for anything else, kept free as long as the ensemble lasts."""
        return self._ports.take()

    def port(self, sid: int) -> int:
        """Of the clients."""
        return self.servers[sid].port

    # Processes.

    @property
    def running(self) -> list[int]:
        """Started, not ended by us, and not paused: a paused one answers nothing."""
        return [sid for sid, server in self.servers.items() if server.process is not None and sid not in self._paused]

    def launch(self, *sids: int) -> None:
        """Start these servers, or all, without waiting."""
        for sid in sids or self.servers:
            if self.servers[sid].kind == "apache":
                self._remove_logs_without_header(sid)
            self.servers[sid].launch()

    def _remove_logs_without_header(self, sid: int) -> None:
        """Remove empty log files, as an operator does: Apache 3.8.0 does not start if a kill left one."""
        for log in (self.servers[sid].data_dir / "version-2").glob("log.*"):
            if log.stat().st_size < LOG_HEADER_BYTES:
                log.unlink()

    def start(self, *sids: int) -> EnsembleProcesses:
        """Start these servers, or all; return once all running servers serve."""
        self.launch(*sids)
        self.wait_serving()
        return self

    def stop(self, sid: int) -> None:
        """SIGTERM, and wait for the end."""
        self.resume(sid)
        self.servers[sid].stop()

    def kill(self, sid: int) -> None:
        """SIGKILL, and wait for the end."""
        self._paused.discard(sid)
        self.servers[sid].kill9()

    def restart(self, sid: int) -> None:
        """Kill a server with SIGKILL, start it again on its directory, wait until all running servers serve."""
        self.kill(sid)
        self.start(sid)

    def pause(self, sid: int) -> None:
        """SIGSTOP, and wait until each of its threads stands still."""
        self._paused.add(sid)
        os.kill(self.servers[sid].pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.servers[sid].pid, os.WSTOPPED)

    def resume(self, sid: int) -> None:
        """SIGCONT, if it was paused."""
        if sid in self._paused:
            self._paused.discard(sid)
            os.kill(self.servers[sid].pid, signal.SIGCONT)

    def swap(self, sid: int, kind: str) -> None:
        """Stop it, and let a server of the other kind go on from its data directory; wait until all that run serve."""
        self.stop(sid)
        self.become(sid, kind)
        self.start(sid)

    def become(self, sid: int, kind: str) -> None:
        """Set the kind as which a stopped server is started from now on."""
        server = self.servers[sid]
        assert server.process is None, f"server {sid} is running"
        self.kinds[sid] = server.kind = kind
        server.log = server.directory / f"{kind}.log"

    def wipe(self, sid: int) -> None:
        """Kill a server, and remove everything from its disk but its number."""
        self.kill(sid)
        shutil.rmtree(self.servers[sid].data_dir / "version-2", ignore_errors=True)

    def make_leader(self, sid: int) -> None:
        """Make `sid` the leader of three voters: it has the longer log of the two servers that are up then."""
        leader = self.leader()
        if leader == sid:
            return
        other = next(voter for voter in self.voters if voter not in (leader, sid))
        self.kill(other)
        Wire(self.port(sid)).close_session()  # two txns
        self.kill(leader)
        self.launch(other)
        self.wait_leader([sid])
        self.start(leader)

    def close(self) -> None:
        """Kill all running servers. The directories stay."""
        for server in self.servers.values():
            server.kill9()
        self._ports.close()

    # What the servers say.

    def figures(self, sid: int) -> dict[str, str]:
        """The lines of `srvr`, by name; {} while the server does not serve."""
        return _pairs(self._ask(sid, "srvr"), ": ")

    def mntr(self, sid: int) -> dict[str, str]:
        """The figures of `mntr`, by name; {} while the server does not serve."""
        return _pairs(self._ask(sid, "mntr"), "\t")

    def _ask(self, sid: int, word: str) -> str:
        if sid in self._paused:
            return ""
        try:
            return four_letter(self.port(sid), word, timeout=POLL_SECONDS)
        except (OSError, UnicodeDecodeError):
            return ""

    def mode(self, sid: int) -> str:
        """The role: leader, follower or observer; any other text means that it does not serve."""
        return self.figures(sid).get("Mode", "")

    def zxid(self, sid: int) -> int:
        """The last zxid applied; -1 while the server does not serve."""
        return int(self.figures(sid).get("Zxid", "-1"), 16)

    def leader(self) -> int:
        """The sid of the one leader. Fails if there is none within the deadline."""
        return self.wait_leader()

    def followers(self) -> list[int]:
        """The running voters that do not lead."""
        leader = self.leader()
        return [sid for sid in self.voters if sid != leader and sid in self.running]

    def contents(self, sid: int) -> dict[str, object]:
        """Every znode after a sync: data, ACL and Stat, or the error, as bytes from the wire."""
        found: list[dict[str, object]] = []

        def read() -> bool:
            client = Wire(self.port(sid))
            try:
                found.append(_read_tree(client))
            except (OSError, EOFError):  # it has lost its leader meanwhile, and hung up on its clients
                return False
            finally:
                client.close()
            return True

        self.wait_for(read, f"server {sid} shows its tree")
        return found[-1]

    def assert_same(self) -> dict[str, object]:
        """Check that all running servers show the same tree, and that none has seen a different digest; return it."""
        sids = self.running
        first = self.contents(sids[0])
        for sid in sids[1:]:
            other = self.contents(sid)
            differ = [path for path in first.keys() | other.keys() if first.get(path) != other.get(path)]
            assert not differ, f"servers {sids[0]} and {sid} differ in {differ[:10]}"
        mismatches = {sid: self.mntr(sid)["zk_digest_mismatches_count"] for sid in sids}
        assert set(mismatches.values()) == {"0"}, mismatches
        return first

    # Waiting.

    def wait_serving(self, *sids: int, seconds: float = WAIT_SECONDS) -> None:
        """Wait until these servers, or all running ones, serve."""
        wanted = sids or tuple(self.running)
        self.wait_for(lambda: all(self.mode(sid) in SERVING for sid in wanted), f"{wanted} serve", seconds)

    def wait_leader(self, among: Collection[int] = (), *, seconds: float = WAIT_SECONDS) -> int:
        """Wait until exactly one running server (one of `among`) says that it leads; return its sid."""
        leaders: list[int] = []

        def one_leads() -> bool:
            leaders[:] = [sid for sid in self.running if self.mode(sid) == "leader"]
            return len(leaders) == 1 and (not among or leaders[0] in among)

        self.wait_for(one_leads, f"one leader among {list(among) or 'all'}", seconds)
        return leaders[0]

    def wait_synced(self, *sids: int, seconds: float = WAIT_SECONDS) -> int:
        """Wait until these servers, or all running ones, have applied the same last zxid, and one leads; the zxid.

        A leader of Apache's shows the zxid e:0 before the first txn of its epoch, followers the one before: so that
        they can be the same, a session is then opened and closed at the leader.
        """
        wanted = sids or tuple(self.running)
        zxids: list[int] = []

        def same() -> bool:
            zxids[:] = [self.zxid(sid) for sid in wanted]
            return len(set(zxids)) == 1 and zxids[0] >= 0

        leader = self.wait_leader(seconds=seconds)
        if self.zxid(leader) & 0xFFFFFFFF == 0:
            Wire(self.port(leader)).close_session()
        self.wait_for(same, f"{wanted} have the same zxid", seconds)
        return zxids[0]

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the condition holds. Fails at once if a server has ended by itself."""
        deadline = time.monotonic() + seconds
        while not condition():
            dead = [sid for sid in self.running if self._process_ended(sid)]
            if dead or time.monotonic() > deadline:
                pytest.fail(f"{f'{dead} ended' if dead else 'too late'}: waited for: {what}\n{self.describe()}")
            # Nothing announces a role but the answer to a question: pause between two, inside the deadline.
            select.select([], [], [], _POLL_SECONDS)

    def _process_ended(self, sid: int) -> bool:
        process = self.servers[sid].process
        return process is not None and process.poll() is not None

    def describe(self) -> str:
        """Each server's own answers, and the end of its log."""
        parts = []
        for sid, server in self.servers.items():
            said = self.figures(sid) if server.process is not None else "not running"
            tail = server.log.read_text(errors="replace")[-2500:] if server.log.exists() else ""
            parts.append(f"--- server {sid} ({server.kind}): {said}\n{tail}")
        return "\n".join(parts)


def _pairs(text: str, separator: str) -> dict[str, str]:
    split = (line.partition(separator) for line in text.splitlines())
    return {key: value for key, found, value in split if found}


def _read_tree(client: Wire) -> dict[str, object]:
    assert client.call(9, client.text("/"))[0] == 0
    found: dict[str, object] = {}
    paths = ["/"]
    while paths:
        path = paths.pop()
        found[path] = client.call(4, client.text(path) + b"\0"), client.call(6, client.text(path))
        error, answer = client.call(8, client.text(path) + b"\0")
        if error:  # it is for others to read
            continue
        at = 4
        for _ in range(struct.unpack_from(">i", answer)[0]):
            end = at + 4 + struct.unpack_from(">i", answer, at)[0]
            child = f"{path.rstrip('/')}/{answer[at + 4 : end].decode()}"
            at = end
            if child != "/zookeeper":  # its /config is each server's own
                paths.append(child)
    client.call(-11)
    return found
