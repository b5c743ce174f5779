"""Services and their instances: registering, choosing, marking, and what is left behind."""

import json
from random import Random

import anyio
import pytest

from recipes import BadArguments, ServiceInstance, ServiceRegistry, connect
from recipes.membership.services import at_random, decode, encode, round_robin, sticky
from recipes.testing import expire_session

SECONDS = 60


def instances(*names):
    return [ServiceInstance("web", name, "10.0.0.1") for name in names]


def test_an_instance_is_stored_as_curator_does_it():
    instance = ServiceInstance("web", "a1", "10.0.0.1", 80, None, {"zone": "b"}, 1700000000.5)
    assert json.loads(encode(instance)) == {
        "name": "web",
        "id": "a1",
        "address": "10.0.0.1",
        "port": 80,
        "sslPort": None,
        "payload": {"zone": "b"},
        "registrationTimeUTC": 1700000000500,
        "serviceType": "DYNAMIC",
        "uriSpec": None,
    }
    assert decode(encode(instance)) == instance
    assert decode(b'{"name":"web","id":"a","address":"h","serviceType":"STATIC","enabled":true}').port is None


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b"{}", b'{"name":1,"id":"a","address":"h"}', b"\xff",
                                  b'{"name":"web","id":"a","address":"h","port":"80"}'])  # fmt: skip
def test_what_is_no_instance_is_a_value_error(data):
    with pytest.raises(ValueError):
        decode(data)


def test_strategies():
    choose = round_robin()
    assert [choose(instances("a", "b", "c")).id for _ in range(4)] == ["a", "b", "c", "a"]
    assert choose(instances("a", "c")).id == "c"  # b has gone, and nobody is left out
    assert choose(instances("a", "b")).id == "a"
    anyone = at_random(Random(1))
    assert {anyone(instances("a", "b", "c")).id for _ in range(50)} == {"a", "b", "c"}
    keep = sticky(round_robin())
    assert [keep(instances("a", "b")).id for _ in range(3)] == ["a"] * 3
    assert keep(instances("b", "c")).id == "b"
    assert keep(instances("a", "b", "c")).id == "b"


@pytest.mark.anyio
async def test_u29_why_there_is_no_instance_is_told(hosts, root):
    async with connect(hosts) as client:
        registry = ServiceRegistry(client, root)
        assert await registry.services() == []
        async with registry.provider("web") as provider:
            assert (provider.choose(), provider.state) == (None, "current")  # there is none, for sure
            found = []

            async def wait():
                found.append(await provider.wait())

            with anyio.fail_after(SECONDS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait)
                    async with registry.register("web", "10.0.0.1", 80, payload={"zone": "b"}) as registration:
                        while not found:
                            await anyio.sleep(0.005)
                        assert found == [registration.instance] == await registry.instances("web")
                        assert await registry.services() == ["web"]
                        await registration.update_payload({"zone": "c"})
                        while provider.choose().payload != {"zone": "c"}:
                            await anyio.sleep(0.005)
                while provider.choose() is not None:
                    await anyio.sleep(0.005)
            await client.__aexit__(None, None, None)
            assert (provider.choose(), provider.state) == (None, "stale")  # nobody knows


@pytest.mark.anyio
async def test_an_instance_that_fails_is_left_out_for_a_while(our_server, root, monkeypatch):
    async with connect(our_server.hosts) as client:
        registry, now = ServiceRegistry(client, root), [100.0]
        async with (
            registry.register("web", "h", id="a"),
            registry.register("web", "h", id="b"),
            registry.provider("web", max_errors=2, quarantine=30.0) as provider,
        ):
            monkeypatch.setattr(client, "clock", lambda: now[0])
            a, b = provider.instances()
            provider.note_error(a)
            assert not provider.is_down(a)
            now[0] += 31
            provider.note_error(a)
            assert not provider.is_down(a)  # the first one was long ago
            provider.note_error(a)
            assert {provider.choose() for _ in range(3)} == {b}
            provider.note_error(b)
            provider.note_error(b)
            assert {provider.choose() for _ in range(3)} == {a, b}  # all are down, so none is left out
            now[0] += 31
            assert not provider.is_down(a)


@pytest.mark.anyio
async def test_registrations_and_providers_outlive_a_session(our_server, root):
    hosts = our_server.hosts
    async with connect(hosts, renew=True) as client, connect(hosts, renew=True) as other:
        registry = ServiceRegistry(client, root)
        async with (
            registry.register("web", "h") as registration,
            ServiceRegistry(other, root).provider("web", "sticky") as provider,
        ):
            for each in (client, other):
                await expire_session(each, hosts)
            with anyio.fail_after(SECONDS):
                while not (registration.losses and registration.present and provider.losses):
                    await anyio.sleep(0.005)
                assert await provider.wait() == registration.instance
                while provider.state != "current":
                    await anyio.sleep(0.005)
            assert len(await registry.instances("web")) == 1


@pytest.mark.anyio
async def test_wrong_arguments_and_data_are_named(our_server, root, caplog):
    async with connect(our_server.hosts) as client:
        registry = ServiceRegistry(client, root)
        for call in (
            lambda: registry.register("a/b", "h"),
            lambda: registry.register("web", "h", id=""),
            lambda: registry.provider("web", "fastest"),
            lambda: registry.provider("web", max_errors=0),
        ):
            with pytest.raises(BadArguments):
                call()
        with pytest.raises(TypeError):
            registry.register("web", "h", payload=object())
        await client.create(f"{root}/web/x", b"no JSON", make_parents=True)
        async with registry.register("web", "h") as registration, registry.provider("web") as provider:
            for _ in range(2):
                assert provider.instances() == [registration.instance]
        lines = [each.getMessage() for each in caplog.records if each.name == "recipes.membership"]
        assert len(lines) == 1
        assert f"{root}/web/x is left out" in lines[0]
