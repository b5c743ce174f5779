"""`recipes revoke`: a holder is asked, or loses what it has."""

import json
import sys

import anyio
import pytest

from recipes import Election, Lock, LockLost, Semaphore, connect


@pytest.fixture
def revoke(run, hosts):
    async def revoke(*rest):
        return await anyio.to_thread.run_sync(lambda: run("revoke", *rest, "--hosts", hosts))

    return revoke


@pytest.mark.thorough  # eight commands; what they do is tested at locks
def test_a_holder_is_asked_and_goes_on_and_one_that_is_forced_has_lost(revoke, hosts):
    async def scene():
        async with connect(hosts) as client:
            with pytest.raises(LockLost):
                async with Lock(client, "/l", b"web-1") as grant:
                    asked = await revoke("/l")
                    assert (asked.returncode, asked.stdout) == (0, "web-1: asked to give it up\n")
                    with anyio.fail_after(60):
                        await grant.revoke_requested.wait()
                    assert not grant.ended.is_set()
                    refused = await revoke("/l", "--force")
                    assert refused.returncode == 2 and "expected --yes, or a terminal" in refused.stderr
                    assert (await revoke("/l", "--fence", hex(grant.fence + 1))).returncode == 69
                    forced = await revoke("/l", "--force", "--yes", "--fence", hex(grant.fence), "--json")
                    (facts,) = json.loads(forced.stdout)
                    assert (forced.returncode, facts["fence"], facts["done"]) == (0, grant.fence, "taken away")
                    with anyio.fail_after(60):
                        await anyio.sleep_forever()
            assert (await revoke("/l")).returncode == 69
            assert (await revoke("/missing")).returncode == 1
            assert (await revoke("/l", "--fence", "many")).returncode == 2

    anyio.run(scene)


@pytest.mark.thorough  # as above
def test_of_several_one_is_named_and_a_leader_is_not_asked(revoke, hosts):
    async def scene():
        async with connect(hosts) as client, connect(hosts) as other:
            one = await Semaphore(client, "/s", 2, b"one").acquire()
            two = await Semaphore(other, "/s", 2, b"two").acquire()
            done = await revoke("/s", "--force", "--yes")
            assert done.returncode == 2
            assert f"2 hold /s: expected --fence and one of {one.fence:#x}, {two.fence:#x}" in done.stderr
            assert (await revoke("/s")).stdout == "one: asked to give it up\ntwo: asked to give it up\n"
            done = await revoke("/s", "--force", "--yes", "--fence", str(two.fence))
            assert done.stdout == "two: taken away\n"
            with anyio.fail_after(60):
                await two.ended.wait()
            assert not one.ended.is_set()
            async with Election(client, "/e", b"host-1").try_lead() as term:
                asked = await revoke("/e")
                assert asked.returncode == 2 and "--force ends its term" in asked.stderr
                assert not term.ended.is_set()

    anyio.run(scene)


@pytest.mark.thorough  # two interpreters
def test_it_is_asked_for_on_a_terminal(hosts, terminal):
    async def held(answer):
        async with connect(hosts) as client:
            grant = await Lock(client, "/l", b"web-1").acquire()
            return await anyio.to_thread.run_sync(lambda: typed(answer)), grant.ended.is_set() or await gone(client)

    async def gone(client):
        return not await Lock(client, "/l").holders()

    def typed(answer):
        at = terminal(sys.executable, "-m", "recipes", "revoke", "/l", "--force", "--hosts", hosts)
        at.expect("Take /l away from web-1, which may still be working? [y/N] ")
        at.type(answer)
        return at.process.wait(60)

    assert anyio.run(held, "n\r") == (1, False)
    assert anyio.run(held, "yes\r") == (0, True)
