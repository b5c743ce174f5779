"""A client that outlives the loss of its session: what ends with it, what goes on, and how it waits."""

import asyncio
import logging
from contextlib import aclosing

import anyio
import pytest

from recipes import (
    CREATOR_ALL_ACL,
    AuthFailed,
    BadArguments,
    ClientClosed,
    ConnectionLoss,
    Lock,
    LockLost,
    SessionExpired,
    connect,
)
from recipes.core.client.session import ConnectionState, EventType
from recipes.core.jute import opcodes as op
from recipes.testing import Ensemble, expire_session
from tests.core.client.scripted import SECONDS, scripted

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one():
    async with Ensemble(1) as ensemble:
        yield ensemble


async def lost(client, hosts):
    """End the client's session, and return once there is another one."""
    number = client.session_id
    await expire_session(client, hosts)
    with anyio.fail_after(SECONDS):
        return await client.outlive(number)


async def test_the_same_client_goes_on_with_a_new_session(hosts, root):
    async with connect(hosts, renew=True) as client:
        first = client.session
        await client.create(root, b"1", ephemeral=True)
        assert (client.renews, client.losses) == (True, 0)
        second = await lost(client, hosts)
        assert first.lost
        assert client.session is not first
        assert second == client.session_id != first.id
        assert client.losses == 1
        with anyio.fail_after(SECONDS):
            while await client.exists(root) is not None:
                await anyio.sleep(0.01)
        await client.create(root, b"2", ephemeral=True)
        _, stat = await client.get(root)
        assert stat.ephemeral_owner == second


async def test_what_hung_on_the_lost_session_ends_as_ever(our_server, root):
    async with connect(our_server.hosts, renew=True) as client, connect(our_server.hosts) as other:
        await client.create(root, b"1")
        bound = client.bound
        assert bound is client.bound is bound.bound
        _, _, watch = await client.get_watch(root)
        view, gone = client.node_view(root), []
        deletion = client.watch_deletion(f"{root}/none", lambda: gone.append(True), None)
        creation = client.watch_creation(f"{root}/none", lambda: gone.append(True))
        scope = client.session_scope()
        with pytest.raises(LockLost) as caught:
            async with client.watch(root) as events, Lock(client, f"{root}-lock") as grant:
                await lost(client, our_server.hosts)
                await anyio.sleep_forever()
        assert "the session is over" in str(caught.value)
        assert (grant.lost, scope.ended.is_set(), scope.ended.lost) == (True, True, True)
        with pytest.raises(SessionExpired):
            await watch.wait()
        with pytest.raises(SessionExpired):
            await view.wait_current()
        deletion.cancel()
        creation.cancel()
        watch.cancel()
        with pytest.raises(RuntimeError):
            await anext(events)
        for call in (bound.get(root), bound.set(root, b"3"), bound.sync()):
            with pytest.raises(SessionExpired):
                await call
        with pytest.raises(SessionExpired):
            bound.session_scope()
        bound.delete_later(root)
        assert bound.state is ConnectionState.LOST
        assert client.bound is not bound
        await client.bound.set(root, b"2")  # none of the old watches hears of it
        assert (await other.get(root))[0] == b"2"
        async with Lock(client, f"{root}-lock") as again:
            assert again.fence > grant.fence
        assert grant.ended.is_set()


async def test_a_stream_and_a_call_under_way_raise_the_end_of_their_session(one):
    async with connect(one.hosts, renew=True) as client:
        results = []

        async def tell(what, *args):
            try:
                await what(*args)
            except SessionExpired as error:
                results.append(error)
            except ConnectionLoss as error:  # of a write that was sent, before the end of the session was known
                assert error.maybe_applied and what == client.create
                results.append(error)

        async with client.watch("/") as events:
            await client.create("/a")
            async with anyio.create_task_group() as tasks:
                await one.expire(client)
                tasks.start_soon(tell, client.get, "/a")
                tasks.start_soon(tell, client.create, "/b")
            with anyio.fail_after(SECONDS):
                assert (await anext(events)).type is EventType.CHILDREN_CHANGED
                with pytest.raises(SessionExpired):
                    await anext(events)
        assert len(results) == 2
        assert await client.children("/") == ["a", "zookeeper"]


async def test_its_states_are_told_and_logged_once_each(one, caplog):
    caplog.set_level(logging.INFO, "recipes.client")
    heard, seen = [], []
    async with connect(one.hosts, renew=True) as client:
        client.add_state_listener(heard.append)
        number = client.session_id

        async def look():
            async with aclosing(client.states()) as states:
                async for state in states:
                    seen.append(state)  # noqa: PERF401 - as it comes

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await lost(client, one.hosts)
            await client.__aexit__(None, None, None)  # and the stream of states ends
            with pytest.raises(ClientClosed):
                await client.outlive(client.session_id)
    expected = [ConnectionState.LOST, ConnectionState.CONNECTING, ConnectionState.CONNECTED, ConnectionState.CLOSED]
    assert [state for state in heard if state is not ConnectionState.SUSPENDED] == expected
    assert seen[-1] is ConnectionState.CLOSED
    lines = [record.getMessage() for record in caplog.records if record.name == "recipes.client"]
    for text, times in (("connected to", 2), (f"session 0x{number:x} is lost", 1), ("another session", 1)):
        assert sum(text in line for line in lines) == times, text


async def test_a_call_made_after_the_loss_waits_for_the_new_session(one):
    async with connect(one.hosts, renew=True, session_timeout=2.0) as client:
        await client.create("/a", b"here")
        first = client.session
        await one.kill(1)
        with anyio.fail_after(SECONDS):
            await first.lost_event.wait()
        found = []

        async def get():
            found.append(await client.get("/a"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get)
            await one.restart(1)
        assert found[0][0] == b"here"
        assert client.session is not first


async def test_nobody_takes_it_in_so_calls_raise_why_and_it_goes_on_trying(one):
    async with connect(one.hosts, renew=True, session_timeout=1.6) as client:
        first = client.session
        await one.kill(1)
        with anyio.fail_after(SECONDS):
            await first.lost_event.wait()
        for _ in range(2):
            began = client.clock()
            why = f"no ZooKeeper server answers at {one.hosts}: .*refused"
            with pytest.raises(ConnectionLoss, match=why) as caught:
                with anyio.fail_after(SECONDS):
                    await client.create("/b")
            assert (caught.value.maybe_applied, caught.value.path) == (False, "/b")
            assert client.clock() - began > 1.59
        assert client.state in (ConnectionState.LOST, ConnectionState.CONNECTING)
        await one.restart(1)
        with anyio.fail_after(SECONDS):
            await client.outlive(first.id)
        await client.create("/b")
        assert client.losses == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_it_closes_while_no_server_is_to_be_had(one, cancelled, monkeypatch):
    monkeypatch.setattr("recipes.core.client.client._CLOSING_SECONDS", 1000.0)  # it waits for what does not end
    outcomes, before = [], tasks_of_loop()
    async with connect(one.hosts, renew=True, session_timeout=1.6) as client:
        await one.kill(1)
        with anyio.fail_after(SECONDS):
            await client.session.lost_event.wait()

        async def wait(call):
            with pytest.raises(ClientClosed):
                await call
            outcomes.append(True)

        async def hold():
            with pytest.raises(LockLost):
                async with Lock(client, "/lock"):
                    pytest.fail("there is no server")
            outcomes.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, client.get("/"))
            tasks.start_soon(wait, client.outlive(client.session_id))
            tasks.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(SECONDS), anyio.CancelScope() as scope:
                if cancelled:
                    scope.cancel()
                await client.__aexit__(None, None, None)
    assert len(outcomes) == 3
    assert tasks_of_loop() == before
    with pytest.raises(ClientClosed):
        await client.get("/")


def tasks_of_loop():
    """The names of the tasks of a client; trio's own test would fail if a system task were left."""
    try:
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "recipes-client"]
    except RuntimeError:
        return []


async def test_closing_waits_for_the_tasks_of_lost_sessions_too(one):
    async with connect(one.hosts, renew=True) as client:
        begun, ended = anyio.Event(), []

        async def job():
            try:
                begun.set()
                await anyio.sleep_forever()
            finally:
                ended.append(client.session)

        client.look_after(job)
        with anyio.fail_after(SECONDS):
            await begun.wait()
        first = client.session
        await one.expire(client)
        with anyio.fail_after(SECONDS):
            await first.lost_event.wait()
    assert len(ended) == 1


async def test_a_job_that_is_handed_over_while_the_client_stops_begins_and_cleans_up(one):
    cleaned = []

    async def job():
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)

    async with connect(one.hosts) as client:
        await client.get("/")
        client._task._scope.cancel()  # as where the client's task finds in the same turn that the session is over
        client.look_after(job)
        with anyio.fail_after(SECONDS):
            await client._task.ended.wait()
    assert cleaned == [True]


async def test_credentials_refused_are_not_tried_again():
    async with scripted(timeout_ms=10_000, errors={op.AUTH: -115}) as server:
        async with connect(server.hosts, renew=True) as client:
            with pytest.raises(AuthFailed):
                await client.add_auth("digest", "a:b")
            assert not client.renews
            with anyio.fail_after(SECONDS):
                states = [state async for state in client.states()]  # it ends
            assert states[-1] is ConnectionState.LOST
            for call in (client.get("/"), client.outlive(client.session_id)):
                with pytest.raises(AuthFailed):
                    await call
            assert client.losses == 0


async def test_its_paths_and_credentials_carry_over(our_server, root):
    hosts = our_server.hosts
    async with connect(hosts) as admin:
        await admin.create(root)
    async with connect(f"{hosts}{root}", renew=True, auth=[("digest", "a:1")]) as client:
        await client.add_auth("digest", "b:2")
        await client.create("/a", b"x", acl=CREATOR_ALL_ACL)
        await lost(client, hosts)
        assert (await client.get("/a"))[0] == b"x"
        assert {each.id for each in await client.who_am_i() if each.scheme == "digest"} == {"a", "b"}
        async with connect(hosts) as admin:
            assert await admin.children(root) == ["a"]


async def test_it_outlives_one_loss_after_the_other(one):
    async with connect(one.hosts, renew=True) as client:
        first = number = client.session_id
        for _ in range(3):
            number = await lost(client, one.hosts)
        assert client.losses == 3
        with anyio.fail_after(SECONDS):
            assert await client.outlive(first) == number  # at once: there is another one already


async def test_without_renew_the_end_of_the_session_is_the_client_s(one):
    async with connect(one.hosts) as client:
        assert (client.renews, client.bound) == (False, client)
        session = client.session
        await one.expire(client)
        with anyio.fail_after(SECONDS), pytest.raises(SessionExpired):
            await client.outlive(session.id)
        with pytest.raises(SessionExpired):
            await client.get("/")
        assert client.session is session
        assert client.losses == 0


async def test_a_client_bound_to_a_session_is_not_entered(our_server):
    async with connect(our_server.hosts, renew=True) as client:
        with pytest.raises(RuntimeError):
            async with client.bound:
                pass
        assert "bound to session" in repr(client.bound)
        with pytest.raises(BadArguments):
            await client.bound.get("a")
