"""A server as one of an ensemble: its peer ports beside its client port."""

import asyncio

import pytest

from recipes.core.config import ServerConfig
from recipes.core.server import admin_http
from recipes.core.server.server import Server
from recipes.core.zab.membership import parse_membership
from tests.ensembles import ReservedPorts


@pytest.mark.asyncio
async def test_a_client_may_come_while_the_ports_are_still_being_opened(tmp_path, monkeypatch):
    listen, heard = admin_http.listen, []

    async def ask_and_listen(stack, server, address, port):  # the admin port is opened behind the clients'
        reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
        writer.write(b"srvr")
        heard.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        return await listen(stack, server, address, port)

    monkeypatch.setattr(admin_http, "listen", ask_and_listen)
    ports = ReservedPorts()
    members = parse_membership({f"server.{sid}": f"127.0.0.1:{ports.take()}:{ports.take()}" for sid in (1, 2)})
    settings = {"membership": members, "server_id": 1, "client_port": 0, "admin_enabled": True, "admin_port": 0}
    async with Server(ServerConfig(data_dir=tmp_path, **settings)) as server:
        assert not server.failed.done()
    ports.close()
    assert heard[0] == b"This ZooKeeper instance is not currently serving requests\n"
