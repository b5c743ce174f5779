"""The client and the recipes on uvloop, whose sockets and timers are its own."""

import anyio
import pytest

from recipes import Coordinator, Election, Lock, LockLost, MemoryParticipant, Queue, connect
from recipes.testing.expire import expire_session

pytest.importorskip("uvloop", reason="needs uvloop")

SECONDS = 60


@pytest.mark.thorough  # the same code as on asyncio's own loop
def test_locks_queues_elections_and_transactions_go_on_uvloop(our_server, root):
    async def main():
        async with connect(our_server.hosts) as one, connect(our_server.hosts) as other:
            with anyio.fail_after(SECONDS):
                async with Lock(one, f"{root}/lock") as grant:
                    async with Lock(other, f"{root}/lock").try_acquire(within=0.05) as second:
                        assert second is None
                async with Lock(other, f"{root}/lock") as later:
                    assert later.fence > grant.fence
                await Queue(one, f"{root}/queue").put(b"item")
                async with Queue(other, f"{root}/queue").receive() as message:
                    assert message.data == b"item"
                parties = {"a": MemoryParticipant(), "b": MemoryParticipant()}
                async with Coordinator(one, f"{root}/tx", participants=parties) as coordinator:
                    async with coordinator.begin() as tx:
                        for name in parties:
                            (await tx.enlist(name))["x"] = 1
                assert tx.outcome == "commit"
                async with Election(one, f"{root}/election").lead() as term:
                    leader = await Election(other, f"{root}/election").leader()
                    assert leader is not None and leader.fence == term.fence
                with pytest.raises(LockLost):
                    async with Lock(one, f"{root}/lock"):
                        await expire_session(one, our_server.hosts)
                        await anyio.sleep_forever()

    anyio.run(main, backend_options={"use_uvloop": True})
