"""Time-outs of participants: on real servers; what they come to under faults is in tests/simulation."""

from itertools import product

import anyio
import pytest

from recipes import BadArguments, connect
from recipes.testing.expire import expire_session
from recipes.transaction.branch import BranchState, Request
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.memory import MemoryParticipant
from recipes.transaction.participant import BranchId
from recipes.transaction.record import Decision, Record
from recipes.transaction.stages import CommitProtocol
from recipes.transaction.termination import ACTIONS, Action, Finding, Termination, commits_by_itself, find
from tests.queue.conftest import SECONDS, until

of_store = pytest.mark.anyio
LIVING = {"member-1"}


@pytest.mark.parametrize(
    ("owner", "branches", "decision", "action"),
    [
        ("/c/member-1", ("a", "b"), None, Action.WAIT),
        ("/c/member-2", ("a", "b"), None, Action.DECIDE_ABORT),
        *(
            (f"/c/member-{number}", branches, decision, action if "a" in branches else Action.LEAVE)
            for number, branches, (decision, action) in product(
                (1, 2),
                (("a", "b"), ("b",)),
                ((Decision.COMMIT, Action.COMMIT), (Decision.ABORT, Action.ABORT)),
            )
        ),
        ("/c/member-1", ("b",), None, Action.LEAVE),
        ("/c/member-2", ("b",), None, Action.LEAVE),
    ],
)
def test_what_is_done_follows_from_the_record(owner, branches, decision, action):
    record = Record("1-2", CommitProtocol.THREE_PHASE, branches, owner, 1.0, decision)
    assert ACTIONS[find(record, "a", LIVING)] is action


def test_what_has_no_record_is_left():
    assert ACTIONS[find(None, "a", LIVING)] is Action.LEAVE
    assert set(ACTIONS) == set(Finding)


def test_only_what_was_prepared_under_3pc_commits_by_itself_and_only_where_that_was_asked_for():
    assert [pair for pair in product(("ask", "commit"), CommitProtocol) if commits_by_itself(*pair)] == [
        ("commit", CommitProtocol.THREE_PHASE)
    ]


class Prepared:
    """A transaction of which both branches are prepared, and nobody is told what became of it."""

    def __init__(self, client, root):
        self.client = client
        self.root = root
        self.parties = {"a": MemoryParticipant(), "b": MemoryParticipant()}
        self.record = None

    async def leave(self, protocol="2pc", *, decision=None, owner="", record=True):
        """owner: name of the coordinator's znode, which nobody has without it."""
        async with Coordinator(self.client, self.root, participants=self.parties, serve=False) as coordinator:
            fleet = coordinator.fleet
        for name, party in self.parties.items():
            branch = BranchId(fleet, "1-2", name)
            (await party.begin(branch))["x"] = name
            await (party.pre_commit if protocol == "3pc" else party.prepare)(branch)
        self.record = Record("1-2", CommitProtocol(protocol), ("a", "b"), owner or "/gone", 1.0, decision)
        if record:
            await self.client.create(f"{self.root}/default/records/1-2", self.record.encode())

    def ending(self, client=None, **how):
        return Termination(client or self.client, self.root, {"a": self.parties["a"]}, after=0.05, **how)

    @property
    def state(self):
        (state,) = self.parties["a"].states.values()
        return state

    async def ended(self):
        async def is_over():
            return self.state is not BranchState.PREPARED

        await until(is_over)
        return self.state

    async def stored(self):
        return Record.decode("/1-2", *await self.client.get(f"{self.root}/default/records/1-2"))


@pytest.fixture
async def client(hosts):
    async with connect(hosts) as client:
        yield client


@pytest.fixture
def prepared(client, root):
    return Prepared(client, root)


@of_store
@pytest.mark.parametrize(
    ("decision", "state"), [(Decision.COMMIT, BranchState.COMMITTED), (Decision.ABORT, BranchState.ABORTED)]
)
async def test_a_branch_that_nobody_told_carries_out_what_is_decided(prepared, decision, state):
    await prepared.leave(decision=decision)
    async with prepared.ending():
        assert await prepared.ended() is state
    assert BranchState.PREPARED in prepared.parties["b"].states.values()  # it is for its own process to end


@of_store
async def test_a_transaction_without_decision_and_coordinator_is_aborted_for_all(prepared):
    await prepared.leave("3pc")
    async with prepared.ending():
        assert await prepared.ended() is BranchState.ABORTED
    stored = await prepared.stored()
    assert (stored.decision, stored.why) == (Decision.ABORT, "its coordinator is gone")


def looks(party):
    """How often it was asked what waits there."""
    seen, waiting = [], party.waiting

    async def counted():
        seen.append(1)
        return await waiting()

    party.waiting = counted
    return seen


@of_store
async def test_a_branch_waits_while_its_coordinator_lives(prepared):
    async with Coordinator(prepared.client, prepared.root, participants=prepared.parties, serve=False) as coordinator:
        await prepared.leave("3pc", owner=coordinator._own)
        seen = looks(prepared.parties["a"])
        async with prepared.ending():

            async def looked():
                return len(seen) >= 8

            await until(looked)
        assert prepared.state is BranchState.PREPARED
    assert (await prepared.stored()).decision is None


@of_store
async def test_an_orphan_is_named_once_and_left(prepared, caplog):
    await prepared.leave(record=False)
    seen = looks(prepared.parties["a"])
    async with prepared.ending():

        async def looked():
            return len(seen) >= 12

        await until(looked)
    assert prepared.state is BranchState.PREPARED
    assert caplog.text.count("its transaction has no record") == 1


@of_store
async def test_with_commit_only_a_branch_of_3pc_commits_by_itself(prepared):
    await prepared.leave("3pc", decision=Decision.ABORT)
    async with prepared.ending(on_timeout="commit"):
        assert await prepared.ended() is BranchState.COMMITTED


@of_store
async def test_with_commit_a_branch_of_2pc_asks(prepared):
    await prepared.leave("2pc", decision=Decision.ABORT)
    async with prepared.ending(on_timeout="commit"):
        assert await prepared.ended() is BranchState.ABORTED


@of_store
async def test_a_participant_that_does_not_say_how_long_is_watched(prepared):
    prepared.parties["a"].waiting = None
    await prepared.leave("3pc", decision=Decision.ABORT)
    async with prepared.ending(on_timeout="commit"):
        assert await prepared.ended() is BranchState.ABORTED


@of_store
@pytest.mark.parametrize("decision", [Decision.COMMIT, None])
async def test_a_branch_asks_also_when_no_coordinator_has_been_there_for_long(prepared, decision):
    """The parent of their znodes is a container: it goes when it has been empty for a while."""
    await prepared.leave(decision=decision)
    await prepared.client.delete(f"{prepared.root}/default/coordinators")
    async with prepared.ending():
        assert await prepared.ended() is (BranchState.COMMITTED if decision else BranchState.ABORTED)


@of_store
async def test_it_goes_on_in_the_next_session_of_a_client_that_renews(hosts, prepared):
    async with connect(hosts, renew=True) as renewing:
        async with Coordinator(prepared.client, prepared.root, participants=prepared.parties, serve=False):
            pass
        async with prepared.ending(renewing):
            await expire_session(renewing, hosts)
            await prepared.leave(decision=Decision.COMMIT)
            assert await prepared.ended() is BranchState.COMMITTED


@of_store
async def test_a_participant_that_raises_is_asked_again(prepared):
    await prepared.leave(decision=Decision.COMMIT)
    party = prepared.parties["a"]
    failures = []

    async def fail(request, branch):
        if request is Request.COMMIT and len(failures) < 2:
            failures.append(request)
            raise OSError("away")

    party.before = fail
    async with prepared.ending():
        assert await prepared.ended() is BranchState.COMMITTED
    assert len(failures) == 2


@of_store
async def test_what_is_waited_for_says_protocol_and_time():
    party = MemoryParticipant()
    branches = [BranchId("0" * 8, "1-2", name) for name in ("two", "three")]
    for branch in branches:
        (await party.begin(branch))[branch.participant] = 1
    await party.prepare(branches[0])
    await party.pre_commit(branches[1])
    assert [(each.branch, each.protocol) for each in await party.waiting()] == [
        (branches[0], CommitProtocol.TWO_PHASE),
        (branches[1], CommitProtocol.THREE_PHASE),
    ]
    with anyio.fail_after(SECONDS):
        while not all(each.seconds > 0 for each in await party.waiting()):
            await anyio.sleep(0.001)
    for branch in branches:
        await party.commit(branch)
    assert await party.waiting() == []


def test_bad_input_of_termination_is_named():
    for how, match in (
        ({"participants": {}}, r"participants=\{\}"),
        ({"after": 0}, "after=0: expected seconds"),
        ({"on_timeout": "abort"}, 'on_timeout=\'abort\': expected "ask" or "commit"'),
        ({"participants": {"a b": MemoryParticipant()}}, "the name 'a b'"),
    ):
        with pytest.raises(BadArguments, match=match):
            Termination(None, "/transactions", **{"participants": {"a": MemoryParticipant()}} | how)
