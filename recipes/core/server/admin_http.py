"""The admin port: /commands, /livez, /readyz and /metrics over HTTP, one request per connection.

Nothing is changed by GET. A page of another site cannot read or change anything: a request that names an unknown host
is refused, and so is a POST that such a page has made. Source: JettyAdminServer.java, Commands.java.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from itertools import islice
from socket import gethostname
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from recipes.core.address import is_loopback
from recipes.core.http_request import HttpRequest, is_of_other_site, name_of_host, read_head
from recipes.core.member.commands import CHANGES, COMMANDS, command, name_of
from recipes.core.member.listing import json_pieces
from recipes.core.member.metrics import prometheus

if TYPE_CHECKING:
    from recipes.core.server.server import Server

log: logging.Logger = logging.getLogger("recipes.server")

_HEAD_LIMIT_BYTES = 8192
_BODY_LIMIT_BYTES = 4096
_TIMEOUT_S = 10
_MOST_CONNECTIONS = 64
_PIECES_AT_ONCE = 1000
_LINGER_S = 2
_UNREAD = (413, 431)  # with these something of the request was not read
_PLAIN = "text/plain; charset=utf-8"
_JSON = "application/json"
_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    413: "Content Too Large", 421: "Misdirected Request", 431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}  # fmt: skip


class Page(NamedTuple):
    """An answer. pieces: its text, which is long perhaps, made as it is sent. allow: the methods that would do."""

    status: int
    kind: str
    pieces: Iterable[str]
    allow: str = ""


class AdminPort:
    """Answers the requests on one port.

    hosts: names by which this server is called; None: whoever reaches the port may call it anything.
    only_metrics: serves /metrics and nothing else.
    """

    def __init__(self, server: "Server", hosts: frozenset[str] | None, only_metrics: bool) -> None:
        self._server = server
        self._hosts = hosts
        self._only_metrics = only_metrics
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # in the order in which they came
        self._closed = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, answer it, close the connection."""
        task = asyncio.current_task()
        if task is None or self._closed:
            writer.transport.abort()
            return
        if len(self._tasks) >= _MOST_CONNECTIONS:  # the oldest gives way: one that says nothing keeps nobody out
            self._tasks.pop(next(iter(self._tasks))).transport.abort()
        self._tasks[task] = writer
        self._server.member.stats.admin_requests += 1
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                page, method = await self._read(reader)
            await _send(writer, page, method)
            if page.status in _UNREAD:  # to close now could take the answer away from who is still sending
                writer.write_eof()
                async with asyncio.timeout(_LINGER_S):
                    while await reader.read(_HEAD_LIMIT_BYTES):
                        pass
            writer.close()
            async with asyncio.timeout(_TIMEOUT_S):
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.pop(task, None)
            writer.transport.abort()

    async def close(self) -> None:
        """Close every connection, and from now on each as it comes."""
        self._closed = True
        for writer in self._tasks.values():  # asyncio would log that a task is cancelled
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _read(self, reader: asyncio.StreamReader) -> tuple[Page, str]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _refusal(431, f"a request's head may have {_HEAD_LIMIT_BYTES} bytes"), "GET"
        request = read_head(head)
        if "content-length" in request.fields:  # nothing in it means anything here
            size = request.fields["content-length"]
            if not (size.isascii() and size.isdigit()) or int(size) > _BODY_LIMIT_BYTES:
                return _refusal(413, f"a request's body may have {_BODY_LIMIT_BYTES} bytes"), request.method
            await reader.readexactly(int(size))
        return self._respond(request), request.method

    def _respond(self, request: HttpRequest) -> Page:
        if request.method not in ("GET", "HEAD", "POST"):
            return _refusal(405, "only GET, HEAD and POST are known here", allow="GET, HEAD, POST")
        health = None if self._only_metrics else self._health(request.path)
        if health is not None:
            return health
        host = request.fields.get("host", "")
        if not self._knows(host):
            return _refusal(421, f"unknown host {host}: admin.hosts names the hosts by which this server is called")
        if request.method == "POST" and is_of_other_site(request.fields, host):
            return _refusal(403, "a page of another site may change nothing here")
        return self._page(request)

    def _health(self, path: str) -> Page | None:
        """The answer to a question about health, which is nobody's secret; None if it is another question."""
        if path == "/livez":
            return _refusal(503, "failed") if self._server.failed.done() else Page(200, _PLAIN, ("ok\n",))
        if path == "/readyz":
            reason = _why_not_ready(self._server)
            return _refusal(503, reason) if reason else Page(200, _PLAIN, ("ok\n",))
        return None

    def _knows(self, host: str) -> bool:
        """Whether a Host field names this server. A page whose name leads here only since a minute does not."""
        if self._hosts is None or not host:  # without the field it is no browser
            return True
        name = name_of_host(host)
        if name.lower().rstrip(".") in self._hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    def _page(self, request: HttpRequest) -> Page:
        server, path = self._server, request.path
        url = server.config.admin_command_url
        if path == "/metrics":
            return Page(200, "text/plain; version=0.0.4; charset=utf-8", (prometheus(server.member),))
        if self._only_metrics:
            return _refusal(404, "this port serves /metrics only")
        if path.rstrip("/") == url:
            links = "".join(f'<a href="{url}/{name}">{name}</a><br/>\n' for name in sorted(COMMANDS))
            return Page(200, "text/html; charset=utf-8", (links,))
        if not path.startswith(f"{url}/"):
            return _refusal(404, "there is nothing here")
        asked = path[len(url) + 1 :]
        name = name_of(asked)
        if name in CHANGES and request.method != "POST":
            error = "it changes something, so ask by POST: curl -X POST"
            return Page(405, _JSON, json_pieces({"command": name, "error": error}), allow="POST")
        return Page(200, _JSON, json_pieces(command(server.member, asked, dict(parse_qsl(request.query)))))


async def _send(writer: asyncio.StreamWriter, page: Page, method: str) -> None:
    """Send it piece by piece, as fast as it is read. Raises TimeoutError if it is not."""
    fields = [
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}",
        f"Content-Type: {page.kind}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        *([f"Allow: {page.allow}"] if page.allow else []),
    ]
    if isinstance(page.pieces, tuple):
        fields.append(f"Content-Length: {sum(len(piece.encode()) for piece in page.pieces)}")
    writer.write(("\r\n".join([*fields, "Connection: close"]) + "\r\n\r\n").encode())
    pieces = iter(page.pieces if method != "HEAD" else ())
    while text := "".join(islice(pieces, _PIECES_AT_ONCE)):
        writer.write(text.encode())
        async with asyncio.timeout(_TIMEOUT_S):
            await writer.drain()
        await asyncio.sleep(0)  # drain may return at once


def _refusal(status: int, text: str, allow: str = "") -> Page:
    return Page(status, _PLAIN, (f"{text}\n",), allow)


def _why_not_ready(server: "Server") -> str:
    """Why clients should use another server; empty if this one is ready."""
    member = server.member
    if server.failed.done():
        return "failed"
    if member.disk_full:
        return "no space for writes"
    if not member.serving:
        return "no leader: only reads are served" if member.read_only.serving else "no leader"
    return "" if member.takes_clients else "leaderServes=no: a leader takes no clients"


def _names_of(server: "Server") -> frozenset[str]:
    """The names by which this server is called."""
    config = server.config
    names = {"localhost", gethostname(), config.admin_address, config.client_address, *config.admin_hosts}
    if config.membership is not None and config.server_id is not None:
        names.add(config.membership.servers[config.server_id].host)
    return frozenset(name.lower().rstrip(".") for name in names)


async def listen(
    stack: AsyncExitStack, server: "Server", address: str, port: int, *, only_metrics: bool = False
) -> int | None:
    """Open an admin port until the stack ends; return its number. If that fails, log a warning and return None.

    A port for metrics that other machines reach has no secrets, and these machines call it by names of their own.
    """
    hosts = None if only_metrics and not is_loopback(address) else _names_of(server)
    admin = AdminPort(server, hosts, only_metrics)
    try:
        listener = await asyncio.start_server(admin.serve, address, port, limit=_HEAD_LIMIT_BYTES)
    except OSError as error:
        what = "metrics" if only_metrics else "admin"
        reason = error.strerror or error
        log.warning("cannot open the %s port %s:%s, serving without it: %s", what, address, port, reason)
        return None
    stack.push_async_callback(admin.close)
    stack.callback(listener.close)
    number: int = listener.sockets[0].getsockname()[1]
    return number
