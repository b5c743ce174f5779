"""Chooses the tests of a run, and has the fixtures that they share: servers, ensembles, raw connections, paths."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.ports import free_port
from tests.remaining import Remaining
from tests.servers import APACHE_JARS, RunningServer, ServerProcess
from tests.timing import Timing
from tests.wire import Wire

if TYPE_CHECKING:
    from tests.ensembles import EnsembleProcesses

MOST_WORKERS = 4
failed = pytest.StashKey[bool]()
ensembles: pytest.StashKey[list[EnsembleProcesses]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--everything", action="store_true", help="the thorough tests too; a missing tool is a failure, not a skip"
    )
    parser.addoption("--remaining", action="store_true", help="without what the last run passed, of the same files")
    parser.addoption(
        "--within-limit", action="store_true", help="fail where a plain run takes more processor time than it may"
    )
    parser.addoption("--rewrite", action="store_true", help="transcripts: write what is expected anew, to be reviewed")
    parser.addoption("--zookeeper", metavar="HOST:PORT", help="compare with this running ZooKeeper")
    parser.addoption("--minutes", type=float, default=10.0, help="how long a soak of tests/chaos goes on")
    parser.addoption("--chaos-seed", type=int, help="a soak of tests/chaos is one run, with this seed")
    parser.addoption(
        "--protocol", choices=("zab", "raft"), default="zab", help="of the servers in a soak of tests/chaos"
    )
    parser.addoption(
        "--on", choices=("zab", "raft"), help="only tests on a server of ours that they share: a follower with this"
    )
    parser.addoption("--seed", type=int, metavar="N", help="replay one simulated run")
    parser.addoption("--seeds", default="1-5000", metavar="A-B", help="the seeds of a soak by simulation")
    parser.addoption("--ensemble", default="3+0", metavar="V+O", help="voters and observers of simulated ensembles")
    parser.addoption("--shrink", action="store_true", help="look for a shorter run that fails as --seed does")
    parser.addoption("--recipe", default="lock", metavar="NAME", help="whose steps a simulated run of recipes has")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Timing(), "timing")
    config.pluginmanager.register(Remaining(), "remaining")
    # A shell without job control ignores these signals in its background jobs, and programs that tests start would
    # inherit that.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    # No deadline: the time of an example depends on the load of the machine.
    hypothesis.settings.register_profile("everything", deadline=None)
    hypothesis.settings.register_profile("quick", deadline=None, max_examples=30)
    hypothesis.settings.load_profile("everything" if config.getoption("--everything") else "quick")
    directory = Path(tempfile.mkdtemp(prefix="recipes-store-"))
    config.add_cleanup(lambda: end_store(directory))
    os.environ["RECIPES_STORE"] = str(directory)
    os.environ["RECIPES_STORE_IDLE"] = "60"  # ends stores soon after a run that was killed
    os.environ.pop("RECIPES_HOSTS", None)
    # For the workers, and for hundreds of programs that tests start: without it each compiles everything again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The number of workers: none if files or tests are named, or for soak tests and single seeds."""
    named = all(Path(argument.partition("::")[0]).is_file() for argument in config.args)
    if named or config.option.markexpr or config.getoption("--seed") is not None:
        return 0
    # Many tests wait more than they compute.
    return min(2 * len(os.sched_getaffinity(0)), MOST_WORKERS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.schedule import ByFileAndServer

    return ByFileAndServer(config, log)


def end_store(directory: Path) -> None:
    """End the process of a store, if there is one, and remove the store."""
    from recipes.store.directory import StoreDirectory
    from recipes.store.moving import stop

    stop(StoreDirectory(directory))
    shutil.rmtree(directory, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `thorough`, unless the run asks for them; with --on, those on servers of their own."""
    whole = {Path(argument).absolute() for argument in config.args} == {config.rootpath / "tests"}
    for item in items:
        # Trio on Apache's server would only add time: tests run with trio on ours, and with asyncio on both. Nearly all
        # tests on trio also run on asyncio, so a run of all tests leaves trio out.
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "trio" in given and ("apache" in given or whole):
            item.add_marker(pytest.mark.thorough)
    asked_for = config.option.markexpr or ""
    if config.getoption("--everything") or any("::" in argument for argument in config.args):
        asked_for += " thorough"
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(marker) and marker not in asked_for for marker in ("soak", "thorough"))
    ]
    if config.getoption("--on"):
        left_out += [item for item in items if item not in left_out and not is_on_our_server(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        quick = set(items).difference(left_out)
        items[:] = [item for item in items if item in quick]


def is_on_our_server(item: pytest.Item) -> bool:
    """Whether it uses the server of ours that tests share, and it alone."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    used = set(getattr(item, "fixturenames", ())) - ({"server"} if "apache" in given else set())
    return bool(used & {"our_server", "server"}) and not used & {"start_server", "start_ensemble", "apache_server"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[object]:
    report = yield
    item.stash[failed] = item.stash.get(failed, False) or report.failed
    if report.failed and "start_ensemble" in getattr(item, "fixturenames", ()):
        # Those of this test, most likely: an ensemble that is closed tells nothing any more.
        for ensemble in item.config.stash.get(ensembles, [])[-2:]:
            if ensemble.running:
                report.sections.append(("servers of an ensemble", ensemble.describe()))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Collect what a failed test left open: found later, it would make a test fail that has nothing to do with it."""
    done = yield
    if item.stash.get(failed, False):
        sys.last_exc = sys.last_value = sys.last_traceback = None  # they keep its frames
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return done


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the tools that a test's markers name before any of its fixtures is made."""
    for marker in item.iter_markers("needs"):
        for tool in marker.args:
            need(item.config, tool, shutil.which(tool) is not None)
    if item.get_closest_marker("apache") and not item.config.getoption("--zookeeper"):
        need_apache(item.config)


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
    started: list[EnsembleProcesses] = pytestconfig.stash.setdefault(ensembles, [])

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
def our_server(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> ServerProcess:
    """With --on a follower: tests read by one client what another has just written, without a sync, so that all
    clients must be at the same server."""
    protocol = pytestconfig.getoption("--on")
    if protocol is None:
        return request.getfixturevalue("start_server")("ours")  # type: ignore[no-any-return]
    settings = {"protocol": protocol, "maxSessionTimeout": 10_000}  # of one server, 20 ticks
    ensemble = request.getfixturevalue("start_ensemble")("ours", "ours", "ours", **settings)
    return ensemble.servers[ensemble.followers()[0]]  # type: ignore[no-any-return]


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
    """A path for this test alone, so that tests that share a server do not disturb one another."""
    nodeid = request.node.nodeid
    return f"/{re.sub(r'[^A-Za-z0-9]+', '-', nodeid)[-70:].strip('-')}-{zlib.crc32(nodeid.encode()):08x}"


@pytest.fixture
def silent_port() -> int:
    """A port on 127.0.0.1 at which no process listens, or will listen while this process lives."""
    return free_port()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
