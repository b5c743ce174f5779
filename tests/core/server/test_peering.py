"""A server as one of an ensemble: its peer ports beside its client port."""

import asyncio
import re
import socket
from contextlib import closing, contextmanager

import pytest

from recipes.core.config import ServerConfig
from recipes.core.ensemble import parse_membership
from recipes.core.jute.quorum import ACK, encode_packet
from recipes.core.quorum import Membership
from recipes.core.server import admin_http, peering
from recipes.core.server.server import Server
from tests.ports import ReservedPorts


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


@pytest.mark.asyncio
async def test_a_member_without_a_leader_is_not_ready(tmp_path):
    ports = ReservedPorts()
    members = parse_membership({f"server.{sid}": f"127.0.0.1:{ports.take()}:{ports.take()}" for sid in (1, 2)})
    settings = {"membership": members, "server_id": 1, "client_port": 0, "admin_enabled": True, "admin_port": 0}
    async with Server(ServerConfig(data_dir=tmp_path, **settings)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.admin_port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await reader.read()
        writer.close()
    ports.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\nno leader\n")


@contextmanager
def settings(tmp_path, **hosts):
    """Of server 1 of three; hosts: by server, where it is not this machine's loopback."""
    ports = ReservedPorts()
    where = {sid: hosts.get(f"server{sid}", "127.0.0.1") for sid in (1, 2, 3)}
    lines = {f"server.{sid}": f"{host}:{ports.take()}:{ports.take()}" for sid, host in where.items()}
    try:
        yield {"data_dir": tmp_path, "membership": parse_membership(lines), "server_id": 1, "client_port": 0}
    finally:
        ports.close()


async def until(holds):
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_who_stays_without_a_leader_says_so_and_whom_it_misses(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(peering, "_STILL_LOOKING_S", 0.05)
    caplog.set_level("INFO", "recipes.server")
    with settings(tmp_path) as stated:
        async with Server(ServerConfig(**stated, read_only_mode=True)):
            await until(lambda: caplog.messages.count("still no leader: no contact with servers 2, 3") >= 3)
    assert len([said for said in caplog.messages if said.startswith("read-only mode is not available")]) == 1


@pytest.mark.asyncio
async def test_who_has_a_leader_says_no_more_of_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(peering, "_STILL_LOOKING_S", 0.05)
    with settings(tmp_path / "1") as stated:
        async with Server(ServerConfig(**stated)) as first:
            await until(lambda: "still no leader: no contact with servers 2, 3" in caplog.messages)
            second = stated | {"data_dir": tmp_path / "2", "server_id": 2}
            async with Server(ServerConfig(**second)):
                await until(lambda: first._peering.peer.serving)
                await until(lambda: first._peering._reminder is None)


@pytest.mark.asyncio
async def test_review_5_what_breaks_the_protocol_between_servers_is_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO", "recipes.server")
    with settings(tmp_path / "1") as stated:
        second = stated | {"data_dir": tmp_path / "2", "server_id": 2}
        async with Server(ServerConfig(**stated)) as first, Server(ServerConfig(**second)):
            await until(lambda: first._peering.peer.serving)
            leader = 1 if first._peering.peer.leader is not None else 2
            port = stated["membership"].servers[leader].quorum_port
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(encode_packet(ACK, 1))
            why = "ACK in the stage CONNECTED: expected FOLLOWERINFO, OBSERVERINFO"
            await until(lambda: f"the connection to an unknown server is closed: {why}" in caplog.messages)
            writer.close()


@pytest.mark.asyncio
async def test_a_peer_whose_name_is_not_known_yet_is_named_once_and_stops_nobody(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(peering, "_STILL_LOOKING_S", 0.2)
    with settings(tmp_path, server2="nosuch.invalid") as stated:
        async with Server(ServerConfig(**stated)) as server:
            await until(lambda: sum("still no leader" in said for said in caplog.messages) >= 3)
            assert not server.failed.done()
    assert caplog.messages.count("server 2: name nosuch.invalid not known yet: it is looked up again") == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("nosuch.invalid", "server.1: nosuch.invalid: name not known"),
        ("192.0.2.7", "server.1: 192.0.2.7 is no address of this machine: is server.1 this machine? myid says 1"),
    ],
)
async def test_an_address_of_its_own_that_it_cannot_have_is_named(tmp_path, monkeypatch, host, why):
    monkeypatch.setattr(peering, "_PORT_PAUSE_S", 0.001)
    with settings(tmp_path, server1=host) as stated:
        with pytest.raises(OSError, match=re.escape(why)):
            async with Server(ServerConfig(**stated)):
                pass


@pytest.mark.asyncio
async def test_a_quorum_port_that_is_taken_is_found_at_the_start_unless_it_is_an_observers(tmp_path):
    with settings(tmp_path) as stated:
        members = stated["membership"]
        with socket.create_server(("127.0.0.1", members.servers[1].quorum_port)):
            with pytest.raises(OSError, match=r"server\.1: cannot listen on port \d+ of 127\.0\.0\.1: address already"):
                async with Server(ServerConfig(**stated)):
                    pass
            observing = Membership([members.servers[1]._replace(observer=True), *list(members.servers.values())[1:]])
            async with Server(ServerConfig(**stated | {"membership": observing})) as server:
                assert not server.failed.done()


@pytest.mark.asyncio
@pytest.mark.parametrize("which", ["quorum_port", "election_port"])
@pytest.mark.parametrize("most_tries", [0, 3])
async def test_servers_11_a_port_that_a_predecessor_still_has_is_waited_for(
    tmp_path, monkeypatch, caplog, which, most_tries
):
    monkeypatch.setattr(peering, "_PORT_PAUSE_S", 0.01)
    with settings(tmp_path) as stated, socket.socket() as predecessor:
        predecessor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the test's own reservation
        predecessor.bind(("127.0.0.1", getattr(stated["membership"].servers[1], which)))
        predecessor.listen()
        tries, pause = [], asyncio.sleep

        async def let_go(seconds):
            if seconds == peering._PORT_PAUSE_S:
                tries.append(seconds)
                if len(tries) == 2:
                    predecessor.close()
            await pause(seconds)

        monkeypatch.setattr(peering.asyncio, "sleep", let_go)
        async with Server(ServerConfig(**stated, election_port_tries=most_tries)) as server:
            assert not server.failed.done()
        assert len(tries) == 2
    said = [text for text in caplog.messages if text.startswith("server.1: cannot listen on port ")]
    assert [text.partition("; ")[2] for text in said] == [
        f"trying again every second (electionPortBindRetry={most_tries})"
    ]


@pytest.mark.asyncio
async def test_servers_11_an_own_name_that_comes_later_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(peering, "_PORT_PAUSE_S", 0.01)
    loop, asked = asyncio.get_running_loop(), []
    getaddrinfo = loop.getaddrinfo

    async def known_later(host, port, **options):
        if host == "zk-1.case":
            asked.append(host)
            if len(asked) < 5:
                raise socket.gaierror("not known")
            host = "127.0.0.1"
        return await getaddrinfo(host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", known_later)
    with settings(tmp_path, server1="zk-1.case") as stated:
        async with Server(ServerConfig(**stated, election_port_tries=0)) as server:
            assert not server.failed.done()
    assert len(asked) >= 5


@pytest.mark.asyncio
async def test_servers_11_after_as_many_tries_as_are_allowed_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(peering, "_PORT_PAUSE_S", 0.001)
    with settings(tmp_path) as stated, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the test's own reservation
        other.bind(("127.0.0.1", stated["membership"].servers[1].election_port))
        other.listen()
        with pytest.raises(OSError, match=r"^server\.1: cannot listen"):
            async with Server(ServerConfig(**stated, election_port_tries=2)):
                pass


@pytest.mark.asyncio
async def test_servers_5_an_empty_member_votes_once_an_operator_says_so(tmp_path, caplog):
    said = "there is no data, and db.autocreate=false"
    for initialize in (False, True, True):  # then it has data
        with settings(tmp_path) as stated:
            if initialize:
                (tmp_path / "initialize").touch()
            caplog.clear()
            async with Server(ServerConfig(**stated, trust_empty_database=False)):
                assert any(said in text for text in caplog.messages) != initialize
            assert not (tmp_path / "initialize").exists()


@pytest.mark.asyncio
async def test_servers_with_several_addresses_find_each_other_at_any(tmp_path):
    with closing(ReservedPorts()) as ports:
        taken = {sid: (ports.take(), ports.take(), ports.take(), ports.take()) for sid in (1, 2)}
        # Server 2 reaches server 1 at its second address only, server 1 reaches server 2 at its first one.
        right = {f"server.{sid}": f"127.0.0.1:{a}:{b}|127.0.0.2:{c}:{d}" for sid, (a, b, c, d) in taken.items()}
        dead = ports.take()
        seen_by_2 = right | {"server.1": f"127.0.0.1:{dead}:{ports.take()}|127.0.0.2:{taken[1][2]}:{taken[1][3]}"}
        servers = [
            Server(
                ServerConfig(
                    data_dir=tmp_path / str(sid), membership=parse_membership(lines), server_id=sid, client_port=0
                )
            )
            for sid, lines in ((1, right), (2, seen_by_2))
        ]
        async with servers[0] as one, servers[1] as two:
            await until(lambda: one._peering.peer.serving and two._peering.peer.serving)
            view = one._peering.facts.voting_view()["2"]
            assert view["server_addresses"] == [f"127.0.0.1:{taken[2][0]}", f"127.0.0.2:{taken[2][2]}"]
