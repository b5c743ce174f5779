"""Waiting for a socket that belongs to another library, many times, at a low price.

anyio's waits add and remove a reader each time, which is ten system calls on uvloop. Here the reader stays.
"""

import asyncio
import socket
from asyncio.events import _get_running_loop
from contextlib import suppress

import anyio


class SocketWatch:
    """Waits until a socket can be read or written, on asyncio and on trio. One task waits at a time.

    number: of the socket, by the operating system. A duplicate of it is watched: if the library closes its socket
    unasked, the number may soon be that of another socket, whose waits must not meet what is left of ours. The
    connection itself ends once `close` is called, too.
    """

    def __init__(self, number: int) -> None:
        # No family and no type: nothing depends on them here, and Python asks the system about them.
        self._socket = socket.socket(fileno=socket.dup(number))
        self._socket.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that has our reader
        self._readable: asyncio.Future[None] | None = None  # of the task that waits
        self._unwanted = False  # the reader has called while no task waited

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.fileno() < 0

    def is_readable(self) -> bool:
        """Whether there is something to read now, or the other side has closed it."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:  # reset by the other side
            return True
        return True

    async def wait_readable(self) -> None:
        """Return once there is something to read, or the other side has closed it; now and then also before. Raises
        anyio.ClosedResourceError."""
        loop = _get_running_loop()
        if self.closed:
            raise anyio.ClosedResourceError
        # uvloop calls the reader once for an error of the socket, and then listens no more, without telling: the reader
        # is added again if there is something to read. After an error there is: what came before it, and then the end.
        known = loop is self._loop and not self.is_readable()
        if loop is None or not (known or self._add_reader(loop)):
            await anyio.wait_readable(self._socket)
            return
        self._readable, self._unwanted = loop.create_future(), False
        await self._readable

    async def wait_writable(self) -> None:
        """Return once something can be written. Raises anyio.ClosedResourceError."""
        if self.closed:
            raise anyio.ClosedResourceError
        self._remove_reader()  # uvloop takes no writer of a socket whose reader it has given up
        await anyio.wait_writable(self._socket)

    async def wait_either(self) -> tuple[bool, bool]:
        """Return once it can be read or written: whether it can be read, and whether it can be written. Raises
        anyio.ClosedResourceError."""
        if self.closed:
            raise anyio.ClosedResourceError
        readable = writable = False
        self._remove_reader()  # as wait_writable does; this wait is rare

        async def until_readable() -> None:
            nonlocal readable
            await anyio.wait_readable(self._socket)
            readable = True
            group.cancel_scope.cancel()

        async def until_writable() -> None:
            nonlocal writable
            await anyio.wait_writable(self._socket)
            writable = True
            group.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(until_readable)
                group.start_soon(until_writable)
        except ExceptionGroup as errors:  # both raise the same, if at all
            raise errors.exceptions[0] from None
        return readable, writable

    def close(self) -> None:
        """Close the duplicate. A task that waits gets anyio.ClosedResourceError."""
        if self.closed:
            return
        self._remove_reader()
        if self._readable is not None and not self._readable.done():
            self._readable.set_exception(anyio.ClosedResourceError())
        with suppress(anyio.NoEventLoopError):  # then nobody waits
            anyio.notify_closing(self._socket)
        self._socket.close()

    def _add_reader(self, loop: asyncio.AbstractEventLoop) -> bool:
        self._remove_reader()
        try:
            loop.add_reader(self._socket, self._heard)
        except NotImplementedError:  # asyncio on Windows: anyio has a thread for it
            return False
        self._loop = loop
        return True

    def _remove_reader(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._socket)

    def _heard(self) -> None:
        """Called by the loop again and again while there is something to read."""
        waiting, self._readable = self._readable, None
        if waiting is not None:
            if not waiting.done():
                waiting.set_result(None)
        elif not self._unwanted:
            self._unwanted = True  # asyncio calls once more before the task that waited can read
        else:  # nobody reads it now: the next wait adds the reader again
            self._remove_reader()
