"""Places for clients. Each counts from the moment it is accepted: a TLS handshake that never ends has one, too.

Where no place is free, the oldest connection that has not said anything gives way: a TLS handshake that is not
finished, or a client whose first request has not come. Whoever says nothing keeps nobody out.
"""

from typing import Protocol

from recipes.core.member.stats import Stats
from recipes.core.server.refusals import Refusals, shown


class Holder(Protocol):
    """Whose connection it is that has a place."""

    @property
    def is_stranger(self) -> bool:
        """Whether it has not said yet what it wants."""
        ...

    def hang_up(self) -> None:
        """Close now."""


class ClientPlace:
    """One client's place, from when its connection is accepted until it is closed.

    holder: whoever can close the connection.
    """

    __slots__ = ("_places", "address", "holder", "host")

    def __init__(self, places: "ClientPlaces", host: str, address: object) -> None:
        self._places: ClientPlaces | None = places
        self.host: str = host
        self.address: object = address
        self.holder: Holder | None = None

    def leave(self) -> None:
        """The connection is closed. To say so twice does no harm."""
        if self._places is not None:
            self._places.left(self)
            self._places = self.holder = None


class ClientPlaces:
    """How many clients there may be, in all and from one address; 0: no limit.

    most_descriptors: as many as the limit of file descriptors leaves room for; None without that limit.
    Refusals are logged, with a limit on the number of lines.
    """

    def __init__(self, most: int, most_per_host: int, most_descriptors: int | None, refusals: Refusals) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._most_descriptors = most_descriptors
        self._refusals = refusals
        self._per_host: dict[str, int] = {}
        # Who may be a stranger, the oldest first: in all, and by host. Who is none any more goes when he is found here.
        self._new: dict[ClientPlace, None] = {}
        self._new_by_host: dict[str, dict[ClientPlace, None]] = {}
        self.stats: Stats = Stats()  # counts who is refused
        self.taken: int = 0

    def enter(self, address: object) -> ClientPlace | None:
        """A place for a connection from this socket address, which is empty on a Unix socket; None: there is none."""
        host = str(address[0]) if isinstance(address, tuple) else ""
        if self._most_descriptors is not None and self.taken >= self._most_descriptors:
            why = f"{self.taken} are connected, all that ulimit -n allows; raise it"
            if not self._made_room(self._new, why, about="clients and descriptors"):
                self._refuse(f"refused a client: {why}", about="clients and descriptors")
                return None
        if self._most and self.taken >= self._most:
            why = f"{self.taken} are connected, all that maxCnxns allows"
            if not self._made_room(self._new, why, about="clients and maxCnxns"):
                self._refuse(f"refused a client from {shown(address)}: {why}", about="clients and maxCnxns")
                return None
        count = self._per_host.get(host, 0)
        if host and self._most_per_host and count >= self._most_per_host:
            why = f"{count} are connected from there, all that maxClientCnxns allows"
            if not self._made_room(self._new_by_host.get(host, {}), why, about=f"clients from {host}"):
                self._refuse(f"refused a client from {shown(address)}: {why}", about=f"clients from {host}")
                return None
        place = ClientPlace(self, host, address)
        self._per_host[host] = self._per_host.get(host, 0) + 1
        self._new[place] = None
        self._new_by_host.setdefault(host, {})[place] = None
        self.taken += 1
        return place

    def _made_room(self, among: dict[ClientPlace, None], why: str, about: str) -> bool:
        """Hang up on the oldest stranger among these, in favour of a new connection; False if there is none."""
        while among:
            place = next(iter(among))
            holder = place.holder
            self._forget(place)
            if holder is not None and holder.is_stranger:
                address = place.address
                place.leave()
                holder.hang_up()
                text = f"hung up on {shown(address)}, which has said nothing, for another client: {why}"
                self._refuse(text, f"{about}, silent")
                return True
        return False

    def _forget(self, place: ClientPlace) -> None:
        self._new.pop(place, None)
        of_host = self._new_by_host.get(place.host)
        if of_host is not None:
            of_host.pop(place, None)
            if not of_host:
                del self._new_by_host[place.host]

    def _refuse(self, text: str, about: str) -> None:
        self.stats.connections_rejected += 1
        self._refusals.say(text, about)

    def left(self, place: ClientPlace) -> None:
        """This connection is closed."""
        self._forget(place)
        self.taken -= 1
        self._per_host[place.host] -= 1
        if not self._per_host[place.host]:
            del self._per_host[place.host]
