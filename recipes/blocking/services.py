"""Service discovery for threads and processes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from recipes.blocking.block import Entered
from recipes.blocking.hold import documented_by
from recipes.blocking.portal import Portal, portal_of
from recipes.blocking.presence import Presence
from recipes.cache.cache import State
from recipes.membership import services
from recipes.membership.services import ServiceInstance, Strategy

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


@documented_by(services.Registration)
class Registration(Presence[services.Registration]):
    """`with registry.register(...) as registration:` an instance that is registered as long as the block goes on."""

    @property
    def instance(self) -> ServiceInstance:
        """What is registered."""
        return self.of_tasks.instance

    def update_payload(self, payload: Any, *, within: float | None = None) -> None:
        """Replace the payload, and return once it is stored. Raises what `update` does, TypeError for no JSON value."""
        self._portal.call(lambda: self.of_tasks.update_payload(payload), within)


@documented_by(services.Provider)
class Provider(Entered[services.Provider]):
    """`with registry.provider("web") as provider:` instances of a service, kept current; one is chosen at a time.

    See recipes.Provider. Any thread may use it; a strategy of your own is called in the client's thread.
    """

    @property
    def state(self) -> State:
        return self.of_tasks.state

    @property
    def losses(self) -> int:
        return self.of_tasks.losses

    def instances(self) -> list[ServiceInstance]:
        return self._portal.run(self.of_tasks.instances)

    def is_down(self, instance: ServiceInstance) -> bool:
        return self._portal.run(lambda: self.of_tasks.is_down(instance))

    def note_error(self, instance: ServiceInstance) -> None:
        self._portal.run(lambda: self.of_tasks.note_error(instance))

    def choose(self) -> ServiceInstance | None:
        return self._portal.run(self.of_tasks.choose)

    def wait(self, *, within: float | None = None) -> ServiceInstance:
        """An instance, once there is one.

        within: seconds to wait at most, for ever without; then TimeoutError. Raises what ended the cache:
        SessionExpired, ClientClosed, NoAuth.
        """
        return self._portal.call(self.of_tasks.wait, within)


@documented_by(services.ServiceRegistry)
class ServiceRegistry:
    """Services and their instances, below `path`; see recipes.ServiceRegistry."""

    def __init__(self, client: "Client", path: str = "/services", *, acl: "Sequence[ACL] | None" = None) -> None:
        self._portal: Portal = portal_of(client)
        self._registry = services.ServiceRegistry(client.of_tasks, path, acl=acl)

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
        """`with registry.register("web", "10.0.0.1", 80):` be an instance of a service.

        See recipes.ServiceRegistry.register.
        """
        made = self._registry.register(service, address, port, ssl_port=ssl_port, payload=payload, id=id)
        return Registration(self._portal, made)

    def provider(
        self,
        service: str,
        strategy: Literal["round robin", "random", "sticky"] | Strategy = "round robin",
        *,
        max_errors: int = 2,
        quarantine: float = 30.0,
    ) -> Provider:
        made = self._registry.provider(service, strategy, max_errors=max_errors, quarantine=quarantine)
        return Provider(self._portal, made)

    def services(self) -> list[str]:
        return self._portal.call(self._registry.services)

    def instances(self, service: str) -> list[ServiceInstance]:
        return self._portal.call(lambda: self._registry.instances(service))
