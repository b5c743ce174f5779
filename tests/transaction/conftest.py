"""Clients, and real databases."""

import importlib.util

import anyio
import pytest

from recipes import connect
from recipes.transaction.participant import BranchId
from tests.transaction.servers import MARIADB, POSTGRES, MariaDb, Postgres
from tests.transaction.services import Service

SECONDS = 60
CONNECTOR = importlib.util.find_spec("mariadb") is not None


@pytest.fixture
async def client(hosts):
    async with connect(hosts) as client:
        yield client


@pytest.fixture(scope="module")
def running():
    pytest.importorskip("httpx", reason="needs httpx")
    pytest.importorskip("uvicorn", reason="needs uvicorn")
    service = Service()
    service.start()
    yield service
    service.stop()


@pytest.fixture
def service(running):
    """A Service that runs; a test sets its `app`."""
    running.asked.clear()
    yield running
    running.app = None


@pytest.fixture(scope="session")
def start_postgres(need_tool):
    """A function that starts a server of its own; all end with the run."""
    need_tool("PostgreSQL 15 (Debian package postgresql-15)", POSTGRES is not None)
    yield from start_each(Postgres)


@pytest.fixture(scope="session")
def start_mariadb(need_tool):
    """As start_postgres."""
    need_tool("MariaDB (Debian package mariadb-server)", MARIADB)
    need_tool("MariaDB's connector (extra mariadb; Debian packages libmariadb-dev, gcc)", CONNECTOR)
    yield from start_each(MariaDb)


def start_each(kind):
    started = []

    def start(**settings):
        started.append(kind(**settings))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="session")
def postgres(start_postgres):
    return start_postgres()


@pytest.fixture
def branch(request):
    """A branch of a transaction of its own."""
    return BranchId("0000abcd", f"1-{abs(hash(request.node.nodeid)):x}", "bank")


@pytest.fixture(scope="session")
def second_postgres(start_postgres):
    return start_postgres()


@pytest.fixture(scope="session")
def mariadb(start_mariadb):
    return start_mariadb()


async def eventually(condition):
    """Poll until `condition()` is true."""
    with anyio.fail_after(SECONDS):
        while not await condition():
            await anyio.sleep(0.01)
