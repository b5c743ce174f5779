"""Requests that no server takes are refused before they are sent, and leave the others alone."""

import math

import anyio
import pytest

from recipes import BadArguments, Election, Lock, connect
from recipes.core.client.call import Call, Watcher
from recipes.core.client.session import Session
from recipes.core.jute import opcodes as op
from recipes.core.jute.frames import MAX_FRAME_BYTES
from tests.core.client.scripted import SECONDS, scripted

pytestmark = pytest.mark.anyio

LONG = "/" + "x" * 1_100_000
BIG = bytes(1_200_000)


async def multi(client):
    async with client.multi() as together:
        for _ in range(2):
            together.set("/a", bytes(600_000))


USES = {
    "create": lambda client: client.create("/a", BIG),
    "create2": lambda client: client.create2("/a", BIG, make_parents=True),
    "set": lambda client: client.set("/a", BIG),
    "multi": multi,
    "delete": lambda client: client.delete(LONG),
    "get": lambda client: client.get(LONG),
    "exists": lambda client: client.exists(LONG),
    "children": lambda client: client.children(LONG),
    "get_watch": lambda client: client.get_watch(LONG),
    "children_watch": lambda client: client.children_watch(LONG),
    "watch": lambda client: client.watch(LONG).__aenter__(),
    "get_acl": lambda client: client.get_acl(LONG),
    "sync": lambda client: client.sync(LONG),
    "ephemerals": lambda client: client.ephemerals(LONG),
    "multi_read": lambda client: client.multi_read([("get", "/a" + "b" * 600_000), ("get", "/c" + "d" * 600_000)]),
    "ensure_path": lambda client: client.ensure_path(LONG),
    "add_auth": lambda client: client.add_auth("digest", "u:" + "p" * 1_100_000),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
async def test_w6_f4_a_request_larger_than_servers_take_is_refused_before_it_is_sent(use):
    async with scripted(timeout_ms=10_000) as server, connect(server.hosts) as client:
        with anyio.fail_after(SECONDS), pytest.raises(BadArguments, match=f"{MAX_FRAME_BYTES}") as caught:
            await use(client)
        assert "may have been applied" not in str(caught.value)
        assert len(str(caught.value)) < 400
        await client.get("/a")
        assert server.opcodes == [op.GET_DATA]
        assert server.connections == 1


async def test_w6_a_recipe_with_too_much_data_raises_and_is_not_sent_again_and_again(our_server, root):
    async with connect(our_server.hosts) as client:
        with anyio.fail_after(SECONDS), pytest.raises(BadArguments, match="servers take up to"):
            async with Lock(client, root, data=BIG):
                pytest.fail("held")
        with anyio.fail_after(SECONDS), pytest.raises(BadArguments, match="servers take up to"):
            async with Election(client, root, data=BIG).lead():
                pytest.fail("led")
        assert await client.children("/") is not None


async def test_the_largest_request_that_is_sent_is_taken(our_server, root):
    async with connect(our_server.hosts) as client:
        await client.create(root)
        overhead = 8 + 4 + len(root) + 4 + 4
        await client.set(root, bytes(MAX_FRAME_BYTES - overhead))
        with pytest.raises(BadArguments, match="servers take up to"):
            await client.set(root, bytes(MAX_FRAME_BYTES - overhead + 1))
        assert (await client.exists(root)).version == 1


async def test_the_limit_is_that_of_the_servers():
    async with scripted(timeout_ms=10_000) as server:
        async with connect(server.hosts, max_request_bytes=4096) as client:
            with pytest.raises(BadArguments, match=r"5\d\d\d bytes and was not sent: servers take up to 4096 "):
                await client.set("/a", bytes(5000))
        async with connect(server.hosts, max_request_bytes=4 << 20) as client:
            call = Call(op.SET_DATA, bytes(2 << 20))
            assert client._submit(call) is call


class Recorder(Watcher):
    def fire(self, kind, path):
        pass


def test_w6_every_frame_that_restores_watches_is_one_that_servers_take():
    session = Session(10.0)
    longest = MAX_FRAME_BYTES - 40  # the longest that may be watched
    for table in session.watches:
        for name in (b"/a" * 60_000, b"/b" * (longest // 2), b"/c"):
            session.watches[table][name] = [Recorder()]
    frames = session.restore()
    assert max(len(part) - 4 for part in frames) <= MAX_FRAME_BYTES
    assert sum(part.count(b"/c") for part in frames) == 5


@pytest.mark.parametrize("given", [0, 4095, 1 << 31, 1e6, "1000000", None])
def test_a_limit_that_is_none_is_named(given):
    with pytest.raises(BadArguments, match=f"max_request_bytes={given!r}: expected bytes"):
        connect("127.0.0.1:1", max_request_bytes=given)


def test_credentials_that_no_server_takes_are_named():
    with pytest.raises(BadArguments, match="credentials of 2000000 bytes"):
        connect("127.0.0.1:1", auth=[("digest", "x" * 2_000_000)])


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf])
def test_a_session_timeout_that_is_none_is_named(timeout):
    with pytest.raises(BadArguments, match=f"session_timeout={timeout}: expected seconds"):
        connect("127.0.0.1:1", session_timeout=timeout)


WRONG = {
    "path of bytes": (lambda client: client.get(b"/a"), "path: expected a str, not bytes"),
    "no path": (lambda client: client.create(None), "path: expected a str, not NoneType"),
    "no path, sequential": (lambda client: client.create(None, sequential=True), "path: expected a str, not NoneType"),
    "path that is a list": (lambda client: client.exists(["/a"]), "path: expected a str, not list"),
    "version of text": (lambda client: client.set("/a", b"", version="1"), "version: expected an int, not str"),
    "version of nothing": (lambda client: client.delete("/a", version=None), "version: expected an int, not NoneType"),
}


@pytest.mark.parametrize(("use", "said"), WRONG.values(), ids=WRONG.keys())
async def test_weak_12_arguments_of_another_type_are_named(use, said):
    async with scripted(timeout_ms=10_000) as server, connect(server.hosts) as client:
        with pytest.raises(TypeError, match=said):
            await use(client)
        assert server.opcodes == []


async def test_numbers_out_of_range_are_named():
    async with scripted(timeout_ms=10_000) as server, connect(server.hosts) as client:
        for use, said in (
            (client.set("/a", b"", version=1 << 40), "version=1099511627776: expected"),
            (client.create("/a", ttl=-1.0), "ttl=-1.0: expected seconds"),
            (client.create("/a", ttl=math.nan), "ttl=nan: expected seconds"),
            (client.multi_read([("stat", "/a")]), "'stat': expected 'get' or 'children'"),
        ):
            with pytest.raises(BadArguments, match=said):
                await use
        assert server.opcodes == []
