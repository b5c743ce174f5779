"""Rounds of a double barrier, on our server and on Apache's, on asyncio and on trio."""

from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from recipes.barrier.book import Book, RoundSettings
from recipes.barrier.double import DoubleBarrier
from recipes.core.client.connect import connect
from recipes.core.errors import BadArguments, BarrierFull, BrokenBarrier, NoNode, SettingsDiffer
from recipes.testing.expire import expire_session

pytestmark = pytest.mark.anyio


class Parties:
    """Named parties in tasks of their own, and what became of each."""

    def __init__(self, tasks, client, root, parties, on_death):
        self.tasks, self.client, self.root = tasks, client, root
        self.parties, self.on_death = parties, on_death
        self.entered, self.ended, self.go, self.fail, self.scopes = {}, {}, {}, {}, {}

    def come(self, name, client=None):
        for events in (self.go, self.fail):
            events[name] = anyio.Event()
        self.scopes[name] = anyio.CancelScope()
        self.tasks.start_soon(self._run, name, client or self.client)

    async def _run(self, name, client):
        barrier = DoubleBarrier(client, self.root, self.parties, on_death=self.on_death, name=name)
        with self.scopes[name]:
            try:
                async with barrier as entered:
                    self.entered[name] = entered
                    await self.go[name].wait()
                    if self.fail[name].is_set():
                        raise ValueError(name)
            except (BrokenBarrier, BarrierFull, ValueError) as error:
                self.ended[name] = error
            except Exception as error:
                self.ended[name] = error
            else:
                self.ended[name] = "left"
        self.ended.setdefault(name, "cancelled")

    async def are_in_line(self, count, number=1):
        await until(lambda: self._in_line(count, number))

    async def _in_line(self, count, number):
        try:
            names = await self.client.children(f"{self.root}/round-{number:010d}")
        except NoNode:
            return False
        return sum(name.startswith("_r_") and name[-1].isdigit() for name in names) == count

    async def some(self, suffix, number=1):
        return any(name.endswith(suffix) for name in await self.client.children(f"{self.root}/round-{number:010d}"))

    async def have_entered(self, *names):
        await until(lambda: set(names) <= set(self.entered))

    async def have_ended(self, *names):
        await until(lambda: set(names) <= set(self.ended))

    def leave(self, *names):
        for name in names:
            self.go[name].set()


async def until(condition):
    with anyio.fail_after(60):
        while True:
            answer = condition()
            if not isinstance(answer, bool):
                answer = await answer
            if answer:
                return
            await anyio.sleep(0.01)


@asynccontextmanager
async def parties_at(hosts, root, parties, on_death="break"):
    async with connect(hosts) as client:
        async with anyio.create_task_group() as tasks:
            yield Parties(tasks, client, root, parties, on_death)
        # Nobody is in line any more, and nothing but the last two rounds is left.
        for name in await client.children(root):
            with suppress(NoNode):  # it is cleared away just now
                left = await client.children(f"{root}/{name}")
                assert not [each for each in left if each[-1].isdigit() or each.endswith(".place")], left


@pytest.fixture
def at(hosts, root):
    return lambda parties, on_death="break": parties_at(hosts, root, parties, on_death)


async def test_all_enter_and_leave_together_round_after_round(hosts, root):
    log = []
    async with connect(hosts) as one, connect(hosts) as two:

        async def party(client, name):
            barrier = DoubleBarrier(client, root, 4, name=name)
            for _ in range(3):
                log.append(("come", name))
                async with barrier as entered:
                    assert sorted(entered.members) == ["p0", "p1", "p2", "p3"]
                    log.append(("in", entered.number))
                    await client.exists("/")
                log.append(("out", entered.number))

        async with anyio.create_task_group() as tasks:
            for index, client in enumerate([one, two, one, two]):
                tasks.start_soon(party, client, f"p{index}")
        for number in (1, 2, 3):
            entries = [index for index, what in enumerate(log) if what == ("in", number)]
            exits = [index for index, what in enumerate(log) if what == ("out", number)]
            assert len(entries) == len(exits) == 4
            assert max(entries) < min(exits)
        comings = [index for index, (what, _) in enumerate(log) if what == "come"]
        assert comings[3] < log.index(("in", 1))

        async def is_cleared():  # what rounds before the last one left, by a task of a client's own
            return await one.children(root) == ["round-0000000003", "round-0000000004"]

        await until(is_cleared)
        assert await one.children(f"{root}/round-0000000004") == ["out"]


@pytest.mark.parametrize("hasty", ["first", "last"])
async def test_p19_u24_one_that_is_cancelled_breaks_the_round_for_all_that_came(at, hasty):
    async with at(4) as parties:
        names = ["hasty", "a", "b"] if hasty == "first" else ["a", "b", "hasty"]
        for count, name in enumerate(names, 1):
            parties.come(name)
            await parties.are_in_line(count)
        parties.scopes["hasty"].cancel()
        await parties.have_ended("a", "b", "hasty")
        for name in ("a", "b"):
            assert isinstance(parties.ended[name], BrokenBarrier)
            assert (parties.ended[name].who, parties.ended[name].round) == ("hasty", 1)
            assert "hasty: it was cancelled" in str(parties.ended[name])
        for name in "cdef":  # the next round needs no reset
            parties.come(name)
        await parties.have_entered(*"cdef")
        assert {parties.entered[name].number for name in "cdef"} == {2}
        parties.leave(*"cdef")


@pytest.mark.parametrize("dies", ["first", "last"])
async def test_u23_one_that_dies_before_all_are_in_breaks_the_round(at, hosts, dies):
    async with at(4) as parties, connect(hosts) as other:
        names = ["dies", "a", "b"] if dies == "first" else ["a", "b", "dies"]
        for count, name in enumerate(names, 1):
            parties.come(name, other if name == "dies" else None)
            await parties.are_in_line(count)
        await expire_session(other, hosts)
        await parties.have_ended("a", "b", "dies")
        assert [parties.ended[name].who for name in "ab"] == ["dies", "dies"]


async def test_one_that_dies_inside_breaks_the_leaving_and_cancels_nobody(at, hosts):
    async with at(3) as parties, connect(hosts) as other:
        for name in "abx":
            parties.come(name, other if name == "x" else None)
        await parties.have_entered(*"abx")
        parties.leave("a")
        await expire_session(other, hosts)
        await until(lambda: all(parties.entered[name].broken.is_set() for name in "bx"))
        await parties.have_ended("a")
        assert parties.ended["a"].who == "x" and "b" not in parties.ended
        parties.leave("b", "x")
        await parties.have_ended("b", "x")
        assert parties.ended["b"].who == "x"
        assert isinstance(parties.ended["x"], Exception)


async def test_a_block_that_fails_breaks_the_leaving_and_keeps_its_own_exception(at):
    async with at(3) as parties:
        for name in "abc":
            parties.come(name)
        await parties.have_entered(*"abc")
        parties.leave("a")
        parties.fail["b"].set()
        parties.leave("b")
        await parties.have_ended("a", "b")
        assert isinstance(parties.ended["b"], ValueError)
        assert parties.ended["a"].who == "b" and "ValueError" in str(parties.ended["a"])
        await until(lambda: parties.entered["c"].broken.is_set())
        parties.leave("c")
        await parties.have_ended("c")
        assert parties.ended["c"].who == "b"


async def test_with_shrink_the_dead_do_not_count(at, hosts):
    async with at(4, "shrink") as parties, connect(hosts) as one, connect(hosts) as two:
        for count, (name, client) in enumerate([("a", None), ("x", one), ("b", None)], 1):
            parties.come(name, client)
            await parties.are_in_line(count)
        await expire_session(one, hosts)  # before all are in
        await parties.are_in_line(2)
        parties.come("y", two)
        await parties.have_entered("a", "b", "y")
        assert parties.entered["a"].members == ("a", "b", "y")
        parties.leave("a")
        await expire_session(two, hosts)  # inside
        parties.leave("b")
        await parties.have_ended("a", "b")
        assert parties.ended["a"] == parties.ended["b"] == "left"
        parties.leave("y")


async def test_with_wait_the_place_of_the_dead_is_taken_by_another(at, hosts):
    async with at(3, "wait") as parties, connect(hosts) as one, connect(hosts) as two:
        for count, (name, client) in enumerate([("x", one), ("a", None)], 1):
            parties.come(name, client)
            await parties.are_in_line(count)
        await expire_session(one, hosts)  # before all are in
        await parties.are_in_line(1)
        parties.come("b")
        parties.come("y", two)
        await parties.have_entered("a", "b", "y")
        await expire_session(two, hosts)  # inside
        parties.leave("a")
        parties.come("z")
        await parties.have_entered("z")
        assert parties.entered["z"].number == 1
        parties.leave("b")
        await parties.client.sync("/")
        assert "a" not in parties.ended and "b" not in parties.ended
        parties.leave("z", "y")
        await parties.have_ended("a", "b", "z", "y")
        assert {parties.ended[name] for name in "abz"} == {"left"}


async def test_a_place_that_was_given_up_with_the_round_is_not_taken_again(at):
    """A party that reads an older state sees a dead member's place as free when its taker has left."""
    async with at(2, "wait") as parties:
        book = Book(parties.client, RoundSettings(parties.root, 2, "wait", "late", None), 0)
        await book.find_round()
        place = f"{book.dir}/_r_1@x-party-0000000001.place"
        assert await book.take_place("_r_1@x-party-0000000001") == place
        await parties.client.create(f"{book.dir}/_r_2@y-party-0000000002.left")
        assert await book.take_place("_r_2@y-party-0000000002") == ""
        assert await parties.some("@x-party-0000000001.place") and not await parties.some("@y-party-0000000002.place")
        await parties.client.delete(place)


async def test_u24_one_too_many_is_refused_while_all_are_inside_and_goes_to_the_next_round_afterwards(at):
    async with at(2) as parties:
        parties.come("a")
        parties.come("b")
        await parties.have_entered("a", "b")
        parties.come("c")
        await parties.have_ended("c")
        assert isinstance(parties.ended["c"], BarrierFull) and "2 parties are inside" in str(parties.ended["c"])
        parties.leave("a")
        await until(lambda: parties.some(".left"))
        parties.come("d")
        await parties.are_in_line(1, number=2)
        parties.leave("b")
        await parties.have_ended("a", "b")
        parties.come("e")
        await parties.have_entered("d", "e")
        assert parties.entered["d"].number == 2
        parties.leave("d", "e")


@pytest.mark.parametrize("on_death", ["break", "shrink", "wait"])
async def test_one_that_is_cancelled_as_it_begins_to_leave_has_left(at, on_death):
    async with at(2, on_death) as parties:
        parties.come("a")
        hasty = DoubleBarrier(parties.client, parties.root, 2, on_death=on_death, name="hasty")
        await hasty.__aenter__()
        with anyio.CancelScope() as scope:
            scope.cancel()  # so that its request to leave is never sent
            await hasty.__aexit__(None, None, None)
        await parties.have_entered("a")
        parties.leave("a")
        await parties.have_ended("a")
        assert parties.ended["a"] == "left"


async def test_users_of_one_path_that_disagree_are_told_so(hosts, root):
    async with connect(hosts) as client:
        async with DoubleBarrier(client, root, 1):
            pass
        with pytest.raises(SettingsDiffer, match=r"parties=1.*parties=2"):
            async with DoubleBarrier(client, root, 2):
                pass
        with pytest.raises(SettingsDiffer, match=r"on_death=break.*on_death=wait"):
            async with DoubleBarrier(client, root, 1, on_death="wait"):
                pass


@pytest.mark.parametrize(("parties", "on_death", "named"), [(0, "break", "parties=0"), (2, "die", "on_death='die'")])
def test_settings_that_make_no_sense_are_refused(parties, on_death, named):
    with pytest.raises(BadArguments, match=named):
        DoubleBarrier(None, "/barrier", parties, on_death=on_death)


async def test_who_goes_on_to_the_next_round_leaves_nothing_of_the_last_one(hosts, root):
    """One request deletes the old place and creates the new one; it need not succeed, and need not be made."""
    async with connect(hosts) as client, connect(hosts) as other:
        barrier, numbers = DoubleBarrier(client, root, 1), []
        for turn in range(4):
            async with barrier as entered:
                numbers.append(entered.number)
                place, last = await the_place(other, root, entered.number), entered.number
                if turn == 1:
                    await other.delete(place)  # then it is no longer there to be deleted
            if turn == 2:
                await until(lambda: not any(client.session.watches.values()))  # a barrier that nobody is in
                assert not await other.exists(place)
        assert numbers == [1, 2, 3, 4]
        await until(lambda: not any(client.session.watches.values()))
        assert await the_place(other, root, last) is None


async def test_the_number_of_a_place_counts_what_was_created_before_it_whatever_was_deleted(hosts, root):
    """A party that goes on to the next round lists the others only if this number says that it may complete it."""
    async with connect(hosts) as client:
        async with client.multi() as multi:
            multi.create(root)
            multi.create(f"{root}/out")
        numbers = []

        async def come():
            async with client.multi() as multi:
                multi.create(f"{root}/party-", ephemeral=True, sequential=True)
            numbers.append(int(multi.results[0][-10:]))
            return multi.results[0]

        first = await come()
        await client.delete(str(first))
        async with client.multi() as multi:
            multi.delete(await come())
            multi.create(f"{first}.died")
        await client.create(f"{root}/out/n", sequential=True)  # a child of a child
        await client.set(root, b"gate")
        await come()
        assert numbers == [1, 2, 4]


async def the_place(client, root, number):
    """The path of the only party's znode in that round."""
    round_path = f"{root}/round-{number:010d}"
    names = [name for name in await client.children(round_path, latest=True) if name[-1].isdigit()]
    return f"{round_path}/{names[0]}" if names else None


@pytest.mark.parametrize("parties", [1, 2])
async def test_w4_a_block_may_be_left_by_another_task(hosts, root, parties):
    async with connect(hosts) as client:
        barrier = DoubleBarrier(client, root, parties)
        for step in (barrier.__aenter__, lambda: barrier.__aexit__(None, None, None)):
            async with anyio.create_task_group() as tasks:
                for _ in range(parties):
                    tasks.start_soon(step)
        left = await client.children(f"{root}/round-0000000001")
        assert [name for name in left if name[-1].isdigit()] == []
        with pytest.raises(RuntimeError, match="is not inside the barrier"):
            await barrier.__aexit__(None, None, None)
