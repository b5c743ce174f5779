"""An ensemble that has lost its quorum, as a client sees it that only reads."""

from contextlib import aclosing

import anyio
import pytest

from recipes import ConnectionLoss, ConnectionState, Lock, NotReadOnly, SessionExpired, connect
from recipes.testing import Ensemble

pytestmark = pytest.mark.anyio

SECONDS = 30


async def state_of(client, wanted):
    with anyio.fail_after(SECONDS):
        async with aclosing(client.states()) as states:
            async for state in states:
                if state is wanted:
                    return
    pytest.fail(f"never {wanted}")


async def test_it_reads_until_there_is_a_leader_and_then_goes_on():
    async with Ensemble(3, read_only=True) as ensemble:
        async with connect(ensemble.hosts, session_timeout=2) as before:
            await before.create("/a", b"x")
            for sid in (1, 2, 3):  # what the last one alone will show
                async with connect(ensemble.host(sid)) as each:
                    await each.sync()
            await ensemble.kill(1)
            await ensemble.kill(2)
            with anyio.fail_after(SECONDS):
                await before.session.lost_event.wait()
            with pytest.raises(SessionExpired):
                await before.get("/a")
        with pytest.raises(ConnectionLoss):
            async with connect(ensemble.hosts, session_timeout=0.5):
                pass
        async with connect(ensemble.hosts, read_only=True) as client:
            assert client.state is ConnectionState.READ_ONLY
            data, _, watch = await client.get_watch("/a")
            assert data == b"x"
            for write in (client.set("/a", b"y"), client.delete("/a"), client.create("/b", ephemeral=True)):
                with pytest.raises(NotReadOnly):
                    await write
            with pytest.raises(NotReadOnly):
                async with Lock(client, "/lock"):
                    pytest.fail("held in a session that can hold nothing")
            assert not client.session.lost
            await ensemble.restart(1)
            await state_of(client, ConnectionState.CONNECTED)
            async with Lock(client, "/lock") as grant:
                assert grant.session_id == client.session.id
                await client.set("/a", b"y")
                with anyio.fail_after(SECONDS):
                    await watch.wait()


async def test_what_was_never_committed_is_not_shown():
    async with Ensemble(3, read_only=True) as ensemble:
        old = await ensemble.leader()
        others = [sid for sid in (1, 2, 3) if sid != old]
        async with connect(ensemble.host(old)) as writer:
            await writer.create("/a", b"committed")
            await ensemble.partition([old], others)
            with pytest.raises(ConnectionLoss) as caught:
                await writer.set("/a", b"in one log alone")
            assert caught.value.maybe_applied
            async with connect(ensemble.host(old), read_only=True) as reader:
                assert reader.state is ConnectionState.READ_ONLY
                assert (await reader.get("/a"))[0] == b"committed"
                await ensemble.heal()
                await state_of(reader, ConnectionState.CONNECTED)
                await reader.sync()
                assert (await reader.get("/a"))[0] == b"committed"
