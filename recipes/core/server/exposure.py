"""Which ports without TLS other machines can reach, and which files other users: what to tell an operator when a server
starts."""

from stat import S_IWOTH
from typing import TYPE_CHECKING, Final

from recipes.core.address import is_loopback

if TYPE_CHECKING:
    from recipes.core.config import ServerConfig  # a server may have its settings from elsewhere: this takes time


_FILES: Final = ("log.", "snapshot.")


def exposed_ports(config: "ServerConfig") -> list[str]:
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
        hosts = {address.host for server in membership.servers.values() for address in server.addresses}
        if config.quorum_listen_on_all_ips or not all(map(is_loopback, hosts)):
            texts.append(
                "the servers of this ensemble talk to each other without TLS: whoever reaches their ports can read all "
                "data and pass for a server that is down; set sslQuorum, or keep others from these ports"
            )
    if _ids_give_sessions_away(config):
        texts.append(
            "who knows the id of a session can take it over, by ZooKeeper's rule for its password: set "
            "sessionSecret=own, unless Apache's servers are members"
        )
    return texts


def exposed_files(config: "ServerConfig") -> list[str]:
    """A text for each directory of data that every user can write to, and for each file there that is a link."""
    texts = []
    for above in dict.fromkeys((config.data_dir, config.data_log_dir or config.data_dir)):
        for directory in (above, above / "version-2"):
            if not directory.is_dir():
                continue
            if directory.stat().st_mode & S_IWOTH:
                texts.append(f"{directory} can be written to by every user of this machine: chmod o-w {directory}")
            links = sorted(path.name for path in directory.iterdir() if path.is_symlink())
            texts += [
                f"{directory / name} is a link: who can change the file behind it changes the data"
                for name in links
                if name.startswith(_FILES)
            ]
    return texts


def _ids_give_sessions_away(config: "ServerConfig") -> bool:
    ports = ((config.client_port, config.client_address), (config.secure_client_port, config.secure_client_address))
    far = any(port is not None and not is_loopback(address) for port, address in ports)
    return far and config.session_secret != "own" and config.session_secret_file is None
