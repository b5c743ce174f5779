"""The bytes of one connection: a Carrier's output leaves with one write per loop turn; bytes that arrive go to it.

On asyncio this is a Protocol, whose callbacks cost a fraction of tasks around a stream. On trio it is a stream with two
tasks.
"""

import asyncio
import ssl
from typing import Protocol

import anyio
import anyio.abc

_READ_BYTES = 1 << 18


class Carrier(Protocol):
    """The user of a wire: it supplies bytes to send, and takes received ones."""

    def outgoing(self) -> bytes:
        """The bytes to send now; empty for none."""
        ...

    def received(self, data: bytes) -> None:
        """Take received bytes. An exception ends the connection and is raised by `Wire.run`."""


class Wire(Protocol):
    """A connection that `dial` has made."""

    def wake(self) -> None:
        """There may be something to send: ask the Carrier, once per loop turn."""

    async def run(self) -> None:
        """Carry bytes until the connection breaks, and raise the cause. The connection is closed in any case."""


def socket_path(host: str) -> str | None:
    """The path of the Unix socket that a host names as `unix:PATH`; None for a name or an address."""
    return host.removeprefix("unix:") if host.startswith("unix:") else None


async def open_stream(host: str, address: str, port: int, tls: ssl.SSLContext | None) -> anyio.abc.ByteStream:
    """A stream to `address`, one of the addresses of `host`. Raises as `dial` does."""
    if (path := socket_path(host)) is not None:
        return await anyio.connect_unix(path)
    if tls is None:
        return await anyio.connect_tcp(address, port)
    return await anyio.connect_tcp(
        address, port, tls=True, ssl_context=tls, tls_hostname=host, tls_standard_compatible=False
    )


async def dial(carrier: Carrier, host: str, address: str, port: int, tls: ssl.SSLContext | None) -> Wire:
    """Connect to `address`, one of the addresses of `host`. A certificate must be for the name `host`.

    Raises OSError (of which ssl.SSLError is one) and anyio's stream errors.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return StreamWire(carrier, await open_stream(host, address, port, tls))
    if (path := socket_path(host)) is not None:
        _, local = await loop.create_unix_connection(lambda: ProtocolWire(carrier, loop), path)
        return local
    _, wire = await loop.create_connection(
        lambda: ProtocolWire(carrier, loop), address, port, ssl=tls, server_hostname=host if tls else None
    )
    return wire


class ProtocolWire(asyncio.Protocol):
    """A connection on asyncio."""

    def __init__(self, carrier: Carrier, loop: asyncio.AbstractEventLoop) -> None:
        self._carrier: Carrier = carrier
        self._loop: asyncio.AbstractEventLoop = loop
        self._broken: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._writable: bool = True
        self._woken: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if not self._broken.done():
            try:
                self._carrier.received(data)
            except Exception as error:
                self._break(error)

    def pause_writing(self) -> None:
        """Called by the loop: the other side does not keep up."""
        self._writable = False

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._writable = True
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        if not self._broken.done():
            self._break(exc or anyio.EndOfStream())
        self._closed.set_result(None)

    def wake(self) -> None:
        """See Wire."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._write)

    async def run(self) -> None:
        """See Wire."""
        try:
            await self._broken
        finally:
            self._broken.cancel()  # from here on, received bytes are dropped
            self._transport.abort()
            with anyio.CancelScope(shield=True):
                await self._closed

    def _break(self, error: Exception) -> None:
        self._broken.set_exception(error)
        self._broken.exception()  # or asyncio would log it as never retrieved if nobody awaits it

    def _write(self) -> None:
        self._woken = False
        if self._writable and not self._broken.done():
            data = self._carrier.outgoing()
            if data:
                self._transport.write(data)


class StreamWire:
    """A connection on trio."""

    def __init__(self, carrier: Carrier, stream: anyio.abc.ByteStream) -> None:
        self._carrier: Carrier = carrier
        self._stream: anyio.abc.ByteStream = stream
        self._more: anyio.Event = anyio.Event()

    def wake(self) -> None:
        """See Wire."""
        self._more.set()

    async def run(self) -> None:
        """See Wire."""
        broken: list[Exception] = []  # raised after the task group, which would wrap it into an exception group
        async with self._stream, anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, broken, tasks.cancel_scope)
            try:
                while True:
                    self._carrier.received(await self._stream.receive(_READ_BYTES))
            except Exception as error:
                broken.append(error)
            tasks.cancel_scope.cancel()
        raise broken[0]

    async def _write(self, broken: list[Exception], scope: anyio.CancelScope) -> None:
        try:
            while True:
                data = self._carrier.outgoing()
                if data:
                    await self._stream.send(data)
                else:
                    self._more = anyio.Event()
                    await self._more.wait()
        except Exception as error:
            broken.append(error)
            scope.cancel()
