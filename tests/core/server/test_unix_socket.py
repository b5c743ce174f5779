"""Clients on a Unix socket: they have no address, so that nothing that is about addresses is about them."""

import os
import stat
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from recipes import ACL, BadArguments, Id, NoAuth, NoNode, ServerConfig, connect
from recipes.core.client.hosts import parse_hosts
from recipes.core.server.server import Server

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def served(tmp_path, **settings):
    path = tmp_path / "socket"
    async with Server(ServerConfig(data_dir=tmp_path / "data", client_port=0, **settings)) as server:
        listener = server.listen_on_socket(path)
        try:
            yield f"unix:{path}", f"127.0.0.1:{server.client_port}"
        finally:
            listener.close()


async def test_only_its_owner_reaches_it_and_what_was_there_is_replaced(tmp_path):
    (tmp_path / "socket").touch()
    async with served(tmp_path) as (local, _):
        assert stat.S_IMODE(os.stat(tmp_path / "socket").st_mode) == 0o600
        async with connect(local) as client:
            assert "zookeeper" in await client.children("/")


async def test_no_limit_by_address_counts_there(tmp_path):
    async with served(tmp_path, max_connections_per_ip=1) as (local, _), AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connect(local))


async def test_acls_by_address_never_match_there(tmp_path):
    async with served(tmp_path) as (local, remote), connect(local) as client, connect(remote) as other:
        await other.create("/by-address", b"x", acl=[ACL(31, Id("ip", "127.0.0.1"))])
        await other.create("/by-any-address", b"x", acl=[ACL(31, Id("ip", "0.0.0.0/0"))])
        assert (await other.get("/by-address"))[0] == b"x"
        for path in ("/by-address", "/by-any-address"):
            with pytest.raises(NoAuth):
                await client.get(path)
        await client.add_auth("ip", "127.0.0.1")  # as on a port, it says no more than the connection does
        with pytest.raises(NoAuth):
            await client.get("/by-address")


async def test_a_chroot_stands_behind_the_path(tmp_path):
    async with served(tmp_path) as (local, _), connect(local) as client, connect(f"{local}:/app") as below:
        with pytest.raises(NoNode):
            await below.create("/a")
        await client.create("/app")
        await below.create("/a")
        assert await client.exists("/app/a") is not None


async def test_how_a_socket_is_named():
    assert parse_hosts("unix:/run/a.sock") == ([("unix:/run/a.sock", 0)], "")
    assert parse_hosts("unix:/run/a,b.sock:/app/one") == ([("unix:/run/a,b.sock", 0)], "/app/one")
    for wrong in ("unix:", "unix:relative.sock"):
        with pytest.raises(BadArguments, match="expected unix:/PATH"):
            parse_hosts(wrong)
