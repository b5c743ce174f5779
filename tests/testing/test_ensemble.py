"""The ensemble for tests: it survives what an ensemble survives, and nothing else."""

import socket
import sys

import anyio
import pytest

from recipes import BadArguments, ConnectionLoss, Election, LeadershipLost, Lock, LockLost, RecipesError, connect
from recipes.testing import Ensemble

pytestmark = pytest.mark.anyio


async def written(client, path):
    """Write, again where the outcome is unknown."""
    with anyio.fail_after(60):
        while True:
            try:
                return await client.set(path, b"again")
            except ConnectionLoss:
                continue


async def test_a_write_outlives_every_server_in_turn(recipes_ensemble):
    async with connect(recipes_ensemble.hosts, session_timeout=10) as client:
        await client.create("/kept", b"here")
        for sid in (1, 2, 3):
            await recipes_ensemble.kill(sid)
            assert await recipes_ensemble.leader() != sid
            await written(client, "/kept")
            await recipes_ensemble.restart(sid)
            await recipes_ensemble.settled()
        await client.sync("/kept")
        data, stat = await client.get("/kept")
    assert data == b"again"
    assert stat.version >= 3


async def test_each_server_shows_what_another_wrote(recipes_ensemble):
    async with connect(recipes_ensemble.host(1)) as one, connect(recipes_ensemble.host(3)) as three:
        await one.create("/a", b"1")
        await three.sync("/a")
        assert (await three.get("/a"))[0] == b"1"
        async with three.watch("/a") as events:
            await one.set("/a", b"2")
            with anyio.fail_after(60):
                assert (await anext(aiter(events))).path == "/a"


async def test_the_minority_of_a_partition_has_no_leader(recipes_ensemble):
    old = await recipes_ensemble.leader()
    others = [sid for sid in (1, 2, 3) if sid != old]
    await recipes_ensemble.partition([old])  # the others, which are not named, stay together
    with anyio.fail_after(60):
        while await recipes_ensemble.leader() == old:
            await anyio.sleep(0.01)
    async with connect(recipes_ensemble.host(others[0])) as client:
        await client.create("/decided-here")
    await recipes_ensemble.heal()
    await recipes_ensemble.settled()
    async with connect(recipes_ensemble.host(old)) as client:
        await client.sync("/")
        assert await client.exists("/decided-here") is not None


async def test_a_lock_is_kept_when_the_leader_dies(recipes_ensemble):
    async with connect(recipes_ensemble.hosts, session_timeout=10) as client:
        async with Lock(client, "/lock") as grant:
            await recipes_ensemble.kill(await recipes_ensemble.leader())
            await client.sync("/")
            assert not grant.ended.is_set()
            await client.create("/lock-is-held")


async def test_an_expired_session_loses_its_lock_and_nobody_is_blamed(recipes_ensemble):
    with pytest.raises(LockLost, match="the session is over"):
        async with connect(recipes_ensemble.hosts) as client, Lock(client, "/lock"):
            await recipes_ensemble.expire(client)
            with anyio.fail_after(60):
                await anyio.sleep_forever()
    assert client.session.lost


async def test_an_expired_session_loses_its_term_and_nobody_is_blamed(recipes_ensemble):
    with pytest.raises(LeadershipLost, match="the session is over"):
        async with connect(recipes_ensemble.hosts) as client, Election(client, "/election").lead():
            await recipes_ensemble.expire(client)
            with anyio.fail_after(60):
                await anyio.sleep_forever()


@pytest.mark.parametrize("left", [False, True])
async def test_outside_its_block_it_says_how_to_use_it(left):
    ensemble = Ensemble(1)
    if left:
        async with ensemble:
            assert await ensemble.leader() == 1
    for use in (ensemble.leader, ensemble.settled, ensemble.heal, lambda: ensemble.kill(1), lambda: ensemble.expire(1)):
        with pytest.raises(RecipesError, match="use it inside `async with Ensemble"):
            await use()
    with pytest.raises(RecipesError, match="use it inside `async with Ensemble"):
        _ = ensemble.hosts


async def test_an_observer_serves_and_does_not_count():
    async with Ensemble(1, observers=1) as ensemble:
        async with connect(ensemble.host(2)) as client:
            await client.create("/seen")
        await ensemble.kill(2)
        async with connect(ensemble.host(1)) as client:
            await client.delete("/seen")


def test_numbers_of_servers_are_checked(recipes_ensemble):
    with pytest.raises(BadArguments, match="0 servers"):
        Ensemble(0)
    with pytest.raises(BadArguments, match="server 9: expected 1 to 3"):
        anyio.run(recipes_ensemble.kill, 9)


async def test_the_fixture_for_one_server_serves(recipes_shared_server):
    async with connect(recipes_shared_server) as client:
        assert "zookeeper" in await client.children("/")


@pytest.mark.parametrize("number", [1, 2])
async def test_newcomer_23_each_test_finds_its_server_empty(recipes_server, number):
    async with connect(recipes_server) as client:
        assert await client.children("/") == []
        await client.create("/locks/left-behind", make_parents=True)


@pytest.mark.parametrize("number", [1, 2])
async def test_a_test_has_a_store_of_its_own(recipes_store, number):
    async with connect() as client:
        assert await client.children("/") == ["zookeeper"]
        await client.create("/left-behind")
    assert (recipes_store / "version-2").is_dir()


async def test_who_runs_out_of_time_leaves_nothing_behind():
    with anyio.CancelScope() as scope:
        async with Ensemble(1) as ensemble:
            host, port = ensemble.host(1).split(":")
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not ensemble._thread._thread.is_alive()
    with pytest.raises(RecipesError, match="not running"):
        await ensemble.leader()
    with pytest.raises(OSError):
        await anyio.connect_tcp(host, int(port))


@pytest.mark.parametrize("wait", ["leader", "settled"])
async def test_a_time_limit_around_a_wait_takes_effect_at_once(wait):
    async with Ensemble(2) as ensemble:
        await ensemble.kill(await ensemble.leader())
        began = anyio.current_time()
        with pytest.raises(TimeoutError), anyio.fail_after(2):
            while True:
                await getattr(ensemble, wait)()
        assert anyio.current_time() - began < 15


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a held port could not be listened on")
async def test_nobody_else_is_given_the_port_of_a_server_that_is_down():
    async with Ensemble(3) as ensemble:
        await ensemble.kill(2)
        host, port = ensemble.host(2).split(":")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((host, int(port)))
        await ensemble.restart(2)
        await ensemble.settled()
