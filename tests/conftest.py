"""Real servers for the tests: ours and Apache ZooKeeper, each its own process on a free port with its own directory."""

from __future__ import annotations

import gc
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.ports import free_port
from tests.timing import Timing

if TYPE_CHECKING:
    from tests.ensembles import EnsembleProcesses

START_SECONDS = 60.0  # a JVM takes 3 s of processor time, and four workers may start one each on a busy machine
MOST_WORKERS = 4
APACHE_JARS = Path("/usr/share/java/zookeeper.jar")
ROOT = Path(__file__).resolve().parent.parent
failed = pytest.StashKey[bool]()
OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--everything", action="store_true", help="the thorough tests too; a missing tool is a failure, not a skip"
    )
    parser.addoption("--zookeeper", metavar="HOST:PORT", help="compare with this running ZooKeeper")
    parser.addoption("--minutes", type=float, default=10.0, help="how long a soak of tests/chaos goes on")
    parser.addoption("--chaos-seed", type=int, help="a soak of tests/chaos is one run, with this seed")
    parser.addoption("--seed", type=int, metavar="N", help="replay one simulated run")
    parser.addoption("--seeds", default="1-5000", metavar="A-B", help="the seeds of a soak by simulation")
    parser.addoption("--ensemble", default="3+0", metavar="V+O", help="voters and observers of simulated ensembles")
    parser.addoption("--shrink", action="store_true", help="look for a shorter run that fails as --seed does")
    parser.addoption("--recipe", default="lock", metavar="NAME", help="whose steps a simulated run of recipes has")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Timing(), "timing")
    # No deadline: how long an example takes depends on who else uses the machine.
    hypothesis.settings.register_profile("everything", deadline=None)
    hypothesis.settings.register_profile("quick", deadline=None, max_examples=30)
    hypothesis.settings.load_profile("everything" if config.getoption("--everything") else "quick")
    directory = Path(tempfile.mkdtemp(prefix="recipes-store-"))
    config.add_cleanup(lambda: end_store(directory))
    os.environ["RECIPES_STORE"] = str(directory)
    os.environ["RECIPES_STORE_IDLE"] = "60"  # should the run be killed
    os.environ.pop("RECIPES_HOSTS", None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers for a run of a whole folder; none where files or tests are named, or for what goes on for long."""
    named = all(Path(argument.partition("::")[0]).is_file() for argument in config.args)
    if named or config.option.markexpr or config.getoption("--seed") is not None:
        return 0
    # Many tests wait more than they compute.
    return min(2 * len(os.sched_getaffinity(0)), MOST_WORKERS)


def end_store(directory: Path) -> None:
    """End the process of a store, if there is one, and remove the store."""
    from recipes.store.moving import stop
    from recipes.store.place import Place

    stop(Place(directory))
    shutil.rmtree(directory, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not quick, unless it is asked for."""
    for item in items:
        # Each kind of server and each event loop has its turn; both others together only add time.
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "apache" in given and "trio" in given:
            item.add_marker(pytest.mark.thorough)
    asked_for = config.option.markexpr or ""
    if config.getoption("--everything") or any("::" in argument for argument in config.args):
        asked_for += " thorough"
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(marker) and marker not in asked_for for marker in ("soak", "thorough"))
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        quick = set(items).difference(left_out)
        items[:] = [item for item in items if item in quick]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[object]:
    report = yield
    item.stash[failed] = item.stash.get(failed, False) or report.failed
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """What a failed test left open is collected behind it: found later, it would fail whichever test runs then."""
    done = yield
    if item.stash.get(failed, False):
        sys.last_exc = sys.last_value = sys.last_traceback = None  # they keep its frames
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return done


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test needs by its markers is asked for before any of its fixtures is made."""
    for marker in item.iter_markers("needs"):
        for tool in marker.args:
            need(item.config, tool, shutil.which(tool) is not None)
    if item.get_closest_marker("apache") and not item.config.getoption("--zookeeper"):
        need_apache(item.config)


def four_letter(port: int, word: str, host: str = "127.0.0.1") -> str:
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.sendall(word.encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer.decode()


class ServerProcess:
    """One server in a process; the same data directory across `restart`."""

    def __init__(self, kind: str, directory: Path, **settings: object) -> None:
        self.kind = kind
        self.directory = directory
        self.data_dir = directory / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.port = int(str(settings.get("clientPort") or free_port()))
        # These Apache reads as system properties of the JVM only.
        by_jvm = ("znode.", "readonlymode.")
        self.properties = [f"-D{key}={value}" for key, value in settings.items() if key.startswith(by_jvm)]
        self.config = directory / "zoo.cfg"
        self.log = directory / f"{kind}.log"
        values: dict[str, object] = {
            "tickTime": 500,
            "dataDir": self.data_dir,
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            "extendedTypesEnabled": "true",
        } | settings
        self.config.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        self.process: subprocess.Popen[bytes] | None = None
        self.wrapper: list[str] = []

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        if self.kind == "ours":
            return [*self.wrapper, sys.executable, "-m", "recipes", "serve", str(self.config)]
        # Apache takes this switch as a system property, not from zoo.cfg, in some releases: give it both ways.
        flags = [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-Dzookeeper.extendedTypesEnabled=true",
            "-Dzookeeper.4lw.commands.whitelist=*",
            *self.properties,
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        # The first logger on the path is the one that is used: this one prints from INFO on.
        path = "/usr/share/java/slf4j-simple.jar:/usr/share/java/*"
        return [*self.wrapper, "java", *flags, "-cp", path, main, str(self.config)]

    def start(self) -> ServerProcess:
        self.launch()
        self.await_start()
        return self

    def launch(self) -> None:
        """Start the process; do not wait for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=subprocess.PIPE if self.kind == "ours" else log,
                stderr=log,
                cwd=self.directory,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def await_start(self) -> None:
        """Wait until it takes clients."""
        if self.kind == "ours":
            self._await_ready_line()
        else:
            self._await_answer()

    def _await_ready_line(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        heard = b""
        while b"accepting clients" not in heard:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                self._give_up(f"no ready line; it printed {heard!r}")
            heard += piece

    def _await_answer(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._give_up("it does not serve")
            try:
                if "Mode:" in four_letter(self.port, "srvr"):
                    return
            except OSError:
                pass
            # Nothing announces readiness but the port itself: pause between two polls, inside the deadline.
            select.select([], [], [], 0.05)

    def _give_up(self, why: str) -> None:
        tail = self.log.read_text(errors="replace")[-3000:]
        self.kill9()
        pytest.fail(f"{self.kind} server on {self.hosts}: {why}\n{tail}")

    def _ended(self) -> None:
        assert self.process is not None
        self.process.wait(START_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def kill9(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self._ended()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self._ended()

    def restart(self) -> None:
        self.kill9()
        self.start()


class RunningServer:
    """A server somebody else started, named by --zookeeper: used, never stopped."""

    kind = "apache"

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts
        self.port = int(hosts.rpartition(":")[2])


def need(config: pytest.Config, tool: str, present: bool) -> None:
    """Skip, or fail under --everything, when `tool` is not on this machine."""
    if not present:
        message = f"needs {tool}"
        pytest.fail(message) if config.getoption("--everything") else pytest.skip(message)


def need_apache(config: pytest.Config) -> None:
    need(config, "java", shutil.which("java") is not None)
    need(config, "Apache ZooKeeper 3.8 (Debian packages zookeeper, libzookeeper-java)", APACHE_JARS.exists())


@pytest.fixture(scope="session")
def need_tool(pytestconfig: pytest.Config) -> Callable[[str, bool], None]:
    return lambda tool, present: need(pytestconfig, tool, present)


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Callable[..., ServerProcess]]:
    """start_server("ours" | "apache", directory=None, start=True, **zoo_cfg): all are ended with the session."""
    started: list[ServerProcess] = []

    def start_one(kind: str, directory: Path | None = None, start: bool = True, **settings: object) -> ServerProcess:
        if kind == "apache":
            need_apache(pytestconfig)
        server = ServerProcess(kind, directory or tmp_path_factory.mktemp(kind), **settings)
        started.append(server)
        return server.start() if start else server

    yield start_one
    for server in started:
        server.kill9()


@pytest.fixture(scope="session")
def start_ensemble(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Callable[..., EnsembleProcesses]]:
    """start_ensemble("ours", "apache", ..., observers="apache", start=True, **zoo_cfg): see EnsembleProcesses."""
    started: list[EnsembleProcesses] = []

    def start_one(*kinds: str, start: bool = True, **options: object) -> EnsembleProcesses:
        from tests.ensembles import EnsembleProcesses

        ensemble = EnsembleProcesses(tmp_path_factory.mktemp("ensemble"), *kinds, **options)  # type: ignore[arg-type]
        if "apache" in ensemble.kinds.values():
            need_apache(pytestconfig)
        started.append(ensemble)
        return ensemble.start() if start else ensemble

    yield start_one
    for ensemble in started:
        ensemble.close()


@pytest.fixture(scope="session")
def our_server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server("ours")


@pytest.fixture(scope="session")
def apache_server(
    start_server: Callable[..., ServerProcess], pytestconfig: pytest.Config
) -> ServerProcess | RunningServer:
    given = pytestconfig.getoption("--zookeeper")
    return RunningServer(given) if given else start_server("apache")


@pytest.fixture(scope="session", params=["ours", pytest.param("apache", marks=pytest.mark.apache)])
def server(request: pytest.FixtureRequest) -> ServerProcess | RunningServer:
    return request.getfixturevalue("our_server" if request.param == "ours" else "apache_server")  # type: ignore[no-any-return]


@pytest.fixture
def hosts(server: ServerProcess | RunningServer) -> str:
    return server.hosts


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """A path of this test's own, so that tests share a server without meeting."""
    nodeid = request.node.nodeid
    return f"/{re.sub(r'[^A-Za-z0-9]+', '-', nodeid)[-70:].strip('-')}-{zlib.crc32(nodeid.encode()):08x}"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Wire:
    """A client of raw frames, independent of our own client and codec, so that both are judged by the bytes.

    It sends no pings, so it asks for a session that lasts as long as a test does on a busy machine. A single server
    grants 20 ticks, 10 s, an ensemble of EnsembleProcesses all of it.
    """

    def __init__(self, port: int, *, timeout_ms: int = 40_000, session: tuple[int, bytes] = (0, bytes(16))) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.xid = 0
        self.events: list[tuple[int, bytes]] = []
        session_id, password = session
        self.send(struct.pack(">iqiqi16s?", 0, 0, timeout_ms, session_id, 16, password, False))
        try:
            answer = self.receive()
        except (EOFError, OSError):
            self.sock.close()
            raise
        _, self.timeout_ms, self.session_id, _ = struct.unpack_from(">iiqi", answer)
        self.password = answer[20:36]

    @property
    def session(self) -> tuple[int, bytes]:
        return self.session_id, self.password

    def send(self, payload: bytes) -> None:
        self.sock.sendall(struct.pack(">i", len(payload)) + payload)

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.sock.recv(size - len(got))
            if not piece:
                raise EOFError("the server closed the connection")
            got += piece
        return got

    def receive(self) -> bytes:
        return self._exactly(struct.unpack(">i", self._exactly(4))[0])

    def post(self, op: int, body: bytes = b"", xid: int | None = None) -> int:
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send(struct.pack(">ii", xid, op) + body)
        return xid

    def reply(self) -> tuple[int, int, int, bytes]:
        """The next reply as (xid, zxid, error, body); notifications on the way go to `events`."""
        while True:
            payload = self.receive()
            xid, zxid, error = struct.unpack_from(">iqi", payload)
            if xid != -1:
                return xid, zxid, error, payload[16:]
            event, _ = struct.unpack_from(">ii", payload, 16)
            self.events.append((event, payload[28:]))

    def call(self, op: int, body: bytes = b"") -> tuple[int, bytes]:
        xid = self.post(op, body)
        got, _, error, answer = self.reply()
        assert got == xid
        return error, answer

    def create(self, path: str, data: bytes = b"", flags: int = 0) -> int:
        return self.call(1, self.text(path) + self.text(data) + OPEN_ACL + struct.pack(">i", flags))[0]

    @staticmethod
    def text(value: str | bytes | None) -> bytes:
        if value is None:
            return struct.pack(">i", -1)
        raw = value.encode() if isinstance(value, str) else value
        return struct.pack(">i", len(raw)) + raw

    def close_session(self) -> None:
        self.call(-11)
        self.close()

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """wire(port): a raw connection with a session, closed when the test ends."""
    opened: list[Wire] = []

    def open_one(port: int, **options: object) -> Wire:
        opened.append(Wire(port, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()
