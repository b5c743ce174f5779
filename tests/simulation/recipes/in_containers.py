"""Operations that stand in containers, or look at them, beside those of locks and elections: of groups, presences,
services and coordinators. For the matrix in which containers are removed; see matrix.py.
"""

from contextlib import aclosing

import anyio

from recipes import (
    ACL,
    Coordinator,
    Election,
    EphemeralNode,
    Group,
    Id,
    Lock,
    MemoryParticipant,
    Partitioner,
    ServiceRegistry,
    Termination,
    TtlNode,
)
from recipes.transaction.branch import Answer
from recipes.transaction.participant import BranchId
from recipes.transaction.record import Record
from recipes.transaction.stages import CommitProtocol
from tests.simulation.recipes.matrix import Scene

OPEN = [ACL(31, Id("world", "anyone"))]


async def lock_with_an_acl(client):
    async with Lock(client, "/m/below/lock", acl=OPEN) as grant:
        return grant.fence > 0


async def create_below(client):
    async with Lock(client, "/m/below/lock"):
        pass
    path = await client.create("/m/below/value", make_parents=True)
    await client.delete(path)
    return True


async def stay(client):
    group = Group(client, "/m/group")
    async with group.stay(b"here") as presence:
        await presence.update(b"still here")
        return presence.present and len(await group.members()) == 1


async def enter_now_and_then(block):
    """block: makes what is entered."""
    while True:
        async with block():
            await anyio.sleep(0.03)
        await anyio.sleep(0.03)


async def sees_one_go_and_come(states):
    """Whether the stream shows somebody, nobody, and somebody again."""
    seen = []
    async with aclosing(states):
        async for state in states:
            seen.append(bool(state))
            if seen[-3:] == [True, False, True]:
                return True


async def come_and_go(client):
    await enter_now_and_then(Group(client, "/m/group").join)


async def watch_members(client):
    return await sees_one_go_and_come(Group(client, "/m/group").watch())


async def lead_now_and_then(client):
    await enter_now_and_then(Election(client, "/m/lead").lead)


async def observe(client):
    return await sees_one_go_and_come(Election(client, "/m/lead").observe())


async def be_present(client):
    async with EphemeralNode(client, "/m/nodes/here", b"here") as node:
        await node.update(b"still here")
        return node.present


async def register(client):
    registry = ServiceRegistry(client, "/m/services")
    async with registry.register("web", "10.0.0.1", 80):
        return [each.port for each in await registry.instances("web")] == [80] and await registry.services() == ["web"]


def keep(path):
    async def act(client):
        """The znode stands there already, and its child's time is up."""
        await client.create(path, container=True, make_parents=True)
        async with TtlNode(client, path, b"here", ttl=60) as node:
            await node.update(b"still here")
            return node.present

    return act


async def divide(client):
    begun = anyio.Event()

    async def work(partition):
        begun.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Partitioner(client, "/m/parts", ["one"]).run, work)
        await begun.wait()
        tasks.cancel_scope.cancel()
    return True


async def transact(client):
    participants = {"one": MemoryParticipant(), "two": MemoryParticipant()}
    async with Coordinator(client, "/m/transactions", participants=participants) as coordinator:
        async with coordinator.begin() as tx:
            for name in participants:
                (await tx.enlist(name))["key"] = name
    return tx.outcome == "commit" and participants["two"].values == {"key": "two"}


async def end_what_was_left(client):
    """A coordinator leaves a prepared branch undecided, and goes: the branch asks the record, and is aborted."""
    participant = MemoryParticipant()
    async with Coordinator(client, "/m/transactions", participants={"one": participant}, serve=False) as coordinator:
        branch = BranchId(coordinator.fleet, f"1-{client.random.getrandbits(64):016x}", "one")
        record = Record(branch.transaction, CommitProtocol.TWO_PHASE, ("one",), coordinator._own, 10.0)
        await coordinator._records.write(record, coordinator._own)
        (await participant.begin(branch))["key"] = 1
        prepared = await participant.prepare(branch) is Answer.PREPARED
    async with Termination(client, "/m/transactions", {"one": participant}, after=0.01):
        while await participant.recover():
            await anyio.sleep(0.01)
    return prepared and not participant.values


IN_CONTAINERS = [
    Scene("lock with an acl", lock_with_an_acl),
    Scene("create below containers", create_below),
    Scene("stay", stay),
    Scene("members, watched", watch_members, come_and_go),
    Scene("leaders, observed", observe, lead_now_and_then),
    Scene("ephemeral node", be_present),
    Scene("service", register),
    Scene("ttl node", keep("/m/kept")),
    Scene("ttl node at the root", keep("/kept")),
    Scene("partition", divide),
    Scene("transaction", transact),
    Scene("termination", end_what_was_left),
]
