"""Waits for the socket of another library."""

import socket

import anyio
import anyio.lowlevel
import pytest

from recipes.transaction.socket_watch import SocketWatch
from tests.transaction.loops import LOOPS

pytestmark = pytest.mark.anyio

SECONDS = 60


@pytest.fixture(params=LOOPS)
def anyio_backend(request):
    return request.param


@pytest.fixture
def pair():
    """The library's socket, and the other side."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # as libpq's are
    yield ours, theirs
    ours.close()
    theirs.close()


async def test_each_wait_ends_when_there_is_something_to_read(pair):
    ours, theirs = pair
    watch = SocketWatch(ours.fileno())
    with anyio.fail_after(SECONDS):
        for number in range(3):
            assert not watch.is_readable()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.wait_readable)
                await anyio.wait_all_tasks_blocked()
                theirs.send(b"x" * number + b"y")
            assert watch.is_readable()
            assert ours.recv(100) == b"x" * number + b"y"
        theirs.send(b"nobody waits for it")
        await anyio.wait_all_tasks_blocked()
        await watch.wait_readable()
        ours.recv(100)
        theirs.close()
        await watch.wait_readable()
    assert watch.is_readable()
    watch.close()


async def test_what_nobody_waits_for_costs_nothing(pair):
    ours, theirs = pair
    watch = SocketWatch(ours.fileno())
    heard = []
    watch._heard, hear = lambda: (heard.append(1), hear()), watch._heard
    theirs.send(b"x")
    await watch.wait_readable()  # and nobody reads it
    with anyio.fail_after(SECONDS):
        for _ in range(10):
            await anyio.sleep(0)
    assert len(heard) <= 3  # the loop does not call again and again
    watch.close()


async def test_a_number_that_the_library_gave_back_is_free_for_the_next_socket(pair):
    """libpq closes its socket when it meets an error while it sends."""
    ours, theirs = pair
    watch = SocketWatch(ours.fileno())
    theirs.send(b"x")
    with anyio.fail_after(SECONDS):
        await watch.wait_readable()  # asyncio has a reader of it now
        ours.recv(100)
        number = ours.fileno()
        ours.close()
        others = [*socket.socketpair()]
        assert others[0].fileno() == number
        second = SocketWatch(number)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second.wait_readable)
            await anyio.wait_all_tasks_blocked()
            watch.close()
            await anyio.wait_all_tasks_blocked()
            others[1].send(b"y")
    second.close()
    for each in others:
        each.close()


@pytest.mark.parametrize("wait", ["wait_readable", "wait_either", "wait_writable"])
async def test_who_waits_while_it_is_closed_is_told_by_one_error(pair, wait):
    ours, _ = pair
    with pytest.raises(BlockingIOError):
        while True:
            ours.send(b"x" * 10_000)
    watch = SocketWatch(ours.fileno())

    async def expect_it():
        with pytest.raises(anyio.ClosedResourceError):
            await getattr(watch, wait)()

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_it)
            await anyio.wait_all_tasks_blocked()
            watch.close()
            watch.close()
    await expect_it()


async def test_either_says_what_it_was(pair):
    ours, theirs = pair
    watch = SocketWatch(ours.fileno())
    with anyio.fail_after(SECONDS):
        assert await watch.wait_either() == (False, True)
        with pytest.raises(BlockingIOError):
            while True:
                ours.send(b"x" * 10_000)
        theirs.send(b"y")
        assert await watch.wait_either() == (True, False)
    watch.close()


@pytest.mark.parametrize("kind", ["wait_readable", "wait_either", "wait_writable"])
@pytest.mark.parametrize("sent", [b"", b"x"])
@pytest.mark.parametrize("when", ["between", "during"])
async def test_each_wait_after_an_error_of_the_socket_ends(pair, when, sent, kind):
    """uvloop calls a reader once for an error, and then gives the socket up without telling."""
    ours, theirs = pair
    watch = SocketWatch(ours.fileno())
    theirs.send(b"y")
    with anyio.fail_after(SECONDS):
        await watch.wait_readable()
        ours.recv(1)
        ours.send(b"unread")  # so the other side does not end in peace

        def end():
            if sent:
                theirs.send(sent)
            theirs.close()

        if when == "between":
            end()
            for _ in range(3):
                await anyio.lowlevel.checkpoint()  # the loop meets the error
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.wait_readable)
                await anyio.wait_all_tasks_blocked()
                end()
        for wait in (kind, kind, "wait_readable", "wait_readable"):
            await getattr(watch, wait)()
        assert watch.is_readable()
    watch.close()


def test_one_loop_after_another_may_wait(pair):
    ours, theirs = pair
    watch = SocketWatch(ours.fileno())
    theirs.send(b"x")
    for backend in ("asyncio", "asyncio", "trio"):
        anyio.run(watch.wait_readable, backend=backend)
    watch.close()  # where no loop runs
