"""A client that is used outside its block, or with arguments of the wrong kind, says so."""

import asyncio

import anyio
import pytest

from recipes import BadArguments, ClientClosed, ConnectionLoss, Election, Lock, SessionExpired, connect
from recipes.testing import Ensemble

pytestmark = pytest.mark.anyio

SECONDS = 60


async def take_lock(client):
    async with Lock(client, "/misuse/lock"):
        pytest.fail("held")


async def try_lock(client):
    async with Lock(client, "/misuse/lock").try_acquire():
        pytest.fail("asked")


async def lead(client):
    async with Election(client, "/misuse/election").lead():
        pytest.fail("led")


async def read(client):
    await client.get("/")


USES = pytest.mark.parametrize("use", [take_lock, try_lock, lead, read], ids=lambda use: use.__name__)


@USES
async def test_p15_a_client_that_was_never_entered_says_how_to(use):
    with pytest.raises(ClientClosed) as caught:
        await use(connect("127.0.0.1:1"))
    assert str(caught.value) == "the client is not connected: use it inside `async with connect() as client`"


@USES
async def test_p15_a_closed_client_says_so_and_not_that_something_was_lost(use, recipes_server):
    async with connect(recipes_server) as client:
        pass
    with pytest.raises(ClientClosed, match="the client is closed"):
        await use(client)


@pytest.mark.parametrize("use", [take_lock, try_lock, lead, read], ids=lambda use: use.__name__)
def test_w5_a_second_loop_in_the_same_thread_is_refused_and_the_first_one_goes_on(use):
    """As a web framework or a notebook makes one for each request."""

    async def held():
        async with Lock(client, "/locks/a") as grant:
            return not grant.ended.is_set()

    with asyncio.Runner() as first:
        client = connect(private=True)
        first.run(client.__aenter__())
        try:
            with asyncio.Runner() as second, pytest.raises(RuntimeError, match="belongs to another event loop"):
                second.run(use(client))
            assert first.run(held())
        finally:
            first.run(client.__aexit__(None, None, None))


@USES
async def test_a_client_whose_session_is_over_says_so_and_not_that_something_was_lost(use):
    async with Ensemble(1) as ensemble, connect(ensemble.hosts) as client:
        await ensemble.expire(client)
        with anyio.fail_after(SECONDS):
            await client.session.lost_event.wait()
        with pytest.raises(SessionExpired):
            await use(client)


async def test_a_client_is_entered_once(recipes_server):
    client = connect(recipes_server)
    for _ in range(2):  # while it is open, and after it was closed
        if client.session.id == 0:
            async with client:
                with pytest.raises(RuntimeError, match="entered once"):
                    await client.__aenter__()
                await client.get("/")
        else:
            with pytest.raises(RuntimeError, match="entered once"):
                await client.__aenter__()


async def test_no_hosts_in_a_string_start_no_server():
    with pytest.raises(BadArguments, match="expected HOST or HOST:PORT"):
        async with connect(""):
            pytest.fail("connected")


def test_arguments_of_the_wrong_kind_are_named():
    with pytest.raises(TypeError, match="hosts: expected a string 'host:port,host:port', not \\['a'\\]"):
        connect(["a"])
    for auth in (("digest", "u:p"), ["digest"], [("digest",)]):
        with pytest.raises(TypeError, match="auth: expected pairs"):
            connect(auth=auth)


async def test_data_that_is_no_bytes_is_named(recipes_server):
    async with connect(recipes_server) as client:
        tx = client.multi()
        for write in (client.create, client.set):
            with pytest.raises(TypeError, match="data: expected bytes, not str"):
                await write("/a", "text")
        for write in (tx.create, tx.set):
            with pytest.raises(TypeError, match="data: expected bytes, not str"):
                write("/a", "text")
        with pytest.raises(TypeError, match="data: expected bytes, not str"):
            async with Lock(client, "/misuse/data", "text"):
                pytest.fail("held")


async def test_each_host_that_takes_nobody_in_is_named_with_the_reason():
    async with Ensemble(3) as ensemble:
        await ensemble.kill(1)
        await ensemble.kill(2)
        with pytest.raises(ConnectionLoss) as caught:
            async with connect(ensemble.hosts, session_timeout=3):
                pytest.fail("connected without a quorum")
        said = str(caught.value)
        assert said.startswith(f"no ZooKeeper server answers at {ensemble.hosts}: ")
        for sid in (1, 2):
            assert f"{ensemble.host(sid)}: Connection refused" in said
        assert f"{ensemble.host(3)}: it hung up: it may have no leader" in said
