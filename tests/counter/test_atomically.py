"""client.atomically on real servers."""

import anyio
import pytest

from recipes import BadArguments, ConnectionLoss, NodeExists, NoNode, UpdateConflict, connect
from tests.queue.conftest import SECONDS, sabotaged

pytestmark = pytest.mark.anyio


async def test_reads_and_writes_of_several_znodes(client, root):
    await client.create(root)
    await client.create(f"{root}/from", b"10")
    await client.create(f"{root}/to", b"1")

    async def transfer(txn):
        amount = int(await txn.get(f"{root}/from"))
        txn.set(f"{root}/to", b"%d" % (int(await txn.get(f"{root}/to")) + amount))
        txn.delete(f"{root}/from")
        txn.create(f"{root}/done", b"x")
        txn.create(f"{root}/done/at", b"y")
        return amount

    with anyio.fail_after(SECONDS):
        assert await client.atomically(transfer) == 10
        assert await client.children(root) == ["done", "to"]
        assert (await client.get(f"{root}/to"))[0] == b"11"


async def test_a_transaction_sees_its_own_writes(client, root):
    await client.create(root)
    await client.create(f"{root}/old")

    async def write(txn):
        assert await txn.children(root) == ["old"]
        txn.create(f"{root}/new", b"1")
        txn.create(f"{root}/new/below")
        txn.set(f"{root}/new", b"2")
        txn.delete(f"{root}/old")
        assert await txn.get(f"{root}/new") == b"2"
        assert await txn.exists(f"{root}/new") and not await txn.exists(f"{root}/old")
        assert await txn.children(root) == ["new"]
        assert await txn.children(f"{root}/new") == ["below"]
        with pytest.raises(NoNode):
            await txn.get(f"{root}/old")
        with pytest.raises(NoNode):
            await txn.children(f"{root}/old")
        txn.delete(f"{root}/new/below")
        txn.delete(f"{root}/new")
        txn.create(f"{root}/new", b"3")
        assert await txn.children(f"{root}/new") == []

    with anyio.fail_after(SECONDS):
        await client.atomically(write)
        assert await client.children(root) == ["new"]
        assert await client.children(f"{root}/new") == []


async def disturbed(client, other, read, disturb, *, writes=True):
    """How often a function runs that reads, when `disturb` is done by somebody else behind its first reading."""
    runs = 0

    async def fn(txn):
        nonlocal runs
        runs += 1
        found = await read(txn)
        if runs == 1:
            await disturb(other)
        if writes:
            txn.create(f"/disturbed-{client.random.getrandbits(64):x}", ephemeral=True)
        return found

    return await client.atomically(fn), runs


async def test_what_was_read_and_has_changed_makes_it_run_again(client, hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other:
            await client.create(root)
            await other.sync(root)

            async def check(read, disturb, expected):
                assert await disturbed(client, other, read, disturb) == (expected, 2)

            path = f"{root}/a"
            await check(lambda txn: txn.exists(path), lambda other: other.create(path, b"1"), True)
            await check(lambda txn: txn.get(path), lambda other: other.set(path, b"2"), b"2")
            await check(lambda txn: txn.children(root), lambda other: other.create(f"{root}/b"), ["a", "b"])
            await check(lambda txn: txn.children(root), lambda other: other.delete(f"{root}/b"), ["a"])
            await check(lambda txn: txn.children(path), lambda other: other.create(f"{path}/deep"), ["deep"])

            async def replace(other):
                await other.delete(f"{path}/deep")
                await other.create(f"{path}/deep")

            await check(lambda txn: txn.children(path), replace, ["deep"])
            await check(lambda txn: txn.exists(f"{root}/x/y/z"), lambda other: other.ensure_path(f"{root}/x/y/z"), True)
            await other.delete(f"{path}/deep")
            await check(lambda txn: txn.exists(path), lambda other: other.delete(path), False)


async def test_what_has_not_changed_does_not(client, hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other:
            await client.create(root)
            await client.create(f"{root}/a")
            await client.create(f"{root}/gone")
            await client.delete(f"{root}/gone")
            await other.sync(root)

            async def read(txn):
                assert await txn.exists(f"{root}/a") and not await txn.exists(f"{root}/b/c")
                assert await txn.children(f"{root}/a") == []
                return await txn.children(root)

            async def beside(other):
                await other.create(f"{root}-beside")

            assert await disturbed(client, other, read, beside) == (["a"], 1)
            assert await client.children(root) == ["a"], "the checks leave nothing behind"


async def test_a_znode_that_was_missing_is_made_by_one(client, hosts, root):
    """Both find none."""
    made = []

    async def make(client, name):
        async def fn(txn):
            if await txn.exists(root):
                return await txn.get(root)
            await anyio.sleep(0.01)
            txn.create(root, name)
            made.append(name)
            return name

        return await client.atomically(fn)

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, anyio.create_task_group() as tasks:
            tasks.start_soon(make, client, b"a")
            tasks.start_soon(make, other, b"b")
        assert (await client.get(root))[0] in made


async def test_a_result_without_writes_was_so_at_one_moment(client, hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other:
            await client.create(root)
            await client.create(f"{root}/a", b"0")
            await client.create(f"{root}/b", b"0")
            await other.sync(root)

            async def both(other):
                async with other.multi() as multi:
                    multi.set(f"{root}/a", b"1")
                    multi.set(f"{root}/b", b"1")

            runs = 0

            async def read(txn):
                nonlocal runs
                runs += 1
                a = await txn.get(f"{root}/a")
                if runs == 1:
                    await both(other)
                b = await txn.get(f"{root}/b")
                if a != b:
                    raise AssertionError("a state that never was")
                return a, b

            assert await client.atomically(read) == (b"1", b"1")
            assert runs == 2


async def test_what_fn_raises_writes_nothing(client, root):
    with anyio.fail_after(SECONDS):

        async def fails(txn):
            await txn.exists("/")
            txn.create(root)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.atomically(fails)
        assert await client.exists(root) is None


async def test_what_the_server_refuses_is_raised(client, root):
    await client.create(root)
    seen = []

    async def blind(txn):
        seen.append(txn)
        txn.set(root, b"1")
        txn.create(root)

    with anyio.fail_after(SECONDS):
        with pytest.raises(NodeExists, match=root):
            await client.atomically(blind)
        assert len(seen) == 1
        assert (await client.get(root))[0] == b""

        async def missing(txn):
            txn.set(f"{root}/none", b"1")

        with pytest.raises(NoNode, match="none"):
            await client.atomically(missing)
        with pytest.raises(RuntimeError, match="is over"):
            seen[0].set(root, b"2")


async def test_wrong_arguments(client, root):
    async def nothing(txn):
        return 5

    with anyio.fail_after(SECONDS):
        assert await client.atomically(nothing) == 5
        with pytest.raises(BadArguments, match="attempts=0"):
            await client.atomically(nothing, attempts=0)
        with pytest.raises(TypeError, match="coroutine function"):
            await client.atomically(lambda txn: 5)

        async def wrong(txn):
            txn.set(root, "text")

        with pytest.raises(TypeError, match="data: expected bytes"):
            await client.atomically(wrong)


async def test_attempts_are_bounded(client, hosts, root):
    await client.create(root)
    runs = 0
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other:
            await other.sync(root)

            async def fn(txn):
                nonlocal runs
                runs += 1
                await txn.get(root)
                await other.set(root, b"%d" % runs)
                txn.set(root, b"mine")

            with pytest.raises(UpdateConflict, match="3 attempts"):
                await client.atomically(fn, attempts=3)
        assert runs == 3
        assert (await client.get(root))[0] == b"3"


async def test_eight_tasks_lose_no_update(our_server, root):
    async def move(client, number):
        for _ in range(5):

            async def fn(txn):
                one, other = (f"{root}/{(number + step) % 3}" for step in (0, 1))
                txn.set(one, b"%d" % (int(await txn.get(one)) - 1))
                txn.set(other, b"%d" % (int(await txn.get(other)) + 1))

            await client.atomically(fn, attempts=1000)

    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client, connect(our_server.hosts) as second:
            await client.create(root)
            for number in range(3):
                await client.create(f"{root}/{number}", b"100")
            await second.sync(root)
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(move, (client, second)[number % 2], number)
            await client.sync(root)
            found = [int((await client.get(f"{root}/{number}"))[0]) for number in range(3)]
    # Numbers 0, 3 and 6 take from 0 and give to 1, five times each, and so on.
    assert found == [100 - 15 + 10, 100 - 15 + 15, 100 - 10 + 15]


async def test_each_lost_reply_in_turn_is_told_or_harmless(our_server, root):
    number = doubtful = 0
    while True:
        number += 1
        path = f"{root}-{number}"
        with anyio.fail_after(SECONDS):
            async with sabotaged(our_server.hosts) as (client, saboteur):
                await client.create(path, b"0")
                saboteur.replies, saboteur.lose_reply = 0, number

                async def fn(txn, path=path):
                    assert not await txn.exists(f"{path}/x")
                    txn.set(path, b"%d" % (int(await txn.get(path)) + 1))
                    txn.create(f"{path}/x")

                try:
                    await client.atomically(fn)
                except ConnectionLoss as error:
                    assert error.maybe_applied
                    doubtful += 1
                assert (await client.get(path))[0] == b"1"
                if not saboteur.lost:
                    break
    assert number == 6 and doubtful == 1
