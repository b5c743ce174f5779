"""A transaction that is decided, and whose participants have not all proved it."""

import anyio

SECONDS = 60


async def commit_unproved(coordinator, values):
    """Decide to commit, and leave the block while it waits for the proof. values: what each branch writes.

    One of the participants must fail in the second phase. Returns the transaction.
    """
    tx = coordinator.begin(deadline=SECONDS)

    async def transact():
        async with tx:
            for name, work in values.items():
                branch = await tx.enlist(name)
                if work:
                    branch.update(work)

    async with anyio.create_task_group() as group:
        group.start_soon(transact)
        with anyio.fail_after(SECONDS):
            while tx.outcome is None:
                await anyio.sleep(0.01)
        assert tx.outcome == "commit"
        group.cancel_scope.cancel()
    return tx
