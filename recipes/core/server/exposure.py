"""Which ports without TLS other machines can reach: what to tell an operator when a server starts."""

from recipes.core.address import is_loopback
from recipes.core.config import ServerConfig


def exposed_ports(config: ServerConfig) -> list[str]:
    """A text for each kind of such ports."""
    texts = []
    if config.client_port is not None and not is_loopback(config.client_address):
        where = f"clientPort {config.client_port} of {config.client_address}"
        texts.append(
            f"{where} takes clients without TLS: whoever reaches it, or reads the network, can act for them; "
            "use secureClientPort, or clientPortAddress=127.0.0.1"
        )
    membership = config.membership
    if membership is not None and not config.ssl_quorum:
        far = config.quorum_listen_on_all_ips or not all(is_loopback(each.host) for each in membership.servers.values())
        if far:
            texts.append(
                "the servers of this ensemble talk to each other without TLS: whoever reaches their ports can read all "
                "data and pass for a server that is down; set sslQuorum, or keep others from these ports"
            )
    return texts
