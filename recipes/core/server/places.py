"""Places for clients. Each counts from the moment it is accepted: a TLS handshake that never ends has one, too."""

from recipes.core.member.stats import Stats
from recipes.core.server.refusals import Refusals, shown


class Place:
    """One client's place, from when its connection is accepted until it is closed."""

    __slots__ = ("_host", "_places")

    def __init__(self, places: "Places", host: str) -> None:
        self._places: Places | None = places
        self._host = host

    def leave(self) -> None:
        """The connection is closed. To say so twice does no harm."""
        if self._places is not None:
            self._places.left(self._host)
            self._places = None


class Places:
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
        self.stats: Stats = Stats()  # counts who is refused
        self.taken: int = 0

    def enter(self, address: object) -> Place | None:
        """A place for a connection from this socket address, which is empty on a Unix socket; None: there is none."""
        host = str(address[0]) if isinstance(address, tuple) else ""
        count = self._per_host.get(host, 0)
        if self._most_descriptors is not None and self.taken >= self._most_descriptors:
            text = f"refused a client: {self.taken} are connected, all that ulimit -n allows; raise it"
            self._refuse(text, about="clients and descriptors")
            return None
        if self._most and self.taken >= self._most:
            text = f"refused a client from {shown(address)}: {self.taken} are connected, all that maxCnxns allows"
            self._refuse(text, about="clients and maxCnxns")
            return None
        if host and self._most_per_host and count >= self._most_per_host:
            text = f"refused a client from {shown(address)}: {count} are connected from there, all that maxClientCnxns"
            self._refuse(f"{text} allows", about=f"clients from {host}")
            return None
        self._per_host[host] = count + 1
        self.taken += 1
        return Place(self, host)

    def _refuse(self, text: str, about: str) -> None:
        self.stats.connections_rejected += 1
        self._refusals.say(text, about)

    def left(self, host: str) -> None:
        """A connection from this host is closed."""
        self.taken -= 1
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]
