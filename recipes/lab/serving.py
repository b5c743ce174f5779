"""The shell of `recipes lab serve`: reads one request per connection, answers it, closes the connection."""

from collections.abc import Callable

import anyio
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from recipes.core.http_request import read_head
from recipes.lab.answers import BODY_LIMIT_BYTES, Answer, answer

_HEAD_LIMIT_BYTES = 16 * 1024
_READ_TIMEOUT_S = 10
_WRITE_TIMEOUT_S = 30
_MOST_RUNS = 2  # at a time
_MOST_CONNECTIONS = 64
_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    413: "Content Too Large", 415: "Unsupported Media Type", 421: "Misdirected Request",
    431: "Request Header Fields Too Large",
}  # fmt: skip


async def serve(port: int, told: Callable[[str], None], commit: str | None = None) -> None:
    """Serve on this port of 127.0.0.1, any free one for 0, until cancelled.

    told: called with the address once it is served. commit: of the program, where it is known: traces name it.
    Raises OSError if the port is taken.
    """
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener:
        used = listener.extra(SocketAttribute.local_port)
        runs, connections = anyio.CapacityLimiter(_MOST_RUNS), anyio.Semaphore(_MOST_CONNECTIONS)

        async def handle(stream: SocketStream) -> None:
            async with stream, connections:
                await _handle(stream, used, commit, runs)

        told(f"http://127.0.0.1:{used}/")
        await listener.serve(handle)


async def _handle(stream: SocketStream, port: int, commit: str | None, runs: anyio.CapacityLimiter) -> None:
    try:
        with anyio.fail_after(_READ_TIMEOUT_S):
            method, found = await _read(stream)
        if not isinstance(found, Answer):
            head, body = found
            request = read_head(head)
            found = await to_thread.run_sync(answer, request, body, port, commit, limiter=runs, abandon_on_cancel=True)
        with anyio.fail_after(_WRITE_TIMEOUT_S):
            await stream.send(_bytes(found, method))
            await stream.send_eof()
    except (OSError, TimeoutError, anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
        pass  # whoever asked is gone, or says nothing


async def _read(stream: SocketStream) -> tuple[str, Answer | tuple[bytes, bytes]]:
    """The method, and head and body of a request; or the answer to one that is too long."""
    buffered = BufferedByteReceiveStream(stream)
    plain = "text/plain; charset=utf-8"
    try:
        head = await buffered.receive_until(b"\r\n\r\n", _HEAD_LIMIT_BYTES)
    except anyio.DelimiterNotFound:
        return "GET", Answer(431, plain, f"a request's head may have {_HEAD_LIMIT_BYTES} bytes\n")
    request = read_head(head)
    size = request.fields.get("content-length", "0")
    if not (size.isascii() and size.isdigit()) or int(size[:20]) > BODY_LIMIT_BYTES:
        return request.method, Answer(413, plain, f"a request's body may have {BODY_LIMIT_BYTES} bytes\n")
    return request.method, (head, await buffered.receive_exactly(int(size)))


def _bytes(found: Answer, method: str) -> bytes:
    body = found.body.encode("utf-8", "backslashreplace")
    fields = [
        f"HTTP/1.1 {found.status} {_REASONS[found.status]}",
        f"Content-Type: {found.kind}",
        f"Content-Length: {len(body)}",
        "Content-Security-Policy: frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy: same-origin",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        *([f"Allow: {found.allow}"] if found.allow else []),
        "Connection: close",
    ]
    return ("\r\n".join(fields) + "\r\n\r\n").encode() + (b"" if method == "HEAD" else body)
