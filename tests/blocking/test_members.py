"""What keeps itself present, is divided, or commits with others, for threads on a real server."""

import threading
import time

import anyio
import pytest

from recipes import BranchId, ClientClosed, CommitProtocol, MembershipLost, MemoryParticipant, TransactionAborted
from recipes.blocking import Coordinator, EphemeralNode, Group, Partitioner, ServiceRegistry, Termination, connect
from recipes.transaction.record import Decision, Record
from tests.blocking.conftest import SECONDS, Worker, until


class Mine(Exception):
    pass


def test_an_ephemeral_znode_comes_back_when_somebody_deletes_it(client, root):
    with EphemeralNode(client, root, b"1") as node:
        assert (node.present, node.path, node.data, node.losses, node.error) == (True, root, b"1", 0, None)
        before = node.fence
        client.delete(root)
        until(lambda: node.fence > before)
        node.wait_present(within=SECONDS)
        node.update(b"2", within=SECONDS)
        assert client.get(root)[0] == b"2"
    assert client.exists(root) is None


def test_a_membership_that_stays_outlives_its_session(our_server, expire, root):
    with connect(our_server.hosts, renew=True) as client:
        group = Group(client, root)
        with group.stay(b"me") as presence:
            expire(client)
            until(lambda: presence.losses == 1 and presence.present)
            (member,) = group.members()
            assert (member.data, presence.name in member.path) == (b"me", True)
        with pytest.raises(MembershipLost), group.join() as joined:
            expire(client)
            assert joined.ended.wait(SECONDS)


def test_instances_of_a_service_are_registered_chosen_and_left_out(client, root):
    registry = ServiceRegistry(client, root)
    with registry.provider("web") as provider, registry.register("web", "10.0.0.1", 80, payload={"a": 1}) as one:
        assert provider.wait(within=SECONDS) == one.instance
        one.update_payload({"a": 2}, within=SECONDS)
        until(lambda: provider.instances()[0].payload == {"a": 2})
        with registry.register("web", "10.0.0.2", 80) as two:
            until(lambda: len(provider.instances()) == 2)
            for _ in range(2):
                provider.note_error(one.instance)
            assert provider.is_down(one.instance)
            assert {provider.choose() for _ in range(4)} == {two.instance}
        assert (registry.services(), [each.address for each in registry.instances("web")]) == (["web"], ["10.0.0.1"])
        assert (provider.state, provider.losses) == ("current", 0)


def test_items_are_divided_among_threads_and_given_up_when_their_work_has_returned(our_server, client, root):
    first, second = set(), set()
    over = threading.Event()

    def work(mine):
        def do(partition):
            assert not partition.wanted_elsewhere.is_set()
            mine.add(partition.item)
            partition.wanted_elsewhere.wait(SECONDS)
            mine.remove(partition.item)
            if over.is_set():
                raise Mine

        return do

    items = ["x", "y", "z"]
    with connect(our_server.hosts) as other:
        one, two = Partitioner(client, root, items), Partitioner(other, root, items)
        running = Worker(lambda: one.run(work(first)))
        until(lambda: len(first) == 3)
        joined = Worker(lambda: two.run(work(second)))
        until(lambda: first and second and first | second == set(items))
        assert (one.items, two.items, one.losses) == (first, second, 0)
    with pytest.raises((ExceptionGroup, ClientClosed)):  # its client is closed
        joined.finish()
    until(lambda: first == set(items))
    over.set()
    # One item is wanted elsewhere: its work raises, all other work is told to end, and what was raised comes out.
    with connect(our_server.hosts) as third:
        last = Worker(lambda: Partitioner(third, root, items).run(work(second)))
        with pytest.raises(ExceptionGroup) as told:
            running.finish()
    assert told.group_contains(Mine)
    with pytest.raises((ExceptionGroup, ClientClosed)):
        last.finish()
    assert first == second == set()


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_a_transaction_commits_or_aborts_with_its_block(client, root, protocol):
    parties = {"a": MemoryParticipant(), "b": MemoryParticipant()}
    with Coordinator(client, root, participants=parties) as coordinator:
        with coordinator.begin(protocol=protocol) as tx:
            for name in parties:
                tx.enlist(name)["x"] = 1
            assert tx.outcome is None
        assert (tx.outcome, tx.unsettled) == ("commit", {})
        with pytest.raises(Mine), coordinator.begin() as tx:
            tx.enlist("a")["x"] = 2
            raise Mine
        with pytest.raises(TransactionAborted, match="time is up"), coordinator.begin(deadline=0.05) as tx:
            tx.enlist("a")["x"] = 3
            started = time.monotonic()
            until(lambda: time.monotonic() > started + 0.1)  # nothing cancels the body of a thread
        assert parties["a"].values == parties["b"].values == {"x": 1}
        until(lambda: coordinator.stats().aborted == 2)
        assert coordinator.stats().committed == 1


def test_a_branch_that_waits_for_too_long_learns_what_was_decided(client, root):
    async def prepare():
        (await party.begin(branch))["x"] = 1
        await party.prepare(branch)

    party = MemoryParticipant(clock=time.monotonic)
    with Coordinator(client, root, participants={"a": party}) as coordinator:
        branch = BranchId(coordinator.fleet, "1-1", "a")
    anyio.run(prepare)
    owner = f"{root}/default/coordinators/gone"
    record = Record(branch.transaction, CommitProtocol.TWO_PHASE, ("a",), owner, 1.0, Decision.COMMIT)
    client.create(f"{root}/default/records/1-1", record.encode())
    with Termination(client, root, {"a": party}, after=0.01):
        until(lambda: party.values == {"x": 1})


def test_what_a_participant_gives_is_waited_for(client, root):
    class Sql:
        sent: list[str] = []
        rows = 1

        async def execute(self, sql, params=()):
            self.sent.append(sql)
            return [tuple(params)]

    class Database(MemoryParticipant):
        async def begin(self, branch):
            (await super().begin(branch))["x"] = 1
            return Sql()

    with Coordinator(client, root, participants={"a": Database()}) as coordinator, coordinator.begin() as tx:
        sql = tx.enlist("a")
        assert sql.execute("UPDATE", params=[7]) == [(7,)]
        assert (sql.rows, sql.sent) == (1, ["UPDATE"])
