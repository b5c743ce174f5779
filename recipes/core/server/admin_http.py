"""The admin port: /commands, /livez, /readyz and /metrics over HTTP, GET only, one request per connection.

Source: JettyAdminServer.java, Commands.java; Prometheus' text format 0.0.4.
"""

import asyncio
import json
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from recipes.core.member.commands import COMMANDS, command
from recipes.core.member.metrics import prometheus

if TYPE_CHECKING:
    from recipes.core.server.server import Server

log: logging.Logger = logging.getLogger("recipes.server")

_HEAD_LIMIT_BYTES = 8192
_TIMEOUT_S = 10
_MOST_CONNECTIONS = 32
_PLAIN = "text/plain; charset=utf-8"


class AdminPort:
    """Answers the requests on one port."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, answer it, close the connection."""
        task = asyncio.current_task()
        if task is None or self._closed or len(self._tasks) >= _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._tasks.add(task)
        self._server.member.stats.admin_requests += 1
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._respond(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def close(self) -> None:
        """Close every connection, and from now on each as it comes."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _respond(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path, _, query = rest.partition(" ")[0].partition("?")
        if method not in ("GET", "HEAD"):
            return _response(405, _PLAIN, "only GET is known here\n", method)
        status, kind, text = self._page(path, query)
        return _response(status, kind, text, method)

    def _page(self, path: str, query: str) -> tuple[int, str, str]:
        server = self._server
        url = server.config.admin_command_url
        if path == "/livez":
            return (503, _PLAIN, "failed\n") if server.failed.done() else (200, _PLAIN, "ok\n")
        if path == "/readyz":
            reason = _why_not_ready(server)
            return (503, _PLAIN, f"{reason}\n") if reason else (200, _PLAIN, "ok\n")
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", prometheus(server.member)
        if path.rstrip("/") == url:
            links = "".join(f'<a href="{url}/{name}">{name}</a><br/>\n' for name in sorted(COMMANDS))
            return 200, "text/html; charset=utf-8", links
        if path.startswith(f"{url}/"):
            answer = command(server.member, path[len(url) + 1 :], dict(parse_qsl(query)))
            return 200, "application/json", json.dumps(answer, indent=2, separators=(",", " : "))
        return 404, _PLAIN, "there is nothing here\n"


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


async def listen(stack: AsyncExitStack, server: "Server", address: str, port: int) -> int | None:
    """Open an admin port until the stack ends; return its number. If that fails, log a warning and return None."""
    admin = AdminPort(server)
    try:
        listener = await asyncio.start_server(admin.serve, address, port, limit=_HEAD_LIMIT_BYTES)
    except OSError as error:
        log.warning("cannot open the admin port %s:%s, serving without it: %s", address, port, error.strerror or error)
        return None
    stack.push_async_callback(admin.close)
    stack.callback(listener.close)
    number: int = listener.sockets[0].getsockname()[1]
    return number


def _response(status: int, kind: str, text: str, method: str) -> bytes:
    reason = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}[status]
    body = text.encode()
    lines = (
        f"HTTP/1.1 {status} {reason}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close\r\n\r\n",
    )
    return "\r\n".join(lines).encode() + (b"" if method == "HEAD" else body)
