import asyncio
import json
import socket
from unittest.mock import Mock

import pytest
import uvloop

from recipes.core.config import ServerConfig
from recipes.core.errors import DiskError
from recipes.core.server import flusher
from recipes.core.server.client_port import ClientProtocol, read_buffer
from recipes.core.server.server import Server
from recipes.core.server.settings import member_config
from tests.descriptors import no_more_descriptors

HANDSHAKE = bytes.fromhex("0000002d00000000000000000000000000002710000000000000000000000010") + bytes(17)


def config(tmp_path, **settings):
    return ServerConfig(data_dir=tmp_path, client_port=0, four_letter_whitelist=("*",), **settings)


async def frame(reader):
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


async def session(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
    writer.write(HANDSHAKE)
    reply = await frame(reader)
    assert reply[8:16] != bytes(8)
    return reader, writer


def text(data):
    return len(data).to_bytes(4, "big") + data


def create(xid, path, data):
    acl = (1).to_bytes(4, "big") + (31).to_bytes(4, "big") + text(b"world") + text(b"anyone")
    return text(xid.to_bytes(4, "big") + (1).to_bytes(4, "big") + text(path) + text(data) + acl + bytes(4))


def get(xid, path):
    return text(xid.to_bytes(4, "big") + (4).to_bytes(4, "big") + text(path) + b"\0")


def header(reply):
    return int.from_bytes(reply[:4], "big"), int.from_bytes(reply[12:16], "big", signed=True)


async def ask(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.asyncio
async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path):
    async with Server(config(tmp_path)) as server:
        reader, writer = await session(server)
        writer.write(create(1, b"/a", b"x") + get(2, b"/a"))
        assert header(await frame(reader)) == (1, 0)
        assert header(await frame(reader)) == (2, 0)
        writer.close()
    async with Server(config(tmp_path)) as server:
        reader, writer = await session(server)
        writer.write(get(1, b"/a"))
        assert (await frame(reader))[16:21] == text(b"x")
        writer.close()


@pytest.mark.asyncio
async def test_newcomer_30_one_txn_is_recovered_and_not_1_txns(tmp_path, caplog):
    caplog.set_level("INFO", "recipes.server")
    for said in ("0 txns", "1 txn", "2 txns"):
        async with Server(config(tmp_path)) as server:
            assert caplog.messages[-1].endswith(f"snapshot 0x0 and {said}")
            _, writer = await session(server)  # its creation is a txn
            writer.close()


@pytest.mark.asyncio
async def test_a_slow_disk_is_served_by_the_thread_with_the_same_result(tmp_path, monkeypatch):
    monkeypatch.setattr(flusher, "_INLINE_LIMIT_S", 0.0)
    async with Server(config(tmp_path)) as server:
        reader, writer = await session(server)
        writer.write(b"".join(create(xid, b"/n%d" % xid, b"x") for xid in range(1, 51)))
        assert [header(await frame(reader)) for _ in range(50)] == [(xid, 0) for xid in range(1, 51)]
        assert server._flusher.batches_in_thread == server._flusher.batches > 1
        writer.close()


@pytest.mark.asyncio
async def test_snapshots_are_written_while_serving_and_start_the_next_server(tmp_path):
    async with Server(config(tmp_path, snap_count=10)) as server:
        reader, writer = await session(server)
        for xid in range(1, 31):
            writer.write(create(xid, b"/n%d" % xid, b"x"))
            assert header(await frame(reader)) == (xid, 0)
        async with asyncio.timeout(60):
            while not [name for name in (tmp_path / "version-2").glob("snapshot.*") if name.name != "snapshot.0"]:
                writer.write(get(99, b"/n1"))
                await frame(reader)
        writer.close()
    async with Server(config(tmp_path)) as server:
        assert {b"/n%d" % xid for xid in range(1, 31)} <= dict(server.member.tree.items()).keys()


@pytest.mark.asyncio
async def test_a_data_directory_serves_one_server_only(tmp_path):
    async with Server(config(tmp_path)):
        with pytest.raises(DiskError, match="locked by another server"):
            async with Server(config(tmp_path)):
                pass


@pytest.mark.asyncio
async def test_a_taken_port_is_an_error_and_leaves_the_directory_free(tmp_path):
    async with Server(config(tmp_path / "one")) as server:
        taken = ServerConfig(data_dir=tmp_path / "two", client_port=server.client_port)
        with pytest.raises(OSError, match="in use"):
            async with Server(taken):
                pass
    async with Server(config(tmp_path / "two")):
        pass


@pytest.mark.asyncio
async def test_one_address_gets_no_more_connections_than_allowed(tmp_path):
    async with Server(config(tmp_path, max_connections_per_ip=1)) as server:
        _, writer = await session(server)
        reader, second = await asyncio.open_connection("127.0.0.1", server.client_port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            second.write(HANDSHAKE)
            await reader.readexactly(4)
        writer.close()
        second.close()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("turns", range(8))
def test_closing_ends_though_a_client_connects_at_that_moment(tmp_path, turns, factory):
    """The loop makes the protocol some turns behind the accept, when the port may be closed."""

    async def close():
        async with asyncio.timeout(60):
            async with Server(config(tmp_path)) as server:
                _, writer = await session(server)  # that it is hung up on takes a turn
                late = socket.create_connection(("127.0.0.1", server.client_port))
                for _ in range(turns):
                    await asyncio.sleep(0)
        writer.close()
        late.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(close())


@pytest.mark.asyncio
async def test_a_client_that_comes_behind_the_closing_is_hung_up_on(tmp_path):
    async with Server(config(tmp_path)) as server:
        late = ClientProtocol(server, read_buffer())
    transport = Mock()
    late.connection_made(transport)
    transport.abort.assert_called_once()


@pytest.mark.asyncio
async def test_a_client_that_opens_no_session_is_hung_up_on(tmp_path):
    async with Server(config(tmp_path, sessionless_timeout_ms=50)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
        async with asyncio.timeout(60):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()


@pytest.mark.asyncio
async def test_random_bytes_disturb_no_one_else(tmp_path):
    async with Server(config(tmp_path)) as server:
        reader, writer = await session(server)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, bytes(64), bytes.fromhex("00000004") + b"\xff" * 4):
            _, other = await asyncio.open_connection("127.0.0.1", server.client_port)
            other.write(garbage)
            other.write_eof()
            other.close()
        writer.write(create(1, b"/a", b"x"))
        assert header(await frame(reader)) == (1, 0)
        assert not server.failed.done()
        writer.close()


@pytest.mark.asyncio
async def test_a_write_that_fails_ends_the_server_without_a_reply(tmp_path, monkeypatch):
    async with Server(config(tmp_path)) as server:
        _, writer = await session(server)

        def broken(entries):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(server._flusher._log.__class__, "append", lambda self, entries: broken(entries))
        writer.write(create(1, b"/a", b"x"))
        with pytest.raises(DiskError, match="Input/output error"):
            await asyncio.wait_for(asyncio.shield(server.failed), 30)
        assert b"/a" not in dict(server.member.tree.items())
        writer.close()


@pytest.mark.asyncio
async def test_the_admin_port_answers_as_zookeeper_does(tmp_path):
    async with Server(config(tmp_path, admin_enabled=True, admin_port=0)) as server:
        port = server.admin_port

        async def page(path):
            head, _, body = (await ask(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())).partition(
                b"\r\n\r\n"
            )
            return int(head.split()[1]), body.decode()

        assert await page("/livez") == (200, "ok\n")
        assert await page("/readyz") == (200, "ok\n")
        status, body = await page("/commands/ruok")
        assert (status, json.loads(body)) == (200, {"command": "ruok", "error": None})
        assert json.loads((await page("/commands/mntr"))[1])["server_state"] == "standalone"
        assert json.loads((await page("/commands/nothing"))[1])["error"] == "Unknown command: nothing"
        assert "# TYPE znode_count gauge\nznode_count " in (await page("/metrics"))[1]
        assert (await page("/elsewhere"))[0] == 404
        for name in ("configuration", "connections", "dump", "environment", "stats", "watches"):
            assert json.loads((await page(f"/commands/{name}"))[1])["error"] is None
        server.member.no_space(True)
        assert await page("/readyz") == (503, "no space for writes\n")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("word", "begins"),
    [
        (b"ruok", b"imok"),
        (b"srvr", b"Zookeeper version: 3.8"),
        (b"mntr", b"zk_version\t3.8"),
        (b"envi", b"Environment:\nzookeeper.version=3.8"),
        (b"dump", b"SessionTracker dump:\nSession Sets (0)/(0):\n"),
        (b"cons", b" /127.0.0.1:"),
        (b"conf", b"clientPort="),
    ],
)
async def test_four_letter_words_are_answered_and_hung_up_on(tmp_path, word, begins):
    async with Server(config(tmp_path)) as server:
        assert (await ask(server.client_port, word)).startswith(begins)


def test_server_0_gives_out_other_session_ids_than_server_1(tmp_path):
    # As the first byte of each id the sid is what keeps the servers of an ensemble from giving out the same one.
    by_sid = {sid: member_config(ServerConfig(data_dir=tmp_path, myid=sid)).server_id for sid in (0, 1, None)}
    assert by_sid == {0: 0, 1: 1, None: 1}


@pytest.mark.asyncio
async def test_a_log_directory_that_is_added_later_does_not_hide_what_was_acknowledged(tmp_path):
    async with Server(config(tmp_path / "data")) as server:
        reader, writer = await session(server)
        writer.write(create(1, b"/a", b"x"))
        assert header(await frame(reader)) == (1, 0)
        writer.close()
    logs = tmp_path / "logs" / "version-2"
    with pytest.raises(DiskError, match=r"move the log\.\* files to "):
        async with Server(config(tmp_path / "data", data_log_dir=tmp_path / "logs")):
            pass
    assert not logs.exists()
    logs.mkdir(parents=True)
    for path in (tmp_path / "data" / "version-2").glob("log.*"):
        path.rename(logs / path.name)
    async with Server(config(tmp_path / "data", data_log_dir=tmp_path / "logs")) as server:
        assert b"/a" in dict(server.member.tree.items())


@pytest.mark.asyncio
async def test_figures_that_are_asked_for_without_a_descriptor_left_do_not_end_the_server(tmp_path, caplog):
    async with Server(config(tmp_path)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
        async with asyncio.timeout(60):
            while not server.member.connections:
                await asyncio.sleep(0)
        with no_more_descriptors():
            writer.write(b"dirs")
            assert await reader.read() == b"datadir_size: 0\nlogdir_size: 0\n"
        assert not server.failed.done()
        assert "cannot be read, so it is reported as empty: Too many open files" in caplog.text
        writer.close()


@pytest.mark.asyncio
async def test_a_member_that_is_served_alone_is_told_what_may_not_follow(tmp_path, caplog):
    async with Server(config(tmp_path)):
        assert caplog.text == ""
    (tmp_path / "version-2" / "currentEpoch").write_text("1")
    async with Server(config(tmp_path)):
        assert "do not take it back to that ensemble" in caplog.text
