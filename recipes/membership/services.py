"""Service discovery: instances of a service register, and clients choose one of them (Curator's service discovery)."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from recipes.cache.cache import State
from recipes.cache.children import ChildrenCache
from recipes.core import paths
from recipes.core.errors import BadArguments, NoNode
from recipes.membership.presence import EphemeralNode

if TYPE_CHECKING:
    from random import Random

    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.membership")


class ServiceInstance(NamedTuple):
    """One instance of a service.

    id: unique among the instances of the service. payload: any JSON value. registered: when, in seconds since 1970 by
    the clock of the instance.
    """

    service: str
    id: str
    address: str
    port: int | None = None
    ssl_port: int | None = None
    payload: Any = None
    registered: float = 0.0


def encode(instance: ServiceInstance) -> bytes:
    """The data of an instance's znode: JSON with the field names of Curator's service discovery. Pure."""
    fields = {
        "name": instance.service,
        "id": instance.id,
        "address": instance.address,
        "port": instance.port,
        "sslPort": instance.ssl_port,
        "payload": instance.payload,
        "registrationTimeUTC": int(instance.registered * 1000),
        "serviceType": "DYNAMIC",
        "uriSpec": None,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(data: bytes) -> ServiceInstance:
    """The instance in a znode's data. Raises ValueError for other data. Pure."""
    fields = json.loads(data)
    if not isinstance(fields, dict) or not all(isinstance(fields.get(key), str) for key in ("name", "id", "address")):
        raise ValueError(f"expected an object with name, id and address, found {data[:60]!r}")
    for key in ("port", "sslPort", "registrationTimeUTC"):
        if not isinstance(fields.get(key), int | None):
            raise ValueError(f"{key}={fields[key]!r}: expected a whole number")  # noqa: TRY004 - of the data
    return ServiceInstance(
        fields["name"],
        fields["id"],
        fields["address"],
        fields.get("port"),
        fields.get("sslPort"),
        fields.get("payload"),
        (fields.get("registrationTimeUTC") or 0) / 1000,
    )


Strategy = Callable[[Sequence[ServiceInstance]], ServiceInstance]
"""Chooses one of several instances, which are sorted by id; there is at least one."""


def round_robin() -> Strategy:
    """One after the other, in the order of their ids. No instance is skipped when another one comes or goes."""
    last = ""

    def choose(instances: Sequence[ServiceInstance]) -> ServiceInstance:
        nonlocal last
        chosen = next((each for each in instances if each.id > last), instances[0])
        last = chosen.id
        return chosen

    return choose


def at_random(random: "Random") -> Strategy:
    """Any of them, each with the same probability."""
    return random.choice


def sticky(first: Strategy) -> Strategy:
    """The instance that `first` chose, as long as it is registered and not down."""
    kept = ""

    def choose(instances: Sequence[ServiceInstance]) -> ServiceInstance:
        nonlocal kept
        chosen = next((each for each in instances if each.id == kept), None) or first(instances)
        kept = chosen.id
        return chosen

    return choose


class Registration(EphemeralNode):
    """`async with registry.register(...) as registration:` an instance that is registered as long as the block goes on.

    instance: what is registered. See Presence for `present`, `losses`, `error`.
    """

    def __init__(self, client: "Client", path: str, instance: ServiceInstance, acl: "Sequence[ACL] | None") -> None:
        self.instance: ServiceInstance = instance
        super().__init__(client, path, encode(instance), acl=acl)

    async def update_payload(self, payload: Any) -> None:
        """Replace the payload, and return once it is stored. Raises what `update` does, TypeError for no JSON value."""
        self.instance = self.instance._replace(payload=payload)
        await self.update(encode(self.instance))


class Provider:
    """`async with registry.provider("web") as provider:` instances of a service, kept current; one is chosen at a time.

    An instance that was marked with `note_error` `max_errors` times within `quarantine` seconds is down: it is not
    chosen for that long. When all are down, the strategy chooses among all of them: a mark is only a hint, and no
    instance at all would help nobody. Entering and waiting raise what a cache does: see Cache.
    """

    def __init__(self, client: "Client", path: str, strategy: Strategy, max_errors: int, quarantine: float) -> None:
        self._client = client
        self._cache = ChildrenCache(client, path)
        self._strategy = strategy
        self._max_errors = max_errors
        self._quarantine = quarantine
        self._errors: dict[str, list[float]] = {}  # by id: when each was noted
        self._unreadable: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._cache.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cache.__aexit__(kind, error, trace)

    @property
    def state(self) -> State:
        """How far the instances can be relied on: see Cache. If "current" and empty, there are none for sure."""
        return self._cache.state

    @property
    def losses(self) -> int:
        """How many sessions it has outlived."""
        return self._cache.losses

    def instances(self) -> list[ServiceInstance]:
        """All registered instances, as last read, sorted by id, including those that are down."""
        found = []
        for name in self._cache.names():
            try:
                found.append(decode(self._cache[name].data))
            except ValueError as error:
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    log.warning(
                        "%s/%s is left out, since it is not a service instance: %s", self._cache.path, name, error
                    )
        return sorted(found, key=lambda each: each.id)

    def is_down(self, instance: ServiceInstance) -> bool:
        """Whether the instance was marked `max_errors` times within the last `quarantine` seconds."""
        since = self._client.clock() - self._quarantine
        noted = [when for when in self._errors.get(instance.id, ()) if when > since]
        if noted:
            self._errors[instance.id] = noted
        else:
            self._errors.pop(instance.id, None)
        return len(noted) >= self._max_errors

    def note_error(self, instance: ServiceInstance) -> None:
        """Mark an instance that failed or did not answer."""
        self._errors.setdefault(instance.id, []).append(self._client.clock())

    def choose(self) -> ServiceInstance | None:
        """An instance; None if no registered one is known. `state` says how far that can be relied on."""
        everyone = self.instances()
        for gone in self._errors.keys() - {each.id for each in everyone}:
            del self._errors[gone]
        if not everyone:
            return None
        return self._strategy([each for each in everyone if not self.is_down(each)] or everyone)

    async def wait(self) -> ServiceInstance:
        """An instance, once there is one. Raises what ended the cache: SessionExpired, ClientClosed, NoAuth."""
        return await self._cache.wait_until(lambda cache: self.choose())


class ServiceRegistry:
    """Services and their instances, below `path`: `path`/SERVICE/ID, each an ephemeral znode.

    client: a connected Client; made with `renew`, registrations and providers outlive the loss of a session. acl: of
    the znodes of instances. The znodes have the format of Curator's service discovery, so that its programs and ours
    see each other's instances; a payload is any JSON value, while Curator's names its Java class. Calls raise what
    every call of the client raises.
    """

    def __init__(self, client: "Client", path: str = "/services", *, acl: "Sequence[ACL] | None" = None) -> None:
        self._client = client
        self._path = paths.check(path)
        self._acl = acl

    def register(
        self,
        service: str,
        address: str,
        port: int | None = None,
        *,
        ssl_port: int | None = None,
        payload: Any = None,
        id: str | None = None,
    ) -> Registration:
        """`async with registry.register("web", "10.0.0.1", 80):` be an instance of a service.

        id: unique among the instances of the service; random without it, so that an instance that returns after a crash
        does not collide with its old znode. Raises BadArguments for a name or id that no znode can have, TypeError for
        a payload that is no JSON value.
        """
        given = f"{self._client.random.getrandbits(64):016x}" if id is None else id
        instance = ServiceInstance(service, given, address, port, ssl_port, payload, round(time.time(), 3))
        return Registration(self._client, f"{self._folder(service)}/{_name('id', given)}", instance, self._acl)

    def provider(
        self,
        service: str,
        strategy: Literal["round robin", "random", "sticky"] | Strategy = "round robin",
        *,
        max_errors: int = 2,
        quarantine: float = 30.0,
    ) -> Provider:
        """The instances of a service, kept current, to choose from; see Provider.

        strategy: by name, or a function of your own. Raises BadArguments for another name, and for numbers not above 0.
        """
        if max_errors < 1 or not quarantine > 0:
            raise BadArguments(self._path, f"max_errors={max_errors!r}, quarantine={quarantine!r}: expected above 0")
        random = self._client.random
        named: dict[str, Callable[[], Strategy]] = {
            "round robin": round_robin,
            "random": lambda: at_random(random),
            "sticky": lambda: sticky(at_random(random)),
        }
        if isinstance(strategy, str):
            if strategy not in named:
                raise BadArguments(
                    self._path, f"strategy={strategy!r}: expected one of {', '.join(named)}, or a function"
                )
            strategy = named[strategy]()
        return Provider(self._client, self._folder(service), strategy, max_errors, quarantine)

    async def services(self) -> list[str]:
        """The names of the services that have an instance, or had one lately."""
        try:
            return await self._client.children(self._path)
        except NoNode:
            return []

    async def instances(self, service: str) -> list[ServiceInstance]:
        """The instances of a service, sorted by id, as the connected server has them."""
        async with self.provider(service) as provider:
            return provider.instances()

    def _folder(self, service: str) -> str:
        return f"{self._path.rstrip('/')}/{_name('service', service)}"


def _name(what: str, name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what}: expected a string, not {name!r}")
    if not name or "/" in name:
        raise BadArguments("", f"{what}={name!r}: expected the name of a znode, without a slash")
    return name
