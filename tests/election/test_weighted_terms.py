"""Terms that are announced, handed over, outweighed and damped, in memory."""

import anyio
import anyio.lowlevel
import pytest

from recipes.contender import Contender
from recipes.core.errors import BadArguments, LeadershipLost
from recipes.election.candidate import Candidate
from recipes.election.election import Election
from recipes.election.weights import is_asked

pytestmark = pytest.mark.anyio

SECONDS = 60


async def until(condition):
    with anyio.fail_after(SECONDS):
        while not condition():
            await anyio.sleep(0.001)


class Candidates:
    """Candidates in tasks of their own: `order` has who began a term, in turn, with its fence."""

    def __init__(self, store, tasks):
        self.store, self.tasks = store, tasks
        self.order, self.fences, self.terms, self.errors, self.done = [], [], {}, {}, {}

    async def join(self, name, **options):
        """Return once it stands in line."""
        client = self.store.client()
        self.done[name] = anyio.Event()
        self.tasks.start_soon(self.lead, name, Election(client, "/e", name.encode(), **options))
        await until(lambda: name in self.terms or client.session.id in self.owners())
        await anyio.sleep(0.01)

    def owners(self):
        return {stat.ephemeral_owner for _, stat in self.store.nodes.values()}

    async def lead(self, name, election):
        try:
            async with election.lead() as term:
                self.order.append(name)
                self.fences.append(term.fence)
                self.terms[name] = term
                await self.done[name].wait()
        except LeadershipLost as error:
            self.errors[name] = error

    async def leads(self, name):
        await until(lambda: name in self.terms)

    def end(self, *names):
        for name in names:
            self.done[name].set()


@pytest.fixture
def candidates(store):
    return lambda tasks: Candidates(store, tasks)


async def id_of(store, name):
    (found,) = [each for each in await Election(store.client(), "/e").candidates() if each.data == name.encode()]
    return found


# Announce.


async def test_announce_changes_what_others_see(store):
    other = Election(store.client(), "/e")
    seen = other.observe()
    async with Election(store.client(), "/e", b"starting").lead() as term:
        assert (await anext(seen)).data == b"starting"
        await term.announce(b"ready")
        leader = await anext(seen)
        assert (leader.data, leader.fence, leader.path) == (b"ready", term.fence, term.path)
        assert [each.data for each in await other.candidates()] == [b"ready"]
    await seen.aclose()


@pytest.mark.parametrize("lose_request", [False, True])
async def test_announce_survives_a_lost_reply(store, lose_request):
    async with Election(store.client(), "/e", b"starting").lead() as term:
        store.lose_reply, store.lose_request = len(store.requests) + 1, lose_request
        await term.announce(b"ready")
        assert store.nodes[term.path][0] == b"ready"


async def test_announce_behind_the_end_is_refused_and_changes_nothing(store):
    async with Election(store.client(), "/e").lead() as term:
        await term.resign()
        with pytest.raises(LeadershipLost):
            await term.announce(b"late")
    with pytest.raises(LeadershipLost):
        async with Election(store.client(), "/e").lead() as term:
            store.remove(term.path)
            await term.announce(b"late")
    assert store.names("/e") == []


# Transfer.


@pytest.mark.parametrize("by_id", [False, True])
async def test_transfer_lets_the_chosen_one_lead_and_nobody_else(store, candidates, by_id):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        for name in "abcd":
            await all_.join(name)
        await all_.leads("a")
        chosen = await id_of(store, "d")
        assert await all_.terms["a"].transfer(chosen.id if by_id else chosen) is True
        assert (all_.terms["a"].ended.is_set(), all_.terms["a"].lost) == (True, False)
        await all_.leads("d")
        assert all_.order == ["a", "d"]
        all_.end("a", "d")
        await all_.leads("b")
        all_.end("b", "c")
    assert all_.fences == sorted(all_.fences), "whoever gave way has a later fence"
    assert (all_.errors, store.names("/e"), store.watches) == ({}, [], [])


async def test_transfer_to_somebody_who_is_not_there_is_refused_and_the_term_goes_on(store):
    async with Election(store.client(), "/e").lead() as term:
        own = await id_of(store, "")
        for to in ("nobody", own):
            with pytest.raises(BadArguments, match="expected the id of another candidate"):
                await term.transfer(to)
        with pytest.raises(BadArguments, match="within=-1"):
            await term.transfer("nobody", within=-1)
        assert not term.ended.is_set()
        await term.resign()
        with pytest.raises(LeadershipLost):
            await term.transfer("nobody")


async def test_a_chosen_one_that_dies_meanwhile_leaves_leadership_to_the_next(store, candidates):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        for name in "abc":
            await all_.join(name)
        await all_.leads("a")
        chosen = await id_of(store, "c")
        removed = store.remove

        def dies_as_b_gives_way(path):
            removed(path)
            if path != chosen.path and chosen.path in store.nodes:
                removed(chosen.path)

        store.remove = dies_as_b_gives_way
        assert await all_.terms["a"].transfer(chosen) is False
        store.remove = removed
        await all_.leads("b")
        all_.end(*"abc")
    assert all_.order == ["a", "b"]
    assert list(all_.errors) == ["c"]


async def test_transfer_hands_to_the_next_when_somebody_does_not_give_way_in_time(store, candidates, monkeypatch):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        for name in "abc":
            await all_.join(name)
        await all_.leads("a")
        chosen = await id_of(store, "c")
        monkeypatch.setattr("recipes.election.candidate.gives_way", lambda *_: False)  # as one of an older version
        assert await all_.terms["a"].transfer(chosen, within=0.05) is False
        await all_.leads("b")
        all_.end(*"abc")
    assert store.names("/e") == []


async def test_a_cancelled_transfer_ends_the_term_all_the_same(store, candidates, monkeypatch):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        for name in "abc":
            await all_.join(name)
        await all_.leads("a")
        monkeypatch.setattr("recipes.election.candidate.gives_way", lambda *_: False)
        with anyio.move_on_after(0.05):
            await all_.terms["a"].transfer(await id_of(store, "c"), within=60)
        await all_.leads("b")
        all_.end(*"abc")
    assert store.names("/e") == []


async def test_transfer_goes_before_weights(store, candidates):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        await all_.join("a", weight=5)
        await all_.join("b", weight=9)
        await all_.join("c", weight=1)
        await all_.leads("a")
        assert await all_.terms["a"].transfer(await id_of(store, "c")) is True
        await all_.leads("c")
        all_.end("a", "c")
        await all_.leads("b")
        all_.end("b")
    assert all_.order == ["a", "c", "b"]


async def test_who_was_appointed_leads_although_it_is_asked_before_it_knows_that_it_is_its_turn(
    store, candidates, monkeypatch
):
    reads, go_on, line = [], anyio.Event(), Contender._line

    async def read_slowly(self):
        order = await line(self)
        if self._data == b"b" and self._unread and not reads:  # it was appointed, and "a" is still in front of it
            reads.append(order)
            await go_on.wait()
        return order

    monkeypatch.setattr(Contender, "_line", read_slowly)
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        await all_.join("a")
        await all_.join("b")
        await all_.leads("a")
        assert await all_.terms["a"].transfer(await id_of(store, "b")) is True
        await all_.join("c", weight=5)
        await until(lambda: any(is_asked(data) for data, _ in store.nodes.values()))
        go_on.set()
        await until(lambda: len(all_.order) == 2)
        all_.end(*"abc")
    assert len(reads[0]) == 2
    assert all_.order == ["a", "b", "c"]


# Weights.


async def test_the_heaviest_goes_first_and_equals_in_order_of_arrival(store, candidates):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        for name, weight in (("first", 0), ("a", 1), ("b", 3), ("c", 3), ("d", 0)):
            await all_.join(name, weight=weight)
        for number, name in enumerate(("first", "b", "c", "a")):
            await all_.leads(name)
            assert len(all_.order) == number + 1
            all_.end(name)
        await all_.leads("d")
        all_.end("d")
    assert all_.order == ["first", "b", "c", "a", "d"]
    assert all_.fences == sorted(all_.fences)
    assert (all_.errors, store.names("/e"), store.watches) == ({}, [], [])


async def test_candidates_show_weights_and_what_they_wrote_themselves(store, candidates):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        await all_.join("a")
        await all_.join("b", weight=12)  # which asks a to give way
        await until(lambda: store.nodes[all_.terms["a"].path][0] != b"a")
        election = Election(store.client(), "/e")
        shown = [(each.data, each.weight, each.revoke_requested) for each in await election.candidates()]
        assert shown == [(b"a", 0, True), (b"b", 12, False)]
        assert (await election.leader()).data == b"a"
        all_.end("a", "b")


@pytest.mark.parametrize(
    "options", [{"weight": -1}, {"weight": True}, {"weight": 1.5}, {"min_hold": -1.0}, {"rejoin_after": float("nan")}]
)
async def test_wrong_numbers_are_refused_by_name(store, options):
    ((name, value),) = options.items()
    with pytest.raises(BadArguments, match=f"{name}={value!r}"):
        Election(store.client(), "/e", **options)


async def test_a_leader_without_min_hold_is_left_alone(store, candidates):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        await all_.join("a")
        await all_.join("b", weight=1)
        await anyio.sleep(0.05)
        assert not all_.terms["a"].ended.is_set()
        all_.end("a", "b")
    assert all_.errors == {}


@pytest.mark.parametrize("announced", [b"", b"ready"])
async def test_a_leader_stands_down_once_it_has_led_long_enough(store, candidates, announced):
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        await all_.join("a", min_hold=0.2)
        await all_.leads("a")
        if announced:
            await all_.terms["a"].announce(announced)
        await all_.join("b", weight=1)
        await all_.leads("b")
        a, b = (all_.terms[name]._tenure for name in "ab")
        assert b._began - a._began >= 0.199  # uvloop rounds a delay to whole milliseconds
        all_.end("b")
    assert "stood down for a candidate that weighs more" in str(all_.errors["a"])
    assert (store.names("/e"), store.watches) == ([], [])


async def test_a_leader_goes_on_when_who_outweighed_it_is_gone(store, candidates, monkeypatch):
    waits, is_over = [], anyio.Event()

    async def wait(self):
        waits.append(self)
        await is_over.wait()

    monkeypatch.setattr(Candidate, "_wait_min_hold", wait)
    async with anyio.create_task_group() as tasks:
        all_ = candidates(tasks)
        await all_.join("a", min_hold=1000.0)
        await all_.join("b", weight=1)
        await until(lambda: waits)
        store.remove((await id_of(store, "b")).path)
        is_over.set()
        await until(lambda: not waits[0]._considering)
        assert not all_.terms["a"].ended.is_set()
        await all_.join("c", weight=2)  # and asks once more
        await all_.leads("c")
        all_.end("c")
    assert all_.order == ["a", "c"]


# Damping.


async def test_run_stays_out_of_the_line_after_a_loss(store):
    lost, joined = [], []

    async def work(term):
        joined.append(anyio.current_time())  # alone, it leads as soon as it has joined
        if len(joined) == 2:
            raise ValueError("enough")
        lost.append(anyio.current_time())
        store.remove(term.path)
        await anyio.sleep_forever()

    with pytest.raises(ValueError, match="enough"):
        await Election(store.client(), "/e", rejoin_after=0.2).run(work)
    assert joined[1] - lost[0] > 0.19


async def test_run_joins_again_at_once_when_it_has_stood_down(store, candidates):
    terms = []

    async def work(term):
        terms.append(term)
        if len(terms) == 2:
            raise ValueError("enough")
        await anyio.sleep_forever()

    async def run():
        with pytest.raises(ValueError, match="enough"):
            await Election(store.client(), "/e", b"run", min_hold=0.0, rejoin_after=1000.0).run(work)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            all_ = candidates(tasks)
            tasks.start_soon(run)
            await until(lambda: terms)
            await all_.join("heavy", weight=1)
            await all_.leads("heavy")
            await until(lambda: len(store.names("/e")) == 2)
            all_.end("heavy")
    assert len(terms) == 2 and terms[0].lost
