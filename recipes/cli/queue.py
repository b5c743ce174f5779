"""`recipes queue`: put items in a queue, take them out, look at it."""

import base64
import json as json_text
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
from cyclopts import App, Parameter

from recipes import Message, Put, Queue, QueueFull
from recipes.cli.access import Access, Switch
from recipes.cli.terminal import complain, say, shown

NOTHING = 69  # EX_UNAVAILABLE of sysexits.h
_INPUT_BYTES = 1 << 16
_ANYWHERE = Access()

queue: App = App(name="queue", help="Put items in a queue, take them out, look at it: see docs/queue.md.")
Where = Annotated[Access, Parameter(name="*")]


@queue.command
def put(
    path: str,
    /,
    *items: Annotated[str, Parameter(allow_leading_hyphen=True)],
    key: str | None = None,
    delay: float = 0,
    priority: int = 100,
    json: Switch = False,
    access: Where = _ANYWHERE,
) -> int:
    """Put each of ITEMS, or each line of standard input, as one item: recipes queue put PATH [ITEMS...].

    Exit codes: 0 when the servers have stored all; 69 when the queue has no room or has an item of this key.

    Args:
        path: the queue's znode.
        items: what to put.
        key: only with one item, which is not put while the queue has an item of this key.
        delay: seconds until the items are handed out.
        priority: 0 to 999; the lowest goes first.
        json: print how many were put as one JSON object.
    """
    if key is not None and len(items) != 1:
        complain("recipes queue", f"--key {key}: expected one item, not {len(items) or 'standard input'}")
        return 2

    async def act(queue: Queue[bytes]) -> int:
        done = 0
        there: Put | None = None
        try:
            async for together in _given(items):
                if key is None:
                    await queue.put_many(together, delay=delay, priority=priority, within=0)
                    done += len(together)
                else:
                    there = await queue.put(together[0], key=key, delay=delay, priority=priority, within=0)
                    done += there.created
        except QueueFull as error:
            complain("recipes queue", f"{error} ({done} put)", kind="QueueFull", put=done)
            return NOTHING
        if there is None or there.created:
            say(json, f"{done} put", {"put": done})
            return 0
        since = datetime.fromtimestamp(there.since, UTC).isoformat(timespec="milliseconds")
        say(json, f"0 put: an item of this key is there since {since}", {"put": 0, "since": since})
        return NOTHING

    return _on(access, path, act)


@queue.command
def receive(
    path: str,
    /,
    *,
    count: int = 1,
    within: float | None = None,
    json: Switch = False,
    access: Where = _ANYWHERE,
) -> int:
    """Wait for items, print each, and acknowledge it once it is printed: recipes queue receive PATH.

    An item that could not be printed, since the reader has closed the pipe, goes back to the queue.

    Exit codes: 69 when there was none in time.

    Args:
        path: the queue's znode.
        count: how many items; 0 goes on until interrupted.
        within: seconds to wait for each at most.
        json: print each as one JSON object, with key, priority, attempt and fence.
    """

    async def act(queue: Queue[bytes]) -> int:
        done = 0
        while done < count or not count:
            async with _next(queue, within) as message:
                if message is None:
                    return NOTHING
                facts = {"key": message.key, "priority": message.priority, "attempt": message.attempt}
                _show(json, message.data, {**facts, "fence": message.fence})
            done += 1
        return 0

    return _on(access, path, act)


@queue.command
def peek(path: str, /, *, count: int = 10, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Print the first items that nobody has claimed; they stay: recipes queue peek PATH.

    Args:
        path: the queue's znode.
        count: how many at most.
        json: print each as one JSON object.
    """

    async def act(queue: Queue[bytes]) -> int:
        for data in await queue.peek(count):
            _show(json, data, {})
        return 0

    return _on(access, path, act)


@queue.command
def size(path: str, /, *, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Print how many items wait, are in their delay, are claimed, are dead, and how long the oldest has waited.

    Args:
        path: the queue's znode.
        json: print one JSON object; the age is in seconds.
    """

    async def act(queue: Queue[bytes]) -> int:
        waiting, delayed, claimed = await queue.counts()
        dead, age = await queue.dead_letters.size(), await queue.age()
        text = f"waiting {waiting}\ndelayed {delayed}\nclaimed {claimed}\ndead {dead}\nage {age:.1f} s"
        say(json, text, {"waiting": waiting, "delayed": delayed, "claimed": claimed, "dead": dead, "age": age})
        return 0

    return _on(access, path, act)


@queue.command
def dead(path: str, /, *, count: int = 100, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Print the first dead letters, each with its number of deliveries and the reason; they stay.

    Args:
        path: the queue's znode.
        count: how many at most.
        json: print each as one JSON object.
    """

    async def act(queue: Queue[bytes]) -> int:
        for data, reason, deliveries in await queue.dead_letters.reasons(count):
            facts = {"deliveries": deliveries, "reason": reason}
            _show(json, data, facts, f"{deliveries}\t{' '.join(reason.split())}\t")
        return 0

    return _on(access, path, act)


@queue.command
def redrive(path: str, /, *, count: int | None = None, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Put dead letters back in the queue, as if they were put now, and print how many.

    Args:
        path: the queue's znode.
        count: how many at most, the first ones; else all.
        json: print one JSON object.
    """

    async def act(queue: Queue[bytes]) -> int:
        done = await queue.dead_letters.redrive(count)
        say(json, f"{done} put back", {"redriven": done})
        return 0

    return _on(access, path, act)


@queue.command
def purge(path: str, /, *, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Drop every item that nobody has claimed, and print how many. Dead letters stay.

    Args:
        path: the queue's znode.
        json: print one JSON object.
    """

    async def act(queue: Queue[bytes]) -> int:
        done = await queue.purge()
        say(json, f"{done} dropped", {"dropped": done})
        return 0

    return _on(access, path, act)


def _on(access: Access, path: str, act: Callable[[Queue[bytes]], Coroutine[Any, Any, int]]) -> int:
    try:
        return access.run(lambda client: act(Queue(client, path)))
    except ValueError as error:  # BadArguments is one, too
        complain("recipes queue", error)
        return 2


async def _given(items: Sequence[str]) -> AsyncGenerator[list[bytes]]:
    """The items, or lines of standard input: at a time as many as are available and fit in one request."""
    for item in items:
        yield [os.fsencode(item)]
    rest = b""
    # In a thread, so that the session lives on while no input comes.
    while not items and (data := await anyio.to_thread.run_sync(_read_some, abandon_on_cancel=True)):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _read_some() -> bytes:
    return os.read(sys.stdin.fileno(), _INPUT_BYTES)


@asynccontextmanager
async def _next(queue: Queue[bytes], within: float | None) -> AsyncGenerator[Message[bytes] | None]:
    if within is None:
        async with queue.receive() as message:
            yield message
    else:
        async with queue.try_receive(within=within) as found:
            yield found


def _show(json: bool, data: bytes, facts: dict[str, Any], before: str = "") -> None:
    """Print an item as one line: its raw bytes, an escaped text on a terminal, or JSON."""
    text = data.decode("utf-8", "replace")
    if json:
        exact = text.encode() == data
        told = {"data": text} if exact else {"base64": base64.b64encode(data).decode()}
        print(json_text.dumps({**told, **facts}), flush=True)
    elif sys.stdout.isatty():
        print(before + shown(text), flush=True)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(before.encode() + data + b"\n")
        sys.stdout.buffer.flush()
