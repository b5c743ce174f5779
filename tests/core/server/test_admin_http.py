"""The admin port and the metrics port, against whoever reaches them (hostile F7)."""

import asyncio
import json
import socket
from contextlib import ExitStack

import pytest

from recipes.core.config import parse_zoo_cfg
from recipes.core.server.server import Server

pytestmark = pytest.mark.asyncio
HIDDEN = ("super:topsecret", "key-password", "older-secret", "left-over")


def config(directory, *lines):
    (directory / "data").mkdir(exist_ok=True)
    text = "\n".join((f"dataDir={directory / 'data'}", "clientPort=0", "admin.serverPort=0", "tickTime=2000", *lines))
    return parse_zoo_cfg(text + "\n", "zoo.cfg")[0].model_copy(update={"client_address": "127.0.0.1"})


async def ask(port, request):
    """Status, fields and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request if isinstance(request, bytes) else f"{request}\r\n\r\n".encode())
    async with asyncio.timeout(60):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head.decode(), body.decode()


async def status(port, request):
    return (await ask(port, request))[0]


async def test_f7_no_secret_is_shown(tmp_path):
    lines = (
        "DigestAuthenticationProvider.superDigest=super:topsecret",
        "ssl.keyStore.password = key-\\\n   password",
        "#ssl.quorum.keyStore.password=older-secret",
        "ssl.keyStore.passwordPath=/etc/where-it-is",
        "my.other.secret left-over",
        "autopurge.snapRetainCount=5",
    )
    async with Server(config(tmp_path, *lines)) as server:
        assert server.config.ssl_key_store_password == "key-password"
        shown = [await ask(server.admin_port, f"GET /commands/{name} HTTP/1.1\r\nHost: localhost")
                 for name in ("icfg", "conf", "envi", "sysp", "mntr", "stats", "cons", "dump")]  # fmt: skip
        text = "".join(body for _, _, body in shown) + repr(server.config) + repr(server.member.config)
    assert not [secret for secret in (*HIDDEN, "topsecret") if secret in text]
    for kept in ("superDigest=***", "ssl.keyStore.password=***", "passwordPath=/etc/where-it-is", "snapRetainCount=5"):
        assert kept in shown[0][2]


async def test_f7_the_metrics_port_serves_metrics_only(tmp_path):
    async with Server(config(tmp_path, "metricsProvider.httpPort=0", "metricsProvider.httpHost=127.0.0.1")) as server:
        port = server.metrics_port
        assert await status(port, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:7000") == 200
        for path in ("/commands", "/commands/icfg", "/livez", "/readyz", "/", "/metrics/x"):
            assert await status(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1") == 404
        assert await status(port, "POST /commands/stat_reset HTTP/1.1\r\nHost: 127.0.0.1") == 404


async def test_f7_an_unknown_host_is_refused(tmp_path):
    known = ("localhost", "localhost:8080", "LOCALHOST.", "127.0.0.1:8080", "[::1]", "[::1]:8080", "192.0.2.7:8080",
             "zk-1.example.org:80")  # fmt: skip
    unknown = ("127.0.0.1.evil.example", "evil.example:8080", "localhost.evil.example", "localhost, evil.example",
               "[evil.example]", "1.2.3", ":", "[")  # fmt: skip
    async with Server(config(tmp_path, "admin.hosts=zk-1.example.org, zk-2.example.org")) as server:
        for host in (*known, *unknown):
            for path in ("/commands/ruok", "/metrics"):
                found = await status(server.admin_port, f"GET {path} HTTP/1.1\r\nHost: {host}")
                assert (host, found) == (host, 200 if host in known else 421)
            assert await status(server.admin_port, f"GET /livez HTTP/1.1\r\nHost: {host}") == 200
        assert await status(server.admin_port, "GET /commands/ruok HTTP/1.0\r\nUser-Agent: a probe, no browser") == 200


async def test_f7_two_hosts_are_refused(tmp_path):
    async with Server(config(tmp_path)) as server:
        asked = "GET /commands/ruok HTTP/1.1\r\nHost: localhost\r\nHost: evil.example"
        assert await status(server.admin_port, asked) == 421


async def test_f7_metrics_for_other_machines_may_be_asked_for_by_any_name(tmp_path):
    async with Server(config(tmp_path, "metricsProvider.httpPort=0")) as server:
        assert await status(server.metrics_port, "GET /metrics HTTP/1.1\r\nHost: zk-0.zk-hs.svc") == 200


async def test_f7_health_is_told_beside_many_idle_connections(tmp_path):
    async with Server(config(tmp_path)) as server:
        with ExitStack() as stack:
            for begun in (b"", b"GET /livez HTTP/1.1\r\n") * 70:
                idle = stack.enter_context(socket.socket())
                idle.setblocking(False)
                await asyncio.get_running_loop().sock_connect(idle, ("127.0.0.1", server.admin_port))
                idle.send(begun)
            for path in ("/livez", "/readyz", "/commands/ruok", "/metrics"):
                assert await status(server.admin_port, f"GET {path} HTTP/1.1\r\nHost: localhost") == 200


async def test_f7_nothing_is_changed_by_get(tmp_path):
    async with Server(config(tmp_path)) as server:
        member, port = server.member, server.admin_port
        member.stats.packets_received = 7
        for name in ("stat_reset", "srst", "crst", "orst", "set_trace_mask?traceMask=5", "stmk?traceMask=5"):
            for method in ("GET", "HEAD"):
                code, head, body = await ask(port, f"{method} /commands/{name} HTTP/1.1\r\nHost: localhost")
                assert code == 405 and "\r\nAllow: POST\r\n" in head
                assert (method == "HEAD") == (body == "") and (not body or "POST" in json.loads(body)["error"])
        assert (member.stats.packets_received, member.trace_mask) == (7, 306)
        asked = "POST /commands/set_trace_mask?traceMask=5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
        assert json.loads((await ask(port, asked.encode()))[2]) == {
            "error": None, "tracemask": 5, "command": "set_trace_mask",
        }  # fmt: skip
        assert await status(port, "POST /commands/srst HTTP/1.1\r\nHost: localhost") == 200
        assert (member.stats.packets_received, member.trace_mask) == (0, 5)


async def test_f7_a_page_of_another_site_changes_nothing(tmp_path):
    others = ("Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site")
    own = ("Origin: http://localhost:8080", "Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin")
    async with Server(config(tmp_path)) as server:
        for field in (*others, *own):
            asked = f"POST /commands/srst HTTP/1.1\r\nHost: localhost:8080\r\n{field}"
            assert (field, await status(server.admin_port, asked)) == (field, 403 if field in others else 200)


async def test_f7_small_6_requests_that_are_too_long_or_odd_are_refused(tmp_path):
    async with Server(config(tmp_path)) as server:
        port = server.admin_port
        assert await status(port, f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {'y' * 40_000}") == 431
        assert await status(port, "POST /commands/srst HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000") == 413
        assert await status(port, "POST /commands/srst HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1") == 413
        assert await status(port, "DELETE /commands/srst HTTP/1.1\r\nHost: localhost") == 405


class Watcher:
    session_id = 77


class Arrivals(asyncio.Protocol):
    """Keeps what arrives, turn by turn of the loop, until the server hangs up."""

    def __init__(self):
        self.parts, self.ended = [], asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.parts.append(data)

    def connection_lost(self, exc):
        self.ended.set_result(None)


async def arrivals(port, request):
    transport, arrived = await asyncio.get_running_loop().create_connection(Arrivals, "127.0.0.1", port)
    transport.write(request)
    async with asyncio.timeout(60):
        await arrived.ended
    return arrived.parts


async def test_f7_others_are_served_while_a_long_list_is_sent(tmp_path):
    """It comes in slices, between which the loop has turns for others."""
    async with Server(config(tmp_path, "4lw.commands.whitelist=*")) as server:
        table, watcher = server.member.tree.watches, Watcher()
        for number in range(6_000):
            table.add_data(b"/%d" % number, watcher)
        for name, answered in (("wchc", "session_id_to_watched_paths"), ("wchp", "path_to_session_ids")):
            parts = await arrivals(
                server.admin_port, f"GET /commands/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            found = json.loads(b"".join(parts).partition(b"\r\n\r\n")[2])
            assert len(found[answered].get("77", found[answered])) == 6_000 and len(parts) > 6
            parts = await arrivals(server.client_port, name.encode())
            lines = b"".join(parts).decode().splitlines()
            assert {line.strip() for line in lines} >= {"0x4d", *(f"/{number}" for number in range(6_000))}
            assert len(parts) > 6


async def test_f7_who_hangs_up_in_the_middle_of_a_long_list_does_no_harm(tmp_path):
    async with Server(config(tmp_path, "4lw.commands.whitelist=*")) as server:
        table, watcher = server.member.tree.watches, Watcher()
        for number in range(6_000):
            table.add_data(b"/" + b"x" * 100 + b"%d" % number, watcher)
        for port, asked in (
            (server.client_port, b"wchc"),
            (server.admin_port, b"GET /commands/wchc HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(asked)
            assert await reader.read(100)
            writer.transport.abort()
        assert "imok" in (await _word(server.client_port, b"ruok"))
        async with asyncio.timeout(60):
            while server.member.connections:
                await asyncio.sleep(0.01)


async def _word(port, word):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(word)
    answer = await reader.read()
    writer.close()
    return answer.decode()
